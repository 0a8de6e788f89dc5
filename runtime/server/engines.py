"""The engine side of a core: engines in other processes make themselves known and say they live.

    POST /register_engine    {"engine_config": {…}, "url": "http://localhost:9001"}
    POST /engine_heartbeat   {"engine_id": "…", "runtime_info": {…}}

An engine that the core no longer knows gets a 404 for its heartbeat, and registers again.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from parrotc.runtime.core.errors import Unavailable
from parrotc.runtime.core.registry import EngineView
from parrotc.runtime.scheduling.engines import Role
from parrotc.runtime.server.bodies import Body
from parrotc.runtime.server.refusals import Refusal
from parrotc.runtime.server.routes import Call, Nothing, Route, Who

Json = Any


class EngineConfigBody(BaseModel):
    """What of an engine's config a core reads; the rest is the engine's own affair."""

    model_config = ConfigDict(extra="ignore", frozen=True, cache_strings="keys")

    name: str = Field(
        default="", validation_alias=AliasChoices("name", "engine_name"), max_length=128
    )
    model: str = Field(min_length=1, max_length=256)
    host: str = Field(default="localhost", max_length=256)
    port: int = Field(default=9001, ge=1, le=65535)
    role: Role = Role.MIXED


class RegisterEngine(Body):
    """`url` is where the engine listens, if not at the host and port of its config."""

    engine_config: EngineConfigBody
    url: str = Field(default="", max_length=1024)


class RegisteredEngine(BaseModel):
    engine_id: str


class Heartbeat(Body):
    """What Parrot's engines tell beside the id is accepted; the core asks for itself."""

    engine_id: str | int
    engine_name: str = ""
    runtime_info: dict[str, Json] = Field(default_factory=dict)


class Goodbye(Body):
    engine_id: str


class EngineEntry(BaseModel):
    """`state` is up, down (it will be asked again) or draining; `cause` why it is down."""

    engine_id: str
    model: str
    role: Role
    state: str
    cause: str
    running: int
    contexts: int


class Engines(BaseModel):
    engines: list[EngineEntry]


def routes() -> Iterator[Route]:
    who = Who.OPERATOR
    yield Route("POST", "/register_engine", _register, "An engine is there.",
                RegisterEngine, RegisteredEngine, who=who)  # fmt: skip
    yield Route("POST", "/engine_heartbeat", _heartbeat, "An engine lives.", Heartbeat, who=who)
    yield Route("POST", "/unregister_engine", _goodbye, "An engine goes.", Goodbye, who=who)
    yield Route("GET", "/v1/engines", _engines, "The engines.", answer=Engines, who=who)


async def _register(call: Call[RegisterEngine]) -> RegisteredEngine:
    """An address where no engine answers is the caller's fault, and not the core's."""
    config, core = call.body.engine_config, call.core
    url = call.body.url or f"http://{config.host}:{config.port}"
    try:
        name = await core.register_engine(
            url, model=config.model, name=config.name, role=config.role
        )
    except Unavailable as error:
        if core.is_draining:
            raise
        raise Refusal(400, "unreachable", error.message, help=error.help) from None
    return RegisteredEngine(engine_id=name)


async def _heartbeat(call: Call[Heartbeat]) -> Nothing:
    call.core.engine_heartbeat(str(call.body.engine_id))
    return Nothing()


async def _goodbye(call: Call[Goodbye]) -> Nothing:
    await call.core.remove_engine(call.body.engine_id)
    return Nothing()


async def _engines(call: Call[Nothing]) -> Engines:
    return Engines(engines=[_entry(view) for view in call.core.engines()])


def _entry(view: EngineView) -> EngineEntry:
    return EngineEntry(
        engine_id=view.name,
        model=view.spec.model,
        role=view.spec.role,
        state=view.state,
        cause=view.cause,
        running=view.running,
        contexts=view.contexts,
    )
