"""Parrot's routes with its payloads: sessions, semantic variables, semantic and native calls.

Its clients send a session's id and token in every body, also of GET and DELETE; ours may send them
as headers instead (`routes.SESSION`, `routes.TOKEN`), and what else a GET says in the query.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field
from pydantic_core import to_json

from parrotc.runtime.core import payloads
from parrotc.runtime.core.variables import VariableView
from parrotc.runtime.core.views import CallView
from parrotc.runtime.engines.protocol import Piece
from parrotc.runtime.server.bodies import Body
from parrotc.runtime.server.routes import Call, Nothing, Route, Who
from parrotc.runtime.server.sse import Event, tell

Json = Any


class Credentials(Body):
    session_id: str | int | None = None
    session_auth: str | None = None


class Register(Body):
    api_key: str | None = None
    apps: list[dict[str, Json]] = Field(default_factory=list)  # Parrot's; changes nothing


class Registered(BaseModel):
    """`session_auth` is told this once. `expires` is Unix time."""

    session_id: str
    session_auth: str
    expires: float


class SessionInfo(BaseModel):
    session_id: str
    expires: float
    vars: int


class SemanticCall(payloads.SemanticCall):
    """A template, and what stands for its placeholders."""


class NativeCall(payloads.NativeCall):
    """`func_code` is there to be refused in clear words."""

    func_code: Json = None


class BoundParameter(BaseModel):
    parameter_name: str
    placeholder_name: str
    is_output: bool
    var_id: str
    var_name: str


class Taken(BaseModel):
    """A call that will run. Both lists are the same: Parrot has had two names for it. An input
    that was given as a value has no variable."""

    request_id: str
    session_id: str
    param_info: list[BoundParameter]
    created_vars: list[BoundParameter]


class NewVariable(Credentials):
    var_name: str = Field(max_length=256)
    content: str | None = None


class Content(Credentials):
    content: str


class Wanted(Credentials):
    """`criteria` is a name or, in a body, an object; `timeout` is in seconds."""

    criteria: Json = None
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Variable(BaseModel):
    var_id: str
    var_name: str
    state: str


class Variables(BaseModel):
    vars: list[Variable]


class Value(BaseModel):
    content: str


def routes() -> Iterator[Route]:
    session, variable = "/v1/session/{session_id}", "/v1/semantic_var/{var_id}"
    who = Who.SESSION
    yield Route("POST", "/v1/session", _register, "Open a session.", Register, Registered)
    yield Route("GET", session, _info, "A session.", Credentials, SessionInfo, who=who)
    yield Route("DELETE", session, _close, "Close a session and cancel its work.",
                Credentials, who=who)  # fmt: skip
    yield Route("POST", "/v1/semantic_call", _semantic_call, "Have a template completed.",
                SemanticCall, Taken, who=who)  # fmt: skip
    yield Route("POST", "/v1/py_native_call", _native_call, "Have an allowed function called.",
                NativeCall, Taken, who=who)  # fmt: skip
    yield Route("GET", "/v1/semantic_var", _variables, "The variables of a session.",
                Credentials, Variables, who=who)  # fmt: skip
    yield Route("POST", "/v1/semantic_var", _create, "A new variable.",
                NewVariable, Variable, who=who)  # fmt: skip
    yield Route("POST", variable, _set, "Give a variable its text, once.",
                Content, Nothing, who=who)  # fmt: skip
    yield Route("GET", variable, _get, "The text of a variable, when it is there.",
                Wanted, Value, who=who, streams=True)  # fmt: skip
    yield Route("DELETE", variable, _drop, "Nobody wants a variable any more.",
                Credentials, who=who)  # fmt: skip


# --- sessions ---


async def _register(call: Call[Register]) -> Registered:
    opened = await call.core.open_session(call.tenant)
    return Registered(session_id=opened.id, session_auth=opened.token, expires=opened.expires)


async def _info(call: Call[Credentials]) -> SessionInfo:
    session = call.session
    count = len(call.core.variables(session))
    return SessionInfo(session_id=session.id, expires=session.expires, vars=count)


async def _close(call: Call[Credentials]) -> Nothing:
    await call.core.close_session(call.session)
    return Nothing()


# --- calls ---


async def _semantic_call(call: Call[SemanticCall]) -> Taken:
    return _taken(call, await call.core.semantic_call(call.session, _payload(call.body)))


async def _native_call(call: Call[NativeCall]) -> Taken:
    return _taken(call, await call.core.native_call(call.session, _payload(call.body)))


def _payload(body: BaseModel) -> dict[str, Json]:
    """What the core is told: the fields that were given."""
    return body.model_dump(exclude_unset=True, exclude={"session_id", "session_auth"})


def _taken(call: Call[Any], view: CallView) -> Taken:
    bound = [
        BoundParameter(
            parameter_name=one.name,
            placeholder_name=one.name,
            is_output=one.is_output,
            var_id=one.var_id,
            var_name=one.var_name,
        )
        for one in view.parameters
    ]
    return Taken(
        request_id=view.id, session_id=call.session.id, param_info=bound, created_vars=bound
    )


# --- variables ---


async def _variables(call: Call[Credentials]) -> Variables:
    return Variables(vars=[_variable(view) for view in call.core.variables(call.session)])


async def _create(call: Call[NewVariable]) -> Variable:
    body = call.body
    return _variable(await call.core.create_variable(call.session, body.var_name, body.content))


async def _set(call: Call[Content]) -> Nothing:
    await call.core.set_variable(call.session, call.path("var_id"), call.body.content)
    return Nothing()


async def _get(call: Call[Wanted]) -> Value | web.StreamResponse:
    """Plain, or, for who accepts events, `text` events (`restart`: it begins anew) and a last
    `value`."""
    body, name = call.body, call.path("var_id")
    wanted: dict[str, Json] = {"criteria": body.criteria, "timeout": body.timeout}
    if call.wants_events:
        pieces = call.core.stream_variable(call.session, name, **wanted)
        return await tell(call.request, _events(pieces))
    return Value(content=await call.core.get_variable(call.session, name, **wanted))


async def _events(pieces: AsyncIterator[Piece]) -> AsyncGenerator[Event, None]:
    text = ""
    async for piece in pieces:
        text = piece.text if piece.restart else text + piece.text
        yield "restart" if piece.restart else "text", to_json({"text": piece.text}).decode()
    yield "value", to_json({"content": text}).decode()


async def _drop(call: Call[Credentials]) -> Nothing:
    await call.core.delete_variable(call.session, call.path("var_id"))
    return Nothing()


def _variable(view: VariableView) -> Variable:
    return Variable(var_id=view.id, var_name=view.name, state=str(view.state))
