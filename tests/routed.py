"""A router over engines with faults, beside one quiet engine that says what is right."""

import asyncio
from collections.abc import AsyncIterator

from faulty import FaultyEngine

from parrotc.runtime.core.registry import RouterLimits
from parrotc.runtime.core.router import Router
from parrotc.runtime.engines.protocol import (
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
    new_context,
)
from parrotc.runtime.engines.reference import ReferenceEngine

PROMPT = tuple(b"Tell me a story of a parrot.")
LONG = Sampling(temperature=1.0, key=8, min_tokens=30)  # several pieces


class Setting:
    """A router over engines, and what a quiet engine says to the same."""

    def __init__(self, *engines: FaultyEngine, **limits: float) -> None:
        self.engines = engines
        self.quiet = ReferenceEngine()
        self.router = Router("m", self.quiet.tokenizer, limits=RouterLimits(**limits))
        for number, engine in enumerate(engines):
            self.router.register(f"e{number}", engine)
        self.pieces: list[Piece] = []

    async def fill(self, ids: tuple[int, ...] = PROMPT, parent: int | None = None) -> int:
        name = new_context()
        for engine in (self.router, self.quiet):
            await engine.fill([FillRequest(name, parent, ids)])
        return name

    async def run(self, parent: int, sampling: Sampling = LONG, **more: object) -> Finished:
        """What the router says; it is what the quiet engine says, and so is what was streamed."""
        request = GenerateRequest(new_context(), parent, sampling, **more)
        expected = await last(self.quiet.generate(request))
        text, ids = "", ()
        async for item in self.router.generate(request):
            if isinstance(item, Finished):
                assert item == expected
                assert (text, ids) == (item.text, item.ids[: len(ids)])
                await self.router.free([request.context])
                return item
            self.pieces.append(item)
            text, ids = (
                (item.text, item.ids) if item.restart else (text + item.text, ids + item.ids)
            )
        raise AssertionError("no end")

    async def close(self) -> None:
        """Nothing is left anywhere."""
        await self.router.free(list(self.router._tree.named))
        await asyncio.sleep(60)  # what was down has been asked again
        for _ in range(3):
            await self.router.settle()
        assert len(self.router._tree) == 0
        assert [engine.contexts for engine in self.engines if not engine.dead] == [
            0 for engine in self.engines if not engine.dead
        ]
        assert (await self.router.ping()).running == (await self.router.ping()).queued == 0
        assert not self.router._dispatcher.calls and not self.router._making
        await self.router.close()


async def last(items: AsyncIterator[Piece | Finished]) -> Finished:
    async for item in items:
        if isinstance(item, Finished):
            return item
    raise AssertionError("no end")
