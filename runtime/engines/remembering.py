"""An engine that remembers: what is freed rests for a while, and what it holds is not filled again.

    memory = Memory(engine)
    client = memory.client()                       # an `Engine` with context names of its own
    await client.fill([FillRequest(1, None, ids)])

A fill looks for the longest context that the engine has of its first tokens, whoever made it and
in whatever pieces, and fills what comes after:

    has     system ─ question ─ answer                         asked for
    fills                              └─ next question        system question answer next question

Contexts are found by a hash of all their tokens, so one name never stands for other tokens. What
nobody names any more rests, the least recently used going first, up to `budget` tokens; half of it
goes, and half of the rest, until the engine finds room.
"""

import asyncio
from array import array
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import count
from math import ceil
from typing import Any

from parrotc.runtime.engines.protocol import (
    ContextId,
    Engine,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Hurrying,
    Piece,
)

BUDGET = 8192  # tokens that rest


class _Held:
    """A context that the engine has, or will have when `filled` is done. `users` name it."""

    __slots__ = ("digest", "filled", "hash", "inner", "length", "own", "users")

    def __init__(self, inner: ContextId, before: "_Held | None", ids: Sequence[int]) -> None:
        self.inner = inner
        self.own = len(ids)
        self.length: int = (before.length if before else 0) + len(ids)
        self.hash: blake2b = _grown(before.hash if before else blake2b(digest_size=16), ids)
        self.digest = self.hash.digest()
        self.users = 0
        self.filled: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Memory:
    """What one engine holds, for all its clients. All methods belong to the engine's event loop."""

    def __init__(self, engine: Engine, budget: int = BUDGET) -> None:
        self.engine = engine
        self.names = count(1)
        self._budget = budget
        self._known: dict[bytes, _Held] = {}
        self._lengths: list[int] = []  # of those known, in order
        self._resting: OrderedDict[_Held, None] = OrderedDict()  # least recently used first
        self._resting_tokens = 0

    def client(self) -> "Client":
        return Client(self)

    async def close(self) -> None:
        await self.engine.close()

    # --- what is known ---

    def longest(self, before: _Held | None, ids: Sequence[int]) -> _Held | None:
        """The longest context that holds the tokens of `before` and the first of `ids`."""
        state = before.hash if before else blake2b(digest_size=16)
        start, done, best = before.length if before else 0, 0, before
        for at in range(bisect_right(self._lengths, start), len(self._lengths)):
            length = self._lengths[at] - start
            if length > len(ids):
                break
            if length == done:
                continue  # several contexts of one length
            state, done = _grown(state, ids[done:length]), length
            best = self._known.get(state.digest(), best)
        return best

    def take(self, held: _Held) -> _Held:
        if not held.users and held in self._resting:
            del self._resting[held]
            self._resting_tokens -= held.own
        held.users += 1
        return held

    def add(self, held: _Held) -> None:
        """Let others find a context, unless another one with these tokens is found already."""
        if held.length and held.digest not in self._known:
            self._known[held.digest] = held
            insort(self._lengths, held.length)

    def forget(self, held: _Held) -> None:
        if self._known.get(held.digest) is held:
            del self._known[held.digest]
            self._lengths.pop(bisect_right(self._lengths, held.length) - 1)

    async def drop(self, dropped: Sequence[_Held]) -> None:
        """One user less of each; what nobody else can find, or has no room to rest, goes."""
        gone: list[_Held] = []
        for held in dropped:
            held.users -= 1
            if held.users:
                continue
            if self._known.get(held.digest) is held:
                self._resting[held] = None
                self._resting_tokens += held.own
            else:
                gone.append(held)
        while self._resting_tokens > self._budget:
            gone.append(self._oldest())
        await self._free(gone)

    async def make_room(self, part: float = 1.0) -> bool:
        """Free the least recently used `part` of what rests; whether that was anything."""
        gone = [self._oldest() for _ in range(ceil(part * len(self._resting)))]
        await self._free(gone)
        return bool(gone)

    def _oldest(self) -> _Held:
        held, _ = self._resting.popitem(last=False)
        self._resting_tokens -= held.own
        self.forget(held)
        return held

    async def _free(self, gone: Sequence[_Held]) -> None:
        if gone:
            await self.engine.free([held.inner for held in gone])


