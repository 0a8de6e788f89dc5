"""The embedded engine: a Llama model in this process, on its own thread.

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
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from parrotc.runtime.engines.embedded.model import PRECISIONS, Llama
from parrotc.runtime.engines.embedded.scheduler import LIMITS, Limits, Scheduler
from parrotc.runtime.engines.embedded.shape import load_shape
from parrotc.runtime.engines.embedded.weights import load_weights
from parrotc.runtime.engines.protocol import (
    ContextId,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.models import Progress, load_tokenizer, resolve
from parrotc.runtime.tokenizer import Tokenizer

Answer = Callable[[Any], None]


def open_embedded(
    spec: str,
    *,
    threads: int = 0,
    precision: str = "float32",
    progress: Progress | None = None,
    folder: Path | None = None,
) -> "EmbeddedEngine":
    """Load a model and start its thread. Raises `ModelError`, `ValueError` for a precision that
    does not exist."""
    if precision not in PRECISIONS:
        raise ValueError(f"there is no precision `{precision}`; there are {', '.join(PRECISIONS)}")
    files = resolve(spec, progress, folder=folder)
    shape = load_shape(files)
    tokenizer = load_tokenizer(files)
    with torch.inference_mode():
        model = Llama(shape, load_weights(files, shape), precision)
    return EmbeddedEngine(
        model,
        tokenizer,
        name=files.name,
        precision=precision,
        threads=threads,
        limits=Limits(tokens=_memory() // 2 // model.bytes_per_token),
    )


class EmbeddedEngine:
    """Implements `Engine`. `threads` are those of one operation; 0 means one for each core."""

    def __init__(
        self,
        model: Llama,
        tokenizer: Tokenizer,
        *,
        name: str,
        precision: str,
        threads: int = 0,
        limits: Limits = LIMITS,
    ) -> None:
        self.tokenizer = tokenizer
        self._name = name
        self._precision = precision
        self._context_length = model.shape.context_length
        self._scheduler = Scheduler(model, tokenizer, limits)
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

    async def free(self, contexts: Sequence[ContextId]) -> None:
        def work(answer: Answer) -> None:
            for context in contexts:
                self._scheduler.tree.free(context)
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
            while not self._is_closed:
                self._obey()
                try:
                    if self._scheduler.has_work:
                        self._scheduler.iterate()
                except Exception as error:  # a bug or no memory: whoever waits must hear of it
                    self._scheduler.fail(
                        EngineError("internal", f"{type(error).__name__}: {error}")
                    )
            self._obey()
            self._scheduler.fail(EngineError("cancelled", "the engine was closed"))

    def _obey(self) -> None:
        """Run all commands that wait; where there is no other work, wait for one."""
        is_idle = not self._scheduler.has_work and not self._is_closed
        while is_idle or not self._commands.empty():
            self._commands.get()()
            is_idle = False

    def _info(self) -> EngineInfo:
        scheduler = self._scheduler
        return EngineInfo(
            engine="embedded",
            model=self._name,
            fingerprint=self.tokenizer.fingerprint,
            context_length=self._context_length,
            precision=self._precision,
            running=len(scheduler.rows),
            queued=len(scheduler.waiting),
            contexts=len(scheduler.tree.contexts),
            cached_tokens=scheduler.tree.tokens,
            filled_tokens=scheduler.filled,
            generated_tokens=scheduler.generated,
        )


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
