"""A core in this process for tests, and short words for what they ask of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fronted import core_on

from parrotc.driver import compile_source
from parrotc.ir.source import Source
from parrotc.ir.types import Json
from parrotc.runtime.core.core import ServeCore
from parrotc.runtime.core.sessions import Session
from parrotc.runtime.core.views import CallView
from parrotc.runtime.engines.protocol import GenerateRequest
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.targets import ModelOverrides


@asynccontextmanager
async def started(engine: Any = None, **config: Any) -> AsyncIterator[ServeCore]:
    core = core_on(engine or ReferenceEngine(), **config)
    await core.start()
    try:
        yield core
    finally:
        await core.close()


async def session_of(core: ServeCore, key: str | None = None) -> Session:
    opened = await core.open_session(core.tenant(key))
    return core.session(opened.id, opened.token)


def given(name: str, value: str | None = None, *, var: str | None = None) -> Json:
    """An input: a text, or the variable `var`."""
    return {"name": name} | ({"var_id": var} if var else {"value": value})


def made(name: str, tokens: int = 16, **sampling: Any) -> Json:
    """An output."""
    sampling = {"max_gen_length": tokens, **sampling}
    return {"name": name, "is_output": True, "sampling_config": sampling}


async def call(
    core: ServeCore, session: Session, template: str, *parameters: Json, **more: Any
) -> CallView:
    payload = {"template": template, "parameters": list(parameters), **more}
    return await core.semantic_call(session, payload)


def output(view: CallView, name: str = "a") -> str:
    """The variable of an output of a call."""
    return next(one.var_id for one in view.parameters if one.name == name)


def plan_bytes(text: str) -> bytes:
    """A `.pfn` text as a plan for the reference engine."""
    compiled = compile_source(Source("test.pfn", text), models=ModelOverrides("reference"))
    return compiled.plan.to_json()


class Recording(ReferenceEngine):
    """Keeps what it was asked to generate."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.asked: list[GenerateRequest] = []

    def generate(self, request: GenerateRequest) -> Any:
        self.asked.append(request)
        return super().generate(request)
