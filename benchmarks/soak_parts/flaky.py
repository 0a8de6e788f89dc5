"""Engines that fail as engines do, when they are told to, and never say a wrong word."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Any

from parrotc.runtime.engines.protocol import (
    ContextId,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.engines.reference import ReferenceEngine

LATENCY, PAUSE = 0.01, 0.004  # seconds: of a request, and between two pieces


class Fault(StrEnum):
    """What is wrong with an engine: its process is gone and nothing answers; nothing ever answers;
    each generation fails at once; breaks off after its first piece; gives nonsense after it; or the
    process was started anew and knows no context."""

    DEAD = "dead"
    HUNG = "hung"
    FAILING = "failing"
    CUT = "cut"
    BABBLING = "babbling"
    FORGETFUL = "forgetful"


class Flaky:
    """A reference engine that is well until it is told otherwise."""

    def __init__(self) -> None:
        self.inner = ReferenceEngine(latency=LATENCY)
        self.tokenizer = self.inner.tokenizer
        self._fault: Fault | None = None
        self._returned = asyncio.Event()

    def fail(self, fault: Fault) -> None:
        if fault in (Fault.DEAD, Fault.FORGETFUL):
            self.inner = ReferenceEngine(self.tokenizer, latency=LATENCY)
        if fault is not Fault.FORGETFUL:
            self._fault = fault
            self._returned.clear()

    def come_back(self) -> None:
        self._fault = None
        self._returned.set()

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        inner = await self._live()
        await inner.fill(requests)
        await self._live(inner)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        inner = await self._live()
        if self._fault is Fault.FAILING:
            raise EngineError("internal", "the model gave no usable numbers")
        items = inner.generate(request)
        try:
            async for item in items:
                yield item
                if isinstance(item, Finished):
                    return
                await asyncio.sleep(PAUSE)
                await self._live(inner)
                if self._fault is Fault.CUT:
                    raise EngineError("unavailable", "broke off in the middle of a text")
                if self._fault is Fault.BABBLING:
                    nonsense: Any = {"what": "is this"}
                    yield nonsense
        finally:
            await items.aclose()

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        await (await self._live()).free(contexts, dead)

    async def ping(self) -> EngineInfo:
        return await (await self._live()).ping()

    async def close(self) -> None:
        return None

    async def _live(self, before: ReferenceEngine | None = None) -> ReferenceEngine:
        """The engine, if it answers, and if it is the one it was `before`."""
        if self._fault is Fault.HUNG:
            await self._returned.wait()
        if self._fault is Fault.DEAD or before not in (None, self.inner):
            raise EngineError("unavailable", "connection refused")
        return self.inner
