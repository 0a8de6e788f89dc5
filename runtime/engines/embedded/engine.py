"""The embedded engine: a model in this process, on its own thread.

    engine = open_embedded("smollm2-135m-instruct")
    await engine.fill([FillRequest(1, None, ids)])
    async for piece in engine.generate(GenerateRequest(2, 1, Sampling(max_tokens=20))): …

Requests become commands of the worker thread, which runs one iteration after another while there
is work; answers come back to the event loop of whoever asked.
"""

import asyncio
import os
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from parrotc.kernels.dense import dense
from parrotc.kernels.gate import measure_gate
from parrotc.kernels.worklist import Gate
from parrotc.runtime.engines.embedded.calibration import measure_speed
from parrotc.runtime.engines.embedded.model import PRECISIONS, Model
from parrotc.runtime.engines.embedded.planner import Limits
from parrotc.runtime.engines.embedded.runner import Attention, Runner, attention_for
from parrotc.runtime.engines.embedded.scheduler import Scheduler
from parrotc.runtime.engines.embedded.shape import Shape, check_pair, load_shape
from parrotc.runtime.engines.embedded.weights import load_weights
from parrotc.runtime.engines.protocol import (
    Ability,
    ContextId,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.models import Progress, cache_folder, load_tokenizer, resolve
from parrotc.runtime.tokenizer import Tokenizer

Answer = Callable[[Any], None]

_SHARE = 4  # at most one part in so many of the machine's memory is for keys and values


def open_embedded(
    spec: str,
    *,
    threads: int = 0,
    precision: str = "float32",
    device: str = "cpu",
    progress: Progress | None = None,
    folder: Path | None = None,
    measured: bool = False,
    max_context: int = 0,
    **limits: int,
) -> "EmbeddedEngine":
    """Load a model and start its thread. `limits` are those of `Limits`, by name; the rest is as
    the model and the machine say. With `measured` the engine finds out what its steps take before
    it serves anybody, and tells (`ping`). `max_context` is how many tokens a context is to hold, 0
    for as many as the model reads; some models compute otherwise for longer ones (`rotary.py`).
    Raises `ModelError`, `ValueError` for a precision or a device that does not exist and for limits
    that make no sense."""
    if precision not in PRECISIONS:
        raise ValueError(f"there is no precision `{precision}`; there are {', '.join(PRECISIONS)}")
    if max_context < 0:
        raise ValueError(f"a context cannot hold {max_context} tokens")
    files = resolve(spec, progress, folder=folder)
    shape = load_shape(files, max_context)
    tokenizer = load_tokenizer(files)
    check_pair(files.name, shape, tokenizer)
    tokenizer.context_length = shape.context_length  # what others ask before they ask the engine
    if shape.limit and progress:
        progress(shape.limit)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"there is no device `{device}` here")
    kernels = (folder or cache_folder()) / "kernels"
    if progress and device == "cpu" and not any(kernels.glob("*.so")):
        progress("compiling kernels for this processor, once")
    with torch.inference_mode():
        passes = dense(kernels) if precision == "int8" else None
        model = Model(shape, load_weights(files, shape), precision, device, passes)
    attention = attention_for(model, kernels)
    return EmbeddedEngine(
        model,
        tokenizer,
        name=files.name,
        threads=threads,
        attention=attention,
        limits=_limits(shape, attention, limits),
        measured=measured,
        gate=partial(
            measure_gate,
            attention.attend,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            dim=shape.head_dim,
            dtype=model.dtype,
            pool=attention.pool,
            device=model.device,
        ),
    )


