"""How many bytes work leaves behind, for tests of what is forgotten."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from parrotc.runtime.engines.protocol import (
    ContextId,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.engines.reference import ReferenceEngine

LEAST = 100  # bytes, on average, that a forgotten call would leave at the least
TIMERS = 50_000  # bytes: asyncio keeps up to a hundred cancelled timers until it sweeps them
SAY = """
pfunc say(q: int) -> str:
    "Say {{q}}: {{gen max_tokens=8}}"

flow main(n: int) -> list[str]:
    return [say(q=i) for i in range(n)]
"""


class Trivial(ReferenceEngine):
    """Says `x` to everything."""

    async def fill(self, requests: Sequence[FillRequest]) -> None: ...

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        yield Finished("end", "x", (120,), 1)

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None: ...


def room(calls: int) -> int:
    """Bytes that so many calls may leave: fewer than if each left something."""
    return TIMERS + LEAST * calls


async def grown(work: Callable[[int], Awaitable[None]], calls: int) -> int:
    """Bytes that `work` of so many calls leaves behind, once all that is made once is there."""
    tracemalloc.start()
    try:
        await work(300)
        more = []
        for _ in range(2):  # a leak grows each time, a cache that fills up does not
            before = await _held()
            await work(calls)
            more.append(await _held() - before)
        return min(more)
    finally:
        tracemalloc.stop()


async def _held() -> int:
    """Bytes, when all that ends soon has ended."""
    await asyncio.sleep(0.1)
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
