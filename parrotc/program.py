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
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from parrotc.background import Background
from parrotc.flowhandle import FlowHandle
from parrotc.ir.types import Json
from parrotc.runtime.chat import Render, renderer
from parrotc.runtime.engines.protocol import Engine, EngineInfo
from parrotc.runtime.engines.registry import open_engine
from parrotc.runtime.errors import Failed, RunError
from parrotc.runtime.executor import Executor
from parrotc.runtime.models import ModelError
from parrotc.runtime.natives import Natives
from parrotc.runtime.plan import Model, Plan, PlanError
from parrotc.runtime.results import PythonTypes
from parrotc.runtime.trace import Trace
from parrotc.runtime.variables import TextSink
from parrotc.settings import Settings
from parrotc.targets import ENGINES, render_of


class LoadedProgram:
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
        self._opening: asyncio.Future[Executor] | None = None
        self._executing: Executor | None = None
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
        executor = await self._executor()
        seed = self._settings.seed if seed is None else seed
        return await executor.run(
            flow, inputs, seed=seed, timeout=timeout, keep=keep, trace=trace, sink=sink
        )

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
        natives = Natives(
            self._native_folders(), standard_function, workers=self._settings.native_workers
        )
        self._executing = Executor(
            self.plan,
            engines,
            natives,
            renders={m.name: _render(m, engines[m.name]) for m in self.plan.models if m.template},
            width=self._settings.width,
            max_new_tokens=self._settings.max_new_tokens or None,
        )
        return self._executing

    async def _engine(self, model: Model) -> Engine:
        """The engine of a model; models of one kind and target share it."""
        key = (model.kind, model.target)
        if key not in self._engines:
            if model.kind not in ENGINES:
                raise RunError(_not_available(model).at(None))
            self._engines[key] = await asyncio.to_thread(_opened, model, self._settings)
        engine = self._engines[key]
        require_tokenizer(model, engine.tokenizer.fingerprint)
        return engine

    async def _close(self) -> None:
        if self._executing is not None:
            await self._executing.close()
        for engine in self._engines.values():
            await engine.close()

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


def _not_available(model: Model) -> Failed:
    return Failed(
        "E0610",
        f'the model `{model.name}` is `{model.kind}("{model.target}")`, and this version runs'
        " models that read tokens",
        help=f"run it on the embedded model with --engine embedded, or --model {model.name}=SPEC",
    )


def _opened(model: Model, settings: Settings) -> Engine:
    """A new engine for a model. Raises `RunError` E0610."""
    known = {
        "threads": settings.threads,
        "precision": settings.precision,
        "folder": Path(settings.model_cache) if settings.model_cache else None,
    }
    given = {name: value for name, value in known.items() if value}
    try:
        return open_engine(model.kind, model.target, **{**_options(model), **given})
    except ModelError as error:
        failed = Failed("E0610", error.message, help=error.help)
    except ValueError as error:
        failed = Failed("E0610", f"the model `{model.name}` cannot be opened: {error}")
    raise RunError(failed.at(None))


def _options(model: Model) -> dict[str, Json]:
    """The options of a `model` line, with those that come from the environment."""
    options = dict(model.options)
    for name, variable in model.env.items():
        if variable not in os.environ:
            message = f"the model `{model.name}` needs the environment variable {variable}"
            raise RunError(Failed("E0610", message).at(None))
        options[name] = os.environ[variable]
    return options


def require_tokenizer(model: Model, fingerprint: str) -> None:
    """Raises `PlanError` unless a model's tokenizer is the one the plan was compiled for."""
    if fingerprint == model.fingerprint:
        return
    raise PlanError(
        "E0655",
        f"the plan was compiled for another tokenizer than that of `{model.name}`",
        notes=(f"the plan needs {model.fingerprint[:12]}…, the model has {fingerprint[:12]}…",),
        help="compile it again for this model with --retarget (in Python: retarget=True)",
    )


def _render(model: Model, engine: Engine) -> Render:
    """The chat template of a model whose messages are rendered late."""
    assert model.template is not None
    return renderer(render_of(model.template), engine.tokenizer.specials)
