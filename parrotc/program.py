"""A compiled program as a Python object: its flows are attributes that can be called.

    with parrotc.compile("app.pfn") as program:
        program.summarise(doc=text)                      # also in a notebook, also in an async def
        await program.summarise.acall(doc=text)
        async for piece in program.summarise.stream(doc=text): ...

Engines open at the first call and belong to one event loop on a thread of its own, so calls from
any thread and any loop share them, their batches and the prefixes they hold.
"""

import asyncio
import importlib
import inspect
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from parrotc.chat import render_for
from parrotc.driver import retarget
from parrotc.ir.types import STR, Json
from parrotc.runtime.engines.protocol import Engine, EngineInfo
from parrotc.runtime.engines.registry import open_engine
from parrotc.runtime.errors import Failed, RunError
from parrotc.runtime.executor import Executor
from parrotc.runtime.natives import Natives
from parrotc.runtime.plan import Flow, Model, Plan, PlanError
from parrotc.runtime.results import PythonTypes
from parrotc.runtime.trace import Trace, Watcher
from parrotc.runtime.variables import TextSink
from parrotc.settings import Settings
from parrotc.targets import EMBEDDED, REFERENCE, ModelOverrides, load_target, split_spec

T = TypeVar("T")


class LoadedProgram:
    """The flows of a plan. Close it, or use it in a `with`, to give its engines back."""

    def __init__(self, plan: Plan, *, folder: Path, settings: Settings | None = None) -> None:
        """`folder` is where the plan lies: its sources are at `plan.root` from there."""
        self.plan = plan
        self._folder = folder
        self._settings = settings or Settings()
        self._types = PythonTypes()
        self._flows = {flow.name: FlowHandle(self, flow) for flow in plan.flows}
        self._background = _Background()
        self._opening: asyncio.Future[Executor] | None = None
        self._engines: dict[tuple[str, str], Engine] = {}

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

    def save(self, path: str | Path) -> None:
        """Write the plan, with its root as seen from there."""
        path = Path(path)
        root = os.path.relpath(self._root(), path.resolve().parent)
        path.write_bytes(replace(self.plan, root=Path(root).as_posix()).to_json())

    def engines(self) -> list[EngineInfo]:
        """What each engine that is open holds and does."""

        async def ask() -> list[EngineInfo]:
            return [await engine.ping() for engine in self._engines.values()]

        return self._background.result(ask())

    def close(self) -> None:
        """Free everything and stop. Calls still running are cancelled."""
        self._background.stop(self._close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- on the background loop ---

    async def _executor(self) -> Executor:
        """The executor, opened by the first call; others wait for it."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        try:
            return await asyncio.shield(self._opening)
        except BaseException:
            if self._opening is not None and self._opening.done():
                self._opening = None  # the next call tries again
            raise

    async def _open(self) -> Executor:
        engines = {model.name: await self._engine(model) for model in self.plan.models}
        natives = Natives(self._native_folders(), _stdlib, workers=self._settings.native_workers)
        return Executor(
            self.plan,
            engines,
            natives,
            renders={m.name: render_for(m, engines[m.name]) for m in self.plan.models if m.template},
            width=self._settings.width,
            max_new_tokens=self._settings.max_new_tokens or None,
        )

    async def _engine(self, model: Model) -> Engine:
        """The engine of a model; models of one kind and target share it."""
        key = (model.kind, model.target)
        if key not in self._engines:
            if model.kind not in (EMBEDDED, REFERENCE):
                raise RunError(_not_available(model).at(None))
            given = {"threads": self._settings.threads, "precision": self._settings.precision}
            options = {**model.options, **{k: v for k, v in given.items() if v}}
            self._engines[key] = await asyncio.to_thread(open_engine, *key, **options)
        engine = self._engines[key]
        require_tokenizer(model, engine.tokenizer.fingerprint)
        return engine

    async def _close(self) -> None:
        if self._opening is not None and self._opening.done() and not self._opening.exception():
            await self._opening.result().close()
        for engine in self._engines.values():
            await engine.close()

    def _root(self) -> Path:
        return (self._folder / self.plan.root).resolve()

    def _native_folders(self) -> list[Path]:
        override = self._settings.native_path
        return [Path(override).resolve()] if override else [self._root()]


class FlowHandle:
    """One flow. Calling it runs it; keywords are its inputs, and `timeout` and `seed`."""

    def __init__(self, program: LoadedProgram, flow: Flow) -> None:
        self._program = program
        self._flow = flow
        self.__name__ = flow.name

    @property
    def __signature__(self) -> inspect.Signature:
        types, python = self._program.plan.type_table, self._program._types
        params = [
            inspect.Parameter(
                param.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=param.default if param.has_default else inspect.Parameter.empty,
                annotation=python.of(types[param.type]),
            )
            for param in self._flow.params
        ]
        return inspect.Signature(params, return_annotation=python.of(types[self._flow.result]))

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        types = self._program.plan.type_table
        takes = ", ".join(
            f"{p.name}: {types[p.type]}" + (f" = {p.default!r}" if p.has_default else "")
            for p in self._flow.params
        )
        place = self._program.plan.span(self._flow.span)
        origin = f"\n\nThe flow at {place}." if place else ""
        return f"{self._flow.name}({takes}) -> {types[self._flow.result]}{origin}"

    def __repr__(self) -> str:
        return f"<flow {self.__doc__.splitlines()[0]}>"

    def __call__(
        self, *args: Any, timeout: float | None = None, seed: int | None = None, **inputs: Any
    ) -> Any:
        """The result, typed. Raises `RunError` when the flow fails, and `TimeoutError`."""
        work = self._typed(self._bound(args, inputs), seed, timeout)
        return self._program._background.result(work)

    async def acall(
        self, *args: Any, timeout: float | None = None, seed: int | None = None, **inputs: Any
    ) -> Any:
        """The same in an `async def`. Cancelling it cancels the run."""
        work = self._typed(self._bound(args, inputs), seed, timeout)
        return await asyncio.wrap_future(self._program._background.start(work))

    async def stream(
        self, *args: Any, timeout: float | None = None, seed: int | None = None, **inputs: Any
    ) -> AsyncIterator[Any]:
        """The text of the result as it is generated; one typed result if it is not such a text."""
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[str | None]()

        def tell(piece: str | None) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        work = self._typed(self._bound(args, inputs), seed, timeout, sink=tell)
        run = self._program._background.start(work)
        run.add_done_callback(lambda _: None if loop.is_closed() else tell(None))
        told = ""
        try:
            while (piece := await pieces.get()) is not None:
                told += piece
                yield piece
            result = await asyncio.wrap_future(run)
            if self._program.plan.type_table[self._flow.result] != STR:
                yield result
            elif result != told:
                yield result.removeprefix(told)
        finally:
            run.cancel()

    def plain(
        self,
        inputs: Mapping[str, Any],
        *,
        seed: int | None = None,
        timeout: float | None = None,
        keep: bool = False,
        watcher: Watcher | None = None,
        sink: TextSink | None = None,
    ) -> Json:
        """The result as plain data, for tools. `keep`: see `Executor.run`."""
        work = self._run(inputs, seed, timeout, keep=keep, watcher=watcher, sink=sink)
        return self._program._background.result(work)

    def _bound(self, args: tuple[Any, ...], inputs: dict[str, Any]) -> dict[str, Any]:
        names = [param.name for param in self._flow.params]
        if len(args) > len(names):
            raise TypeError(f"`{self._flow.name}` takes {len(names)} inputs, not {len(args)}")
        given = dict(zip(names, args, strict=False))
        for name in given.keys() & inputs.keys():
            raise TypeError(f"`{self._flow.name}` got two values for `{name}`")
        return given | inputs

    async def _typed(
        self,
        inputs: Mapping[str, Any],
        seed: int | None,
        timeout: float | None,
        sink: TextSink | None = None,
    ) -> Any:
        data = await self._run(inputs, seed, timeout, sink=sink)
        type_ = self._program.plan.type_table[self._flow.result]
        return self._program._types.build(type_, data)

    async def _run(
        self,
        inputs: Mapping[str, Any],
        seed: int | None,
        timeout: float | None,
        *,
        keep: bool = False,
        watcher: Watcher | None = None,
        sink: TextSink | None = None,
    ) -> Json:
        executor = await self._program._executor()
        async with asyncio.timeout(timeout):
            return await executor.run(
                self._flow.name,
                inputs,
                seed=self._program._settings.seed if seed is None else seed,
                keep=keep,
                trace=Trace(watcher),
                sink=sink,
            )


class _Background:
    """An event loop on a thread of its own, started when it is first needed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, name="parrotc", daemon=True
                ).start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for the result; leaving early (Ctrl-C) cancels the work."""
        future = self.start(work)
        try:
            return future.result()
        finally:
            future.cancel()

    def stop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancel what runs, run `last`, and end the loop. Twice does nothing."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None:
            return

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await last()

        try:
            asyncio.run_coroutine_threadsafe(end(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)


def _stdlib(target: str) -> Callable[..., Any] | None:
    """A native of the standard library, which is ours and may run in this process."""
    module, _, name = target.partition(":")
    if not module.startswith("parrotc.stdlib."):
        return None
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _not_available(model: Model) -> Failed:
    return Failed(
        "E0610",
        f"the model `{model.name}` is `{model.kind}(\"{model.target}\")`, and this version runs"
        " embedded models only",
        help=f"run it on the embedded model with --engine embedded, or --model {model.name}=SPEC",
    )
