"""What eager calls run on: engines that remember, natives, and the segments that are compiled.

    service = service_for(settings, {})
    running = service.run(segment)                # returns at once

There is one for equal settings in a process, so a model is loaded once, and an engine has what any
graph has filled. Segments compile on a thread of their own, not on the event loop.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from parrotc.background import Background
from parrotc.driver import compile_module
from parrotc.eager.cell import as_failure
from parrotc.eager.here import found_here
from parrotc.eager.named import Names, Told, by_name, names_of
from parrotc.eager.segment import draws, module_of, places
from parrotc.eager.shape import Shape
from parrotc.eager.starts import Starts
from parrotc.engines import Engines
from parrotc.ir.diagnostic import CompileError
from parrotc.ir.types import Json
from parrotc.program import counting
from parrotc.runtime.chat import renders
from parrotc.runtime.code import Code, prepare
from parrotc.runtime.core.program import application
from parrotc.runtime.engines.protocol import Engine, EngineInfo, Sampling
from parrotc.runtime.engines.remembering import Memory
from parrotc.runtime.errors import RunError
from parrotc.runtime.natives import Caller, Natives
from parrotc.runtime.openrun import CANCELLED, OpenRun
from parrotc.runtime.plan import Model, NativeDecl, Plan, PlanError
from parrotc.runtime.stepping import SteppingResources
from parrotc.runtime.terms import Terms
from parrotc.runtime.trace import Trace
from parrotc.settings import Settings
from parrotc.settings import load as load_settings
from parrotc.targets import ModelOverrides

T = TypeVar("T")

COMPILED = 256  # segments that are kept, the most recently used ones


@dataclass(frozen=True)
class Segment:
    """A shape, what is in its slots, and who is told of what it wants."""

    shape: Shape
    values: "Sequence[Json | Future[Any]]"  # of a future, the result may be a failure
    told: Sequence[Told]
    parts: Sequence[Mapping[str, Told]]  # of the outputs of each, by name
    seed: int
    seeds: Sequence[int | None]  # of calls that have one of their own
    folders: Sequence[Path]
    trace: Trace


@dataclass(frozen=True)
class _Compiled:
    plan: Plan
    code: Code
    names: tuple[Names, ...]  # in the plan, of what the shape wants


class Running:
    """A segment that is on its way."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._given_up: set[int] = set()
        self._names: tuple[Names, ...] = ()
        self._run: OpenRun | None = None
        self.work: Future[None] | None = None
        self.done: Future[None] = Future()

    def begin(self, run: OpenRun, names: tuple[Names, ...]) -> None:
        self._run, self._names = run, names
        for number in self._given_up:
            self._cancel(number)

    def cancel(self, number: int) -> None:
        """Nobody wants the result any more that is the `number`th of those wanted."""
        self._background.call(lambda: self._cancel(number))

    def stop(self) -> None:
        """Nobody wants any result of it."""
        if self.work is not None:
            self.work.cancel()

    def _cancel(self, number: int) -> None:
        self._given_up.add(number)
        if self._run is not None:
            left = (one.all() for n, one in enumerate(self._names) if n not in self._given_up)
            for name in sorted(self._names[number].all().difference(*left)):
                self._run.cancel(name)