@dataclass(slots=True)
class _Batch:
    """A message of fills as it becomes one to the engine."""

    named: dict[ContextId, _Held] = field(default_factory=dict)  # one user of each is a name
    requests: list[FillRequest] = field(default_factory=list)
    made: list[_Held] = field(default_factory=list)  # by the requests
    bases: list[_Held] = field(default_factory=list)  # that the requests continue


class Client:
    """Implements `Engine` for one caller, who chooses its names of contexts.

    `filled` counts the tokens that had to be filled for it.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.filled = 0
        self._named: dict[ContextId, _Held] = {}

    @property
    def tokenizer(self) -> Any:
        return self._memory.engine.tokenizer

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        batch = _Batch()
        try:
            for request in requests:
                self._ask(request, batch)
            self._named |= batch.named
            if not await self._others_filled(batch):
                await self._undo(batch, EngineError("cancelled", "it is filled anew"))
                return await self.fill(requests)
            await self._send(batch.requests)
        except BaseException as error:
            await self._undo(batch, error)
            raise
        for held in batch.made:
            held.filled.set_result(None)
            self.filled += held.own
        await self._memory.drop(batch.bases)

    def _ask(self, request: FillRequest, batch: _Batch) -> None:
        """Name the context that a request asks for: one that is there, or one to make."""
        memory = self._memory
        parent = None if request.parent is None else self._find(request.parent, batch.named)
        base = memory.longest(parent, request.ids)
        skipped = (base.length if base else 0) - (parent.length if parent else 0)
        rest = request.ids[skipped:]
        if base is not None:
            batch.bases.append(memory.take(base))
            if not rest:
                batch.named[request.context] = memory.take(base)
                return
        held = memory.take(_Held(next(memory.names), base, rest))
        above = base.inner if base else None
        batch.requests.append(replace(request, context=held.inner, parent=above, ids=rest))
        batch.made.append(held)
        batch.named[request.context] = held
        if not request.early:  # one that is early may be long in coming
            memory.add(held)

    def _find(self, name: ContextId, named: Mapping[ContextId, _Held]) -> _Held:
        held = named.get(name) or self._named.get(name)
        if held is None:
            raise EngineError("unknown_context", f"there is no context {name}")
        return held

    async def _others_filled(self, batch: _Batch) -> bool:
        """Wait for what others are filling; whether all of it came."""
        for base in batch.bases:
            if base not in batch.made:
                try:
                    await asyncio.shield(base.filled)
                except EngineError:
                    return False
        return True

    async def _send(self, requests: Sequence[FillRequest]) -> None:
        while requests:
            try:
                return await self._memory.engine.fill(requests)
            except EngineError as error:
                if error.code != "capacity" or not await self._memory.make_room(0.5):
                    raise

    async def _undo(self, batch: _Batch, error: BaseException) -> None:
        for name in batch.named:
            self._named.pop(name, None)
        for held in batch.made:
            self._memory.forget(held)
            cause = error if isinstance(error, EngineError) else EngineError("cancelled", "ended")
            held.filled.set_exception(cause)
            held.filled.exception()  # told to whoever waits, if anybody does
        there = [*batch.named.values(), *batch.bases]
        await self._memory.drop([held for held in there if held not in batch.made])

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        memory = self._memory
        parent = memory.take(self._find(request.parent, {}))
        inner = replace(request, context=next(memory.names), parent=parent.inner)
        pieces = memory.engine.generate(inner)
        try:
            async for piece in pieces:
                if isinstance(piece, Finished):
                    held = memory.take(_Held(inner.context, parent, piece.ids[: piece.kept]))
                    held.filled.set_result(None)
                    memory.add(held)
                    self._named[request.context] = held
                yield piece
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()
            await memory.drop([parent])

    async def hurry(self, contexts: Sequence[ContextId]) -> None:
        engine = self._memory.engine
        if isinstance(engine, Hurrying):
            known = [self._named[name].inner for name in contexts if name in self._named]
            await engine.hurry(known)

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        """What a plan calls `dead` rests too: what comes after that plan may begin with it."""
        for name in contexts:
            self._find(name, {})
        await self._memory.drop([self._named.pop(name) for name in contexts])

    async def ping(self) -> EngineInfo:
        return await self._memory.engine.ping()

    async def close(self) -> None:
        """Give back what this caller still names; the engine goes on."""
        await self.free(list(self._named))


def _grown(state: blake2b, ids: Sequence[int]) -> blake2b:
    grown = state.copy()
    grown.update(array("I", ids).tobytes())
    return grown
