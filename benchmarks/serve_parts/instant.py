"""An engine that costs nothing, so that what is measured is what stands before it."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from parrotc.runtime.engines.protocol import (
    ContextId,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.tokenizer import ByteTokenizer

SAID = tuple(b"parrots.")


class InstantEngine:
    """Says the same to everybody, at once."""

    def __init__(self, tokenizer: ByteTokenizer) -> None:
        self.tokenizer = tokenizer
        self.contexts = self.calls = 0

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        self.contexts += len(requests)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        await asyncio.sleep(0)
        yield Piece("parr", SAID[:4])
        yield Piece("ots.", SAID[4:])
        self.contexts += 1
        self.calls += 1
        yield Finished("end", "parrots.", SAID, len(SAID))

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        self.contexts -= len(contexts)

    async def ping(self) -> EngineInfo:
        return EngineInfo("instant", "m", self.tokenizer.fingerprint, 1_000_000)

    async def close(self) -> None:
        return None
