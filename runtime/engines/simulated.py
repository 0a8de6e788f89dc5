"""A cost model instead of a model: what an engine would take, in the time of its event loop.

    engine = SimulatedEngine(cost=CPU, length=120)

It batches as engines do: each iteration takes a token of every running generation and, up to a
budget, tokens of what is being filled, and lasts as long as the linear cost model says. Early fills
take what the others leave: a few tokens an iteration while anything else goes on, all of them when
nothing does. On a `virtualtime.VirtualTimeLoop` hours pass in seconds.

What it says is `ir/hashvalue.py`'s, a hash of the exact tokens before it, as the reference engine's
is; with `length`, free texts go on until they have that many tokens, or as many as they may.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from parrotc.ir.hashvalue import Drawn, value_ids
from parrotc.ir.tokenhash import extend
from parrotc.runtime.engines.hashcontexts import (
    Context,
    Contexts,
    drawn_value,
    require_said,
    state_after,
)
from parrotc.runtime.engines.protocol import (
    ContextId,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.tokenizer import ByteTokenizer, Decoder, Tokenizer


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds of an iteration: `step`, and for each token filled, token generated, token read.

    Read are the tokens of every context that the iteration continues, each once however many
    continue it, as attention over shared prefixes does, and what each row has said. The first
    `spare` tokens that are filled cost nothing: they are computed while the weights are read.
    """

    step: float
    fill: float
    row: float
    read: float
    spare: int = 0

    def seconds(self, filled: int, rows: int, read: int) -> float:
        computed = max(0, filled - self.spare)
        return self.step + self.fill * computed + self.row * rows + self.read * read


# Weights of 16 GB at 4 TB/s, 16 GFLOP a token at 600 TFLOP/s, 131 kB of keys and values a token
GPU = CostModel(step=5e-3, fill=27e-6, row=20e-6, read=33e-9, spare=150)
# 135 million parameters in float32 on two cores, as measured: 800 tokens/s filled, 25 generated
CPU = CostModel(step=35e-3, fill=1.25e-3, row=3.3e-3, read=2e-6)


@dataclass(frozen=True, slots=True)
class Limits:
    rows: int = 64  # generations that run at the same time
    chunk: int = 512  # tokens filled in one iteration
    early: int = 64  # of those, tokens of early fills while anything else goes on
    tokens: int = 1_000_000  # held by all contexts and rows together, when one more is to be filled


@dataclass(eq=False, slots=True)
class _Fill:
    contexts: dict[ContextId, Context]  # parents first
    early: bool
    done: asyncio.Future[None]


@dataclass(eq=False, slots=True)
class _Row:
    """A generation. `drawn` is all that it will say, `said` how many tokens it has said, whose
    text has `heard` characters."""

    request: GenerateRequest
    parent: Context
    drawn: Drawn
    decoder: Decoder
    pieces: "asyncio.Queue[Piece | EngineError | None]" = field(default_factory=asyncio.Queue)
    said: int = 0
    heard: int = 0
    shown: int = 0  # characters
    told: int = 0  # tokens whose text is shown


