"""Long texts are tokenised on threads, so that nothing else on the event loop waits for them.

    async with beforehand(encoder, [document], certain=[question]):
        prompt.fill(parts)                    # `encoder` has the ids at hand

A megabyte takes seconds. A short text is there before a thread would have begun. The threads are
few and their own: whoever sends many long texts delays other long ones, and nothing else.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache

from parrotc.runtime.prompts import Encoder

LONG = 1 << 14  # characters: tens of milliseconds
_THREADS = 2


class LongTexts:
    """Implements `Encoder` as another one does, which has some ids at hand (`beforehand`)."""

    def __init__(self, encoder: Encoder) -> None:
        self.eos: Sequence[int] = getattr(encoder, "eos", ())
        self.encoder = encoder
        self.encoded: dict[str, list[int]] = {}
        self.certain: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        known = self.encoded.get(text) if self.encoded else None
        return self.encoder.encode(text) if known is None else known.copy()

    def decode(self, ids: list[int]) -> str:
        return self.encoder.decode(ids)

    def stable_prefix(self, text: str) -> list[int]:
        known = self.certain.get(text) if self.certain else None
        return self.encoder.stable_prefix(text) if known is None else known.copy()


@asynccontextmanager
async def beforehand(
    encoder: Encoder, texts: Iterable[str], certain: Iterable[str] = ()
) -> AsyncIterator[None]:
    """Within the block, which awaits nothing, `encoder` knows the ids of `texts`, and the stable
    prefixes of `certain`, as far as they are long and it is a `LongTexts`."""
    if not isinstance(encoder, LongTexts):
        yield
        return
    encoded = await _all(encoder.encoder.encode, texts)
    prefixes = await _all(encoder.encoder.stable_prefix, certain)
    encoder.encoded, encoder.certain = encoded, prefixes
    try:
        yield
    finally:
        encoder.encoded, encoder.certain = {}, {}


async def _all(work: Callable[[str], list[int]], texts: Iterable[str]) -> dict[str, list[int]]:
    loop = asyncio.get_running_loop()
    long = dict.fromkeys(text for text in texts if len(text) > LONG)
    return {text: await loop.run_in_executor(_threads(), work, text) for text in long}


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="tokenise")
