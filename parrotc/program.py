"""A compiled program as a Python object: its flows are attributes that can be called.

    with parrotc.compile("app.pfn") as program:
        program.summarise(doc=text)                      # also in a notebook, also in an async def
        await program.summarise.acall(doc=text)
        async for piece in program.summarise.stream(doc=text): ...

Engines open at the first call and belong to a core (`runtime.core`) on the event loop of a thread
of its own, so calls from any thread and any loop share them, their batches and the prefixes they
hold, and are scheduled as on a server.
"""

import asyncio
import importlib
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from parrotc.background import Background
from parrotc.engines import Engines
from parrotc.flowhandle import FlowHandle
from parrotc.ir.types import Json
from parrotc.notebook import Rich, table
from parrotc.runtime.core.program import Manner, Program
from parrotc.runtime.engines.protocol import Engine, EngineInfo
from parrotc.runtime.natives import Caller, Natives, Registry
from parrotc.runtime.plan import Plan
from parrotc.runtime.results import PythonTypes
from parrotc.runtime.texts import token_counter
from parrotc.runtime.trace import Trace
from parrotc.runtime.variables import TextSink
from parrotc.settings import Settings


class LoadedProgram(Rich):
    """The flows of a plan. Close it, or use it in a `with`, to give its engines back."""

    def __init__(
        self,
        plan: Plan,
        *,
        folder: Path,
        settings: Settings | None = None,
        types: PythonTypes | None = None,
    ) -> None:
        """`folder` is where the plan lies: its sources are at `plan.root` from there.

        `types` makes Python values of results; else classes are made for the plan's types.
        """
        self.plan = plan
        self._folder = folder
        self._settings = settings or Settings()
        self._background = Background()
        types = types or PythonTypes()
        self._flows = {
            flow.name: FlowHandle(plan, flow, types, self._run, self._background)
            for flow in plan.flows
        }
        self._opening: asyncio.Future[Program] | None = None
        self._program: Program | None = None
        self._engines = Engines(self._settings)

    def __getattr__(self, name: str) -> "FlowHandle":
        flows = self.__dict__.get("_flows", {})
        if name in flows:
            handle: FlowHandle = flows[name]
            return handle
        raise AttributeError(f"the program has no flow `{name}`; it has {', '.join(flows)}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._flows]

    def __repr__(self) -> str:
        return f"<parrotc program {self.plan.name}: {', '.join(self._flows)}>"

    def _html(self) -> str:
        flows = {name: handle._html() for name, handle in self._flows.items()}
        return table(f"program {self.plan.name}", flows)

    def save(self, path: str | Path) -> None:
        """Write the plan, with its root as seen from there."""
        path = Path(path)
        root = os.path.relpath(self._root(), path.resolve().parent)
        path.write_bytes(replace(self.plan, root=Path(root).as_posix()).to_json())

    def engines(self) -> list[EngineInfo]:
        """What each engine that is open holds and does."""

        async def ask() -> list[EngineInfo]:
            return [await engine.ping() for engine in self._engines.open]

        return self._background.result(ask())

    def close(self) -> None:
        """Free everything and stop. Calls still running are cancelled."""
        self._background.stop(self._close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- on the background loop ---

    async def _run(
        self,
        flow: str,
        inputs: Mapping[str, Any],
        *,
        seed: int | None,
        timeout: float | None,
        keep: bool,
        trace: Trace,
        sink: TextSink | None,
    ) -> Json:
        program = await self._opened()
        seed = self._settings.seed if seed is None else seed
        timeout = self._settings.max_wait if timeout is None else timeout
        return await program.run(
            flow, inputs, seed=seed, timeout=timeout, keep=keep, trace=trace, sink=sink
        )

    async def _opened(self) -> Program:
        """The program on its core, opened by the first call; others wait for it."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        try:
            return await asyncio.shield(self._opening)
        except BaseException:
            if self._opening is not None and self._opening.done():
                self._opening = None  # the next call tries again
            raise

    async def _open(self) -> Program:
        models = await self._engines.names(self.plan.models)
        manner = Manner(
            width=self._settings.width,
            max_new_tokens=self._settings.max_new_tokens or None,
            settles=True,
        )
        self._program = self._engines.core.program(self.plan, models, self._natives, manner)
        return self._program

    def _natives(self, engines: Mapping[str, Engine]) -> Caller:
        workers = self._settings.native_workers
        return Natives(self._native_folders(), counting(engines), workers=workers)

    async def _close(self) -> None:
        if self._program is not None:
            await self._program.close()
        await self._engines.close()

    def _root(self) -> Path:
        return (self._folder / self.plan.root).resolve()

    def _native_folders(self) -> list[Path]:
        override = self._settings.native_path
        return [Path(override).resolve()] if override else [self._root()]


def standard_function(target: str) -> Callable[..., Any] | None:
    """A native of the standard library, which is ours and may run in this process."""
    module, _, name = target.partition(":")
    if not module.startswith("parrotc.stdlib."):
        return None
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def counting(engines: Mapping[str, Engine]) -> Registry:
    """The standard library, where what counts tokens does so as the program's models do."""
    counts = {name: partial(_tokens, engine) for name, engine in engines.items()}

    def find(target: str) -> Callable[..., Any] | None:
        function = standard_function(target)
        if function is None or "counts" not in inspect.signature(function).parameters:
            return function
        return partial(function, counts=counts)

    return find


def _tokens(engine: Engine, text: str) -> int:
    return len(token_counter(engine.tokenizer).encode(text))
