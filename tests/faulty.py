"""Engines that die, hang, lie or forget when a test says so."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
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

Trick = Callable[["FaultyEngine", GenerateRequest, int], Any]  # before each item, by its number


class FaultyEngine:
    """A reference engine with a `trick`: it may raise, sleep, or give something else to be said.

    While it is `dead` nothing answers, and its contexts are gone when it comes back with `revive`.
    """

    def __init__(self, trick: Trick | None = None, *, latency: float = 0.0) -> None:
        self.inner = ReferenceEngine(latency=latency)
        self.tokenizer = self.inner.tokenizer
        self.trick = trick
        self.dead = False
        self.asked: list[GenerateRequest] = []
        self.filled: list[FillRequest] = []
        self.closed = 0

    def die(self) -> None:
        self.dead = True

    def revive(self) -> None:
        """As a process that was started anew."""
        self.inner = ReferenceEngine(self.tokenizer)
        self.dead = False

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        self._live()
        self.filled += requests
        await self.inner.fill(requests)
        self._live()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        self._live()
        self.asked.append(request)
        number = 0
        items = self.inner.generate(request)
        try:
            async for item in items:
                self._live()
                if self.trick is not None and not isinstance(item, Finished):
                    other = self.trick(self, request, number)
                    item = (await other if asyncio.iscoroutine(other) else other) or item
                    self._live()
                number += 1
                yield item
        finally:
            await items.aclose()

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        self._live()
        await self.inner.free(contexts, dead)

    async def ping(self) -> EngineInfo:
        self._live()
        return await self.inner.ping()

    async def close(self) -> None:
        self.closed += 1

    def _live(self) -> None:
        if self.dead:
            raise EngineError("unavailable", "connection refused")

    @property
    def contexts(self) -> int:
        return len(self.inner._contexts.named)


def once(trick: Trick, at: int) -> Trick:
    """`trick` before item number `at` of the first generation that comes so far."""
    done = False

    def play(engine: FaultyEngine, request: GenerateRequest, number: int) -> Any:
        nonlocal done
        if done or number != at:
            return None
        done = True
        return trick(engine, request, number)

    return play


def dies(engine: FaultyEngine, request: GenerateRequest, number: int) -> None:
    engine.die()


def fails(engine: FaultyEngine, request: GenerateRequest, number: int) -> None:
    raise EngineError("internal", "the model gave no usable numbers")


def crashes(engine: FaultyEngine, request: GenerateRequest, number: int) -> None:
    raise RuntimeError("a bug")


def disconnects(engine: FaultyEngine, request: GenerateRequest, number: int) -> None:
    raise EngineError("unavailable", "broke off in the middle of a text")


async def _for_ever() -> None:
    await asyncio.sleep(1e9)


def hangs(engine: FaultyEngine, request: GenerateRequest, number: int) -> Any:
    return _for_ever()


def forgets(engine: FaultyEngine, request: GenerateRequest, number: int) -> None:
    """It was started anew, and says nothing of it."""
    engine.revive()
    raise EngineError("unknown_context", f"there is no context {request.parent}")


def babbles(engine: FaultyEngine, request: GenerateRequest, number: int) -> Any:
    return {"what": "is this"}


def lies(engine: FaultyEngine, request: GenerateRequest, number: int) -> Piece:
    return Piece("something else")