class Service:
    """Engines and compiled segments, on an event loop of their own."""

    def __init__(self, settings: Settings, models: Mapping[str, str]) -> None:
        self.settings = settings
        self.overrides = ModelOverrides.of(settings, models)
        self._background = Background()
        self._engines = Engines(settings)
        self._memories: dict[int, Memory] = {}
        self._natives: dict[object, Natives] = {}
        self._compiled: OrderedDict[Shape, _Compiled] = OrderedDict()
        self._compiling = Lock()
        self._starts = Starts()
        self.compilations = 0

    def run(self, segment: Segment) -> Running:
        running = Running(self._background)
        running.work = self._background.start(self._run(segment, running))
        return running

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run work on the event loop of the engines."""
        return self._background.start(work)

    def soon(self, function: Callable[[], None]) -> None:
        """Call a function on that loop, if there is one."""
        self._background.call(function)

    def engines(self) -> list[EngineInfo]:
        """What each engine that is open holds and does."""

        async def ask() -> list[EngineInfo]:
            return [await engine.ping() for engine in self._engines.open]

        return self._background.result(ask())

    def close(self) -> None:
        """Cancel what runs and give the engines back."""
        self._background.stop(self._close)

    def compiled(self, shape: Shape) -> _Compiled:
        """A segment, compiled at most once. Raises `CompileError`."""
        with self._compiling:
            if shape not in self._compiled:
                self._compiled[shape] = self._compile(shape)
                self.compilations += 1
                while len(self._compiled) > COMPILED:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(shape)
            return self._compiled[shape]

    def _compile(self, shape: Shape) -> _Compiled:
        libraries = dict.fromkeys(call.callee.library for call in shape.calls)
        compiled = compile_module(
            module_of(shape),
            sources=list(dict.fromkeys(chain.from_iterable(one.sources for one in libraries))),
            embedded=sorted(set(chain.from_iterable(one.embedded for one in libraries))),
            level=self.settings.level,
            models=self.overrides,
            starts=partial(self._starts.of, libraries),
        )
        (flow,) = compiled.plan.flows
        return _Compiled(compiled.plan, prepare(flow.block), names_of(flow.block))

    # --- on the event loop ---

    async def _run(self, segment: Segment, running: Running) -> None:
        try:
            compiled = await asyncio.to_thread(self.compiled, segment.shape)
            await self._feed(segment, compiled, running)
        except (CompileError, RunError, PlanError) as error:
            _tell_all(segment, error)
        except asyncio.CancelledError:
            _tell_all(segment, CANCELLED)
            raise
        except Exception as error:
            _tell_all(segment, RuntimeError(f"a bug of parrotc's: {error!r}"))
            raise
        finally:
            running.done.set_result(None)

    async def _feed(self, segment: Segment, compiled: _Compiled, running: Running) -> None:
        opened = await self.open(compiled.plan.models)
        engines: dict[str, Engine] = {n: self.memory(e).client() for n, e in opened.items()}
        resources = SteppingResources(
            compiled.plan,
            engines,
            self.natives(segment.folders, opened),
            renders=renders(compiled.plan.models, opened),
            width=self.settings.width,
            max_new_tokens=self.settings.max_new_tokens or None,
        )
        terms = Terms(
            hints=application(),
            samplings=_samplings(segment.shape),
            seeds=draws(segment.shape, segment.seeds),
        )
        run = OpenRun(resources, segment.trace, seed=segment.seed, keep=False, terms=terms)
        running.begin(run, compiled.names)
        *slots, go = compiled.code.block.params
        inputs = {n: coming(value) for n, value in zip(slots, segment.values, strict=True)}
        inputs[go] = None
        try:
            told, sinks = by_name(compiled.names, segment.told, segment.parts)
            await run.feed(compiled.code, inputs, told, sinks)
        finally:
            await resources.close()

    def memory(self, engine: Engine) -> Memory:
        """What remembers what an engine holds."""
        return self._memories.setdefault(id(engine), Memory(engine))

    async def open(self, models: Sequence[Model]) -> dict[str, Engine]:
        """The engines of models, by name. Raises `RunError` for one that cannot be had."""
        return await self._engines.of(models)

    def natives(self, folders: Sequence[Path], engines: Mapping[str, Engine]) -> Caller:
        """What runs the natives of a program in these folders."""
        override = self.settings.native_path
        folders = (Path(override).resolve(),) if override else tuple(folders)
        key = (folders, *((name, id(engine)) for name, engine in engines.items()))
        if key not in self._natives:
            workers = self.settings.native_workers
            standard = counting(engines)
            registry = lambda target: found_here(target) or standard(target)  # noqa: E731
            self._natives[key] = Natives(folders, registry, workers=workers)
        return _Shared(self._natives[key])

    async def _close(self) -> None:
        for natives in self._natives.values():
            await natives.close()
        await self._engines.close()


class _Shared:
    """Natives that other runs go on to use."""

    def __init__(self, natives: Natives) -> None:
        self._natives = natives

    async def call(self, native: NativeDecl, result: Any, args: Sequence[Json]) -> Json:
        return await self._natives.call(native, result, args)

    async def close(self) -> None:
        """The workers stay."""


def service_for(
    engine: str | None = None, models: Mapping[str, str] | None = None, **settings: Any
) -> Service:
    """The service of this process for these settings. Raises `SettingsError`."""
    given = load_settings(engine=engine, **settings)
    return _service(given, tuple(sorted((models or {}).items())))


@cache
def _service(settings: Settings, models: tuple[tuple[str, str], ...]) -> Service:
    return Service(settings, dict(models))


def _samplings(shape: Shape) -> dict[str, Sampling]:
    """How calls draw that ask for what a plan has no words for, by site."""
    return {
        f"{place}/{site}": sampling
        for call, place in zip(shape.calls, places(shape), strict=True)
        for site, sampling in call.callee.samplings.items()
    }


def coming(value: "Json | Future[Any]") -> "Json | asyncio.Future[Any]":
    """What is given to a run: a value, or what will be one or a failure."""
    if not isinstance(value, Future):
        return value
    if value.done():
        return as_failure(value.result())
    return asyncio.ensure_future(_awaited(value))


async def _awaited(value: "Future[Any]") -> Any:
    return as_failure(await asyncio.shield(asyncio.wrap_future(value)))


def _tell_all(segment: Segment, outcome: Any) -> None:
    for told in segment.told:
        told.value(outcome)
