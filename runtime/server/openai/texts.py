"""All the texts that one request asks for: filled once, continued side by side, told as they grow.

    async with generating(engine, asked) as outbox:
        while not outbox.is_over:
            update = await outbox.next()

Leaving the block, in whatever way, cancels what still goes on. What is told
waits in an `Outbox`, where pieces of one text become one: a slow reader gets fewer and larger
pieces, and holds up nobody.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from parrotc.runtime.engines.protocol import (
    Constraint,
    Engine,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
    new_context,
)

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt, in pieces that others may share, and how each of its continuations is drawn."""

    pieces: tuple[Ids, ...]
    samplings: tuple[Sampling, ...]
    constraint: Constraint | None = None

    @property
    def length(self) -> int:
        """Tokens of the prompt."""
        return sum(map(len, self.pieces))


@dataclass(slots=True)
class Update:
    """More of the text `index`, and its end if that has come. Texts are numbered over all
    prompts. `restarts`: what was told of it before is void."""

    index: int
    pieces: list[str] = field(default_factory=list)
    finished: Finished | None = None
    restarts: bool = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class Outbox:
    """What a reader has still to be told of `count` texts: at most one update of each."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._waiting: dict[int, Update] = {}
        self._error: BaseException | None = None
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_over(self) -> bool:
        return self._left == 0

    def post(self, index: int, item: Piece | Finished) -> None:
        update = self._waiting.setdefault(index, Update(index))
        if isinstance(item, Finished):
            update.finished = item
        elif item.restart:
            update.pieces, update.restarts = [item.text], True
        else:
            update.pieces.append(item.text)
        self._news.set()

    def fail(self, error: BaseException) -> None:
        """The first error ends all texts."""
        self._error = self._error or error
        self._news.set()

    async def arrived(self) -> None:
        """Wait until there is something to tell. Raises as `next` does."""
        await self._news.wait()
        if self._error is not None:
            raise self._error

    async def next(self) -> Update:
        """The next update. Raises what a generation failed with."""
        await self.arrived()
        update = self._waiting.pop(next(iter(self._waiting)))
        if not self._waiting:
            self._news.clear()
        self._left -= update.finished is not None
        return update


@asynccontextmanager
async def generating(engine: Engine, asked: Sequence[Asked]) -> AsyncIterator[Outbox]:
    """Begin all generations; prompts are filled when the block begins.

    Raises `EngineError`, here or from the outbox.
    """
    outbox = Outbox(sum(len(one.samplings) for one in asked))
    running: list[asyncio.Task[None]] = []
    try:
        fills = [_fills(one.pieces) for one in asked]
        await engine.fill([request for chain in fills for request in chain])
        for chain, one in zip(fills, asked, strict=True):
            for sampling in one.samplings:
                request = GenerateRequest(
                    new_context(), chain[-1].context, sampling, one.constraint, latency=True
                )
                work = _run(engine, request, len(running), outbox)
                running.append(asyncio.create_task(work))
        yield outbox
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


def _fills(pieces: Sequence[Ids]) -> list[FillRequest]:
    """One prompt as a chain of contexts, each of which another prompt may go on from."""
    chain: list[FillRequest] = []
    for ids in pieces:
        parent = chain[-1].context if chain else None
        chain.append(FillRequest(new_context(), parent, ids, shared=True))
    return chain


async def _run(engine: Engine, request: GenerateRequest, index: int, outbox: Outbox) -> None:
    """One generation. Its error is the reader's, and with the reader it is cancelled."""
    try:
        async with aclosing(engine.generate(request)) as items:  # type: ignore[type-var]
            async for item in items:
                outbox.post(index, item)
    except Exception as error:
        outbox.fail(error)
