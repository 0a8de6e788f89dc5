"""Engines for tests of the runtime: a strict one that counts, and one that shakes another's timing.

`StrictEngine` is the reference model over bytes, written apart from `runtime/engines/reference.py`
so that the two check each other: it keeps the exact ids of every context, refuses every misuse of
the protocol, and logs each generation with the prompt it saw.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from random import Random

from parrotc.ir.hashvalue import value_ids
from parrotc.ir.tokenhash import extend, start
from parrotc.runtime.engines.protocol import (
    Engine,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)


class ByteTokens:
    """Ids are bytes, so every cut is safe; a character may be several of them."""

    fingerprint = "bytes"
    bos = None
    specials: dict[str, int] = {}  # noqa: RUF012

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(token for token in ids if token < 256).decode(errors="ignore")

    def stable_prefix(self, text: str) -> list[int]:
        return self.encode(text)


@dataclass(frozen=True)
class Seen:
    """One generation: the exact ids before it, and its own."""

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    key: int


class StrictEngine:
    """See above. `live` are the contexts somebody holds."""

    def __init__(self, tokenizer: object | None = None, context_length: int = 100_000) -> None:
        self.tokenizer = tokenizer or ByteTokens()
        self.context_length = context_length
        self.live: dict[int, tuple[int, ...]] = {}
        self.used: set[int] = set()
        self.seen: list[Seen] = []
        self.filled = 0

    def _new(self, context: int, ids: tuple[int, ...]) -> None:
        assert context not in self.used, "a context id is used twice"
        if len(ids) > self.context_length:
            raise EngineError("context_length", "too long")
        self.used.add(context)
        self.live[context] = ids

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        for request in requests:
            before = () if request.parent is None else self.live[request.parent]
            self._new(request.context, before + request.ids)
            self.filled += len(request.ids)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        prompt = self.live[request.parent]
        wanted = request.constraint
        drawn = value_ids(
            extend(start(request.sampling.key), prompt),
            self.tokenizer,
            max_tokens=request.sampling.max_tokens,
            stop=request.sampling.stop,
            choices=wanted and wanted.choices,
            regex=wanted and wanted.regex,
            json_schema=wanted and wanted.json_schema,
            scored=bool(wanted and wanted.scored),
        )
        for at in range(0, len(drawn.text), 4):
            await asyncio.sleep(0)
            yield Piece(drawn.text[at : at + 4])
        self.seen.append(Seen(prompt, drawn.ids, request.sampling.key))
        self._new(request.context, prompt + drawn.ids[: drawn.kept])
        yield Finished(
            drawn.reason, drawn.text, drawn.ids, drawn.kept, drawn.rest, scores=drawn.scores
        )

    async def free(self, contexts: Sequence[int], dead: bool = False) -> None:
        for context in contexts:
            del self.live[context]

    async def ping(self) -> EngineInfo:
        return EngineInfo(
            "strict", "hash", self.tokenizer.fingerprint, self.context_length,
            contexts=len(self.live), filled_tokens=self.filled,
        )  # fmt: skip

    async def close(self) -> None:
        self.live.clear()


class Shaken:
    """Another engine, with random waits around everything, and now and then a failure."""

    def __init__(self, engine: Engine, rng: Random, fail_one_in: int = 0) -> None:
        self.engine = engine
        self.tokenizer = engine.tokenizer
        self._rng = rng
        self._fail_one_in = fail_one_in

    async def _shake(self) -> None:
        for _ in range(self._rng.randrange(6)):
            await asyncio.sleep(0)

    async def _shake_and_fail(self) -> None:
        await self._shake()
        if self._fail_one_in and self._rng.randrange(self._fail_one_in) == 0:
            raise EngineError("internal", "shaken")

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        await self._shake_and_fail()
        await self.engine.fill(requests)
        await self._shake()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        pieces = self.engine.generate(request)
        try:
            await self._shake_and_fail()
            async for piece in pieces:
                if isinstance(piece, Piece):  # after `Finished` the context is the caller's
                    await self._shake()
                yield piece
        finally:
            await pieces.aclose()

    async def free(self, contexts: Sequence[int], dead: bool = False) -> None:
        await self._shake()
        await self.engine.free(contexts, dead)

    async def ping(self) -> EngineInfo:
        return await self.engine.ping()

    async def close(self) -> None:
        await self.engine.close()


async def finish(engine: Engine, request: GenerateRequest) -> Finished:
    """The end of a generation, whose pieces must be its text."""
    text = ""
    async for item in engine.generate(request):
        if isinstance(item, Finished):
            assert item.text == text
            return item
        text += item.text
    raise AssertionError("a generation ends with Finished")