class EmbeddedEngine:
    """Implements `Engine`. `threads` are those of one operation; 0 means one for each core. `gate`
    says what is worth sharing; it is asked once, on the engine's own thread."""

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        *,
        name: str,
        threads: int = 0,
        attention: Attention | None = None,
        limits: Limits | None = None,
        measured: bool = False,
        gate: Callable[[], Gate] = Gate.always,
    ) -> None:
        self.tokenizer = tokenizer
        self._name = name
        self._precision = model.precision
        self._context_length = model.shape.context_length
        limits = limits or Limits()
        self._ability = Ability(slots=limits.max_batch_size, tokens=limits.max_total_tokens)
        self._limits = limits if measured else None
        self._gate = gate
        self._runner = _runner(model, limits, attention or attention_for(model))
        self._scheduler = Scheduler(self._runner, tokenizer, limits, model.shape.context_length)
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(
            target=self._work, args=(threads or _cores(),), name="parrotc-engine", daemon=True
        )
        self._thread.start()

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        await self._ask(lambda answer: self._scheduler.fill(requests, answer))

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        answers: asyncio.Queue[Piece | Finished | EngineError] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        if request.constraint is not None and not request.constraint.scored:
            # a large grammar takes seconds to compile, and nobody else is to wait for it
            await asyncio.to_thread(self._scheduler.grammars.matcher, request.constraint)
        self._send(
            lambda answer: self._scheduler.generate(request, answer),
            lambda item: _call(loop, answers.put_nowait, item),
        )
        ended = False
        try:
            while not ended:
                item = await answers.get()
                ended = not isinstance(item, Piece)
                if isinstance(item, EngineError):
                    raise item
                yield item
        finally:
            if not ended:
                self._commands.put(lambda: self._scheduler.cancel(request.context))

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        def work(answer: Answer) -> None:
            for context in contexts:
                self._scheduler.free(context, dead)
            answer(None)

        await self._ask(work)

    async def hurry(self, contexts: Sequence[ContextId]) -> None:
        def work(answer: Answer) -> None:
            for context in contexts:
                self._scheduler.hurry(context)
            answer(None)

        await self._ask(work)

    async def ping(self) -> EngineInfo:
        info: EngineInfo = await self._ask(lambda answer: answer(self._info()))
        return info

    async def close(self) -> None:
        """End what is going on with the code `cancelled`, and stop the thread."""
        if not self._is_closed:
            self._is_closed = True
            self._commands.put(lambda: None)  # wakes the thread
        await asyncio.to_thread(self._thread.join)

    # --- between the loop's thread and the worker's ---

    async def _ask(self, work: Callable[[Answer], None]) -> Any:
        """Have `work` done on the worker thread, and wait for what it answers."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(answer: Any) -> None:
            if future.done():
                return  # nobody waits any more
            if isinstance(answer, EngineError):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        self._send(work, lambda item: _call(loop, settle, item))
        return await future

    def _send(self, work: Callable[[Answer], None], answer: Answer) -> None:
        if self._is_closed:
            raise EngineError("cancelled", "the engine is closed")

        def command() -> None:
            try:
                work(answer)
            except EngineError as error:
                answer(error)
            except Exception as error:
                answer(EngineError("internal", f"{type(error).__name__}: {error}"))

        self._commands.put(command)

    # --- on the worker's thread ---

    def _work(self, threads: int) -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            self._runner.gate = self._gate()
            if self._limits is not None:
                self._measure(self._limits)
            while not self._is_closed:
                self._obey()
                try:
                    if self._scheduler.has_work:
                        self._scheduler.iterate()
                except Exception as error:  # a bug: whoever waits must hear of it
                    self._scheduler.fail(
                        EngineError("internal", f"{type(error).__name__}: {error}")
                    )
            self._obey()
            self._scheduler.fail(EngineError("cancelled", "the engine was closed"))

    def _measure(self, limits: Limits) -> None:
        """An engine of which nothing can be measured works all the same."""
        with suppress(EngineError):
            clock = time.perf_counter
            speed = measure_speed(self._scheduler, limits, self._context_length, clock)
            self._ability = replace(self._ability, speed=speed)

    def _obey(self) -> None:
        """Run all commands that wait; where there is no other work, wait for one."""
        is_idle = not self._scheduler.has_work and not self._is_closed
        while is_idle or not self._commands.empty():
            self._commands.get()()
            is_idle = False

    def _info(self) -> EngineInfo:
        scheduler, memory = self._scheduler, self._scheduler.memory
        planner = scheduler.planner
        return EngineInfo(
            engine="embedded",
            model=self._name,
            fingerprint=self.tokenizer.fingerprint,
            context_length=self._context_length,
            precision=self._precision,
            running=len(planner.running),
            queued=len(planner.waiting),
            contexts=len(scheduler.contexts.named),
            cached_tokens=scheduler.contexts.tokens,
            filled_tokens=scheduler.filled,
            generated_tokens=scheduler.generated,
            counters={
                "blocks": memory.pool.size,
                "free_blocks": memory.pool.count,
                "cached_blocks": memory.prefixes.resting,
                "prefix_hit_tokens": memory.found,
                "evictions": memory.prefixes.evictions,
                "preemptions": planner.preemptions,
                "forced_tokens": scheduler.forced,
            },
            ability=self._ability,
        )


def _limits(shape: Shape, attention: Attention, given: Mapping[str, int]) -> Limits:
    """What was given, and room for as many tokens as the machine's memory allows; but not for more
    than so many generations can use."""
    if unknown := given.keys() - {field.name for field in fields(Limits)}:
        raise ValueError(f"there are no limits {', '.join(sorted(unknown))}")
    limits = Limits(**given)
    if "max_total_tokens" in given:
        return limits
    most = limits.max_batch_size * shape.context_length
    size = 2 * shape.layers * shape.kv_heads * shape.head_dim * attention.pool.itemsize  # a token's
    room = min(most, _memory() // _SHARE // size)
    return replace(limits, max_total_tokens=room)


def _runner(model: Model, limits: Limits, attention: Attention) -> Runner:
    """What carries out steps: on a GPU those that only generate are replayed."""
    if model.device.type != "cuda":
        return Runner(model, limits, attention)
    from parrotc.runtime.engines.embedded.cudagraph import GraphRunner, cuda_capture

    return GraphRunner(model, limits, attention, cuda_capture)


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int:
    """The bytes of memory that this machine has, or a guess."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on every system
        return 8 << 30


def _call(loop: asyncio.AbstractEventLoop, function: Answer, item: Any) -> None:
    """Call `function` on the loop's thread. A loop that is closed has nobody who waits."""
    try:
        loop.call_soon_threadsafe(function, item)
    except RuntimeError:
        if not loop.is_closed():
            raise