class SimulatedEngine:
    """Implements `Engine` and `Hurrying`."""

    def __init__(
        self,
        tokenizer: Tokenizer | ByteTokenizer | None = None,
        *,
        cost: CostModel = GPU,
        limits: Limits | None = None,
        length: int = 0,
        reads_once: bool = True,
    ) -> None:
        """`length` is the number of tokens of free texts; 0: as the reference engine says. Unless
        it `reads_once`, attention reads for each row all before it, but for what every row of the
        iteration continues: that is read once, as a kernel for one common prefix does."""
        self.tokenizer = tokenizer or ByteTokenizer()
        self.iterations = 0
        self._cost = cost
        self._limits = limits or Limits()
        self._length = length
        self._reads_once = reads_once
        self._contexts = Contexts(self.tokenizer.context_length)
        self._fills: list[_Fill] = []
        self._rows: list[_Row] = []
        self._waiting: list[_Row] = []
        self._filled = self._generated = 0
        self._work: asyncio.Task[None] | None = None

    # --- requests ---

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        made = self._contexts.made(requests)
        tokens = sum(len(context.ids) for context in made.values())
        if self._contexts.tokens + self._said() + tokens > self._limits.tokens:
            raise EngineError("capacity", f"there is no room for {tokens:,} more tokens")
        for name, context in made.items():
            self._contexts.keep(name, context)
        early = all(request.early for request in requests)
        fill = _Fill(made, early, asyncio.get_running_loop().create_future())
        self._fills.append(fill)
        self._wake()
        await fill.done

    async def hurry(self, contexts: Sequence[ContextId]) -> None:
        wanted = {
            id(above)
            for name in contexts
            if name in self._contexts.named
            for above in self._contexts.named[name].path()
        }
        for fill in self._fills:
            fill.early = fill.early and all(id(c) not in wanted for c in fill.contexts.values())

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        parent = self._contexts.get(request.parent)
        drawn = self._drawn(parent, request)
        require_said(request, drawn.ids)
        row = _Row(request, parent, drawn, Decoder(self.tokenizer))
        parent.holders += 1
        self._waiting.append(row)
        self._waiting.sort(key=lambda r: (not r.request.latency, -r.request.rank))
        self._wake()
        try:
            while (piece := await row.pieces.get()) is not None:
                if isinstance(piece, EngineError):
                    raise piece
                yield piece
            drawn = row.drawn
            context = self._contexts.grown(parent, drawn.ids[: drawn.kept])
            context.filled = len(context.ids)
            self._contexts.keep(request.context, context)
            self._generated += len(drawn.ids)
        finally:
            for rows in (self._rows, self._waiting):
                if row in rows:
                    rows.remove(row)
            self._contexts.drop(parent)
        yield Finished(drawn.reason, drawn.text, drawn.ids, drawn.kept, drawn.rest, drawn.scores)

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        self._contexts.free(contexts)

    async def ping(self) -> EngineInfo:
        return EngineInfo(
            engine="simulated",
            model="hash",
            fingerprint=self.tokenizer.fingerprint,
            context_length=self.tokenizer.context_length,
            running=len(self._rows),
            queued=len(self._waiting),
            contexts=len(self._contexts.named),
            cached_tokens=self._contexts.tokens,
            filled_tokens=self._filled,
            generated_tokens=self._generated,
            counters={"iterations": self.iterations},
        )

    async def close(self) -> None:
        """End what is going on with the code `cancelled`."""
        if self._work is not None:
            self._work.cancel()
        closed = EngineError("cancelled", "the engine was closed")
        for row in (*self._rows, *self._waiting):
            row.pieces.put_nowait(closed)
        for fill in self._fills:
            if not fill.done.done():
                fill.done.set_exception(closed)
        self._fills.clear()
        self._contexts.clear()

    # --- iterations ---

    def _wake(self) -> None:
        if self._work is None or self._work.done():
            self._work = asyncio.get_running_loop().create_task(self._iterate())

    async def _iterate(self) -> None:
        await asyncio.sleep(0)  # who asks in the same moment takes part
        while self._fills or self._rows or self._waiting:
            self._admit()
            rows, segments = list(self._rows), self._segments()
            filled = sum(count for _, count in segments)
            if rows or filled:
                read = self._read([row.parent for row in rows] + [c for c, _ in segments])
                read += self._said()
                await asyncio.sleep(self._cost.seconds(filled, len(rows), read))
                self.iterations += 1
            for context, count in segments:
                context.filled += count
            self._filled += filled
            self._end_fills()
            for row in rows:
                if row in self._rows:
                    self._say(row)
            await asyncio.sleep(0)

    def _admit(self) -> None:
        """Start generations whose context is there, the urgent ones first."""
        for row in list(self._waiting):
            if len(self._rows) == self._limits.rows:
                return
            if all(context.filled == len(context.ids) for context in row.parent.path()):
                self._waiting.remove(row)
                self._rows.append(row)

    def _segments(self) -> list[tuple[Context, int]]:
        """Which contexts are filled now, and how many tokens of each: early ones last."""
        found: list[tuple[Context, int]] = []
        budget = self._limits.chunk
        is_busy = bool(self._rows) or any(not fill.early for fill in self._fills)
        for fill in sorted(self._fills, key=lambda fill: fill.early):
            if fill.early and is_busy:
                budget, is_busy = min(budget, self._limits.early), False
            for context in fill.contexts.values():
                count = min(len(context.ids) - context.filled, budget)
                if count and context.holders:
                    found.append((context, count))
                    budget -= count
        return found

    def _read(self, ends: Sequence[Context]) -> int:
        """The tokens that attention reads for what continues these contexts."""
        if not self._reads_once:
            uses = Counter(context for end in ends for context in end.path())
            rows = len(ends)
            return sum(len(c.ids) * (1 if n == rows else n) for c, n in uses.items())
        seen: set[int] = set()
        total = 0
        for end in ends:
            for context in end.path():
                if id(context) in seen:
                    break
                seen.add(id(context))
                total += len(context.ids)
        return total

    def _said(self) -> int:
        """Tokens that running generations hold besides what they continue."""
        return sum(row.said for row in self._rows)

    def _end_fills(self) -> None:
        for fill in list(self._fills):
            whole = (c.filled == len(c.ids) or not c.holders for c in fill.contexts.values())
            if all(whole):
                self._fills.remove(fill)
                if not fill.done.done():
                    fill.done.set_result(None)

    def _say(self, row: _Row) -> None:
        """One more token of a generation, and all the text that it completes. What was said
        elsewhere comes with the first."""
        drawn = row.drawn
        before, row.said = row.said, min(len(drawn.ids), max(row.said, len(row.request.said)) + 1)
        for token in drawn.ids[before : row.said]:
            row.heard += len(row.decoder.push(token))
        is_last = row.said == len(drawn.ids)
        if row.decoder.is_whole or is_last:
            end = len(drawn.text) if is_last else min(row.heard, len(drawn.text))
            ids = drawn.ids[row.told : min(row.said, drawn.kept)]
            if end > row.shown:
                row.pieces.put_nowait(Piece(drawn.text[row.shown : end], ids))
                row.shown, row.told = end, row.told + len(ids)
        if is_last:
            self._rows.remove(row)
            row.pieces.put_nowait(None)

    # --- what is said ---

    def _drawn(self, parent: Context, request: GenerateRequest) -> Drawn:
        state = state_after(parent, request)
        if self._length and request.constraint is None:
            return self._long(state, min(self._length, request.sampling.max_tokens))
        return drawn_value(state, self.tokenizer, request)

    def _long(self, state: int, length: int) -> Drawn:
        """A text of `length` tokens, made of many short ones. It knows no stop texts."""
        ids: list[int] = []
        while len(ids) < length:
            state = extend(state, (len(ids),))
            ids += value_ids(state, self.tokenizer).ids
        ids = ids[:length]
        while "\ufffd" in (text := self.tokenizer.decode(ids)):
            ids.pop()  # it ends inside a character
        return Drawn(tuple(ids), text, len(ids), "", "length")
