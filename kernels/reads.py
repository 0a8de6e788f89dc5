"""The items of a work list as calls of a fused attention: which rows read which stretch of memory.

Made once a step for `attention.py`. A read is contiguous in memory, in one of two places: in the
pool itself, or in a buffer into which each layer gathers the blocks that lie scattered.

    item of many rows    Read of all rows                  [rows · G, d] × [d, length]
    masked item          per chunk of rows: Read of what all of them see, causal Read of their own
    short items of one   Batch: equal distances in memory, padded to the longest
    row each
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from parrotc.kernels.worklist import Item, WorkList

Rows = slice | Tensor

_RUN = 128  # keys: a run of blocks this long is read in place, a shorter one gathered
_CHUNK = 128  # queries of a causal square: half of its products are wasted
_SHORT = 512  # keys: beyond this a call for each item costs less than its share of the padding
_LEAST = 3  # items: fewer are cheaper by themselves than gathered


@dataclass(frozen=True, slots=True)
class Read:
    """`rows` read `length` keys from row `start` of the pool, or of the buffer, on.

    `causal`: there are as many keys as rows, and the i-th row sees the first i + 1.
    `fresh`: no read before this one was by any of its rows.
    """

    rows: Rows
    start: int
    length: int
    gathered: bool
    causal: bool
    fresh: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Each row reads keys of its own: the i-th row `length` keys from `start + i · step` on.

    `mask` `[rows, 1, 1, length]` is -inf for keys beyond a row's own, None if there are none.
    """

    rows: Rows
    start: int
    step: int
    length: int
    gathered: bool
    mask: Tensor | None
    fresh: bool


@dataclass(frozen=True, slots=True)
class Reads:
    """In the order in which they are merged. `gather`: the blocks to copy into the buffer."""

    reads: tuple[Read | Batch, ...]
    gather: Tensor | None


@dataclass(frozen=True, slots=True)
class _Piece:
    """Keys of positions `first` … `last - 1`, from row `start` on in one of the two places."""

    first: int
    last: int
    start: int
    gathered: bool


def reads_of(work: WorkList, pool: int, dtype: torch.dtype) -> Reads:
    """The reads of a step over a pool of `pool` blocks. `dtype` is that of the masks."""
    builder = _Builder(work, pool * work.block, dtype)
    short: dict[int, list[Item]] = {}
    for item in work.items:
        if len(item.rows) == 1 and item.length <= _SHORT:
            short.setdefault(max(6, (item.length - 1).bit_length()), []).append(item)
        else:
            builder.read(item)
    for items in short.values():
        builder.batch(items)
    gather = torch.tensor(builder.gather) if builder.gather else None
    return Reads(tuple(builder.reads), gather)


class _Builder:
    """The reads and gathered blocks so far, and which rows have read something."""

    def __init__(self, work: WorkList, pool: int, dtype: torch.dtype) -> None:
        self.block, self.positions = work.block, work.positions
        self.pool, self.dtype = pool, dtype
        self.reads: list[Read | Batch] = []
        self.gather: list[int] = []
        self.begun = bytearray(work.tokens)

    def read(self, item: Item) -> None:
        for piece in self._pieces(item):
            if item.masked:
                self._masked(item.rows, piece)
            else:
                self._add(item.rows, piece, piece.first, piece.last)

    def batch(self, items: list[Item]) -> None:
        """One padded read for each row of items at equal distances, one gathered for the others."""
        scattered = [item for item in items if not _is_run(item.blocks)]
        runs = sorted((item for item in items if _is_run(item.blocks)), key=lambda i: i.blocks[0])
        while runs:
            some = self._progression(runs)
            if len(some) == 1:
                scattered += some
            else:
                step = (some[1].blocks[0] - some[0].blocks[0]) * self.block
                self._batch(some, some[0].blocks[0] * self.block, step, False)
            runs = runs[len(some) :]
        if len(scattered) < _LEAST:
            for item in scattered:
                self.read(item)
            return
        start, width = len(self.gather), max(len(item.blocks) for item in scattered)
        for item in scattered:  # padded with a block that is there
            self.gather += item.blocks + item.blocks[-1:] * (width - len(item.blocks))
        self._batch(scattered, start * self.block, width * self.block, True)

    def _progression(self, runs: Sequence[Item]) -> list[Item]:
        """The first items whose first blocks are at equal distances, inside the pool if padded."""
        starts = [item.blocks[0] for item in runs]
        end = 1
        while end < len(runs) and starts[end] - starts[end - 1] == starts[1] - starts[0]:
            end += 1
        longest = max(item.length for item in runs[:end])
        while end > 1 and starts[end - 1] * self.block + longest > self.pool:
            end -= 1
        return list(runs[:end])

    def _batch(self, items: Sequence[Item], start: int, step: int, gathered: bool) -> None:
        rows = [item.rows[0] for item in items]
        lengths = [item.length for item in items]
        longest, mask = max(lengths), None
        if min(lengths) < longest:
            beyond = torch.arange(longest) >= torch.tensor(lengths)[:, None]
            mask = torch.zeros(beyond.shape, dtype=self.dtype).masked_fill_(beyond, float("-inf"))
            mask = mask[:, None, None]
        fresh = self._begin(rows)
        self.reads.append(Batch(_index(rows), start, step, longest, gathered, mask, fresh))

    def _pieces(self, item: Item) -> Iterator[_Piece]:
        """Long runs of an item's blocks where they are, and what lies between them gathered."""
        last = item.first + item.length
        at = item.first
        for blocks in _runs(item.blocks, max(1, _RUN // self.block)):
            gathered = not _is_run(blocks)
            start = blocks[0]
            if gathered:
                start = len(self.gather)
                self.gather += blocks
            end = min(last, at + len(blocks) * self.block)
            yield _Piece(at, end, start * self.block, gathered)
            at = end

    def _masked(self, rows: list[int], piece: _Piece) -> None:
        """Reads of a piece by rows of which each sees the keys up to its own position."""
        beyond = [row for row in rows if self.positions[row] >= piece.last]
        if beyond:
            self._add(beyond, piece, piece.first, piece.last)
        within = [row for row in rows if piece.first <= self.positions[row] < piece.last]
        for chunk in self._chunks(within):
            first = self.positions[chunk[0]]
            if len(chunk) == 1:
                self._add(chunk, piece, piece.first, first + 1)
                continue
            if piece.first < first:
                self._add(chunk, piece, piece.first, first)
            self._add(chunk, piece, first, first + len(chunk), causal=True)

    def _chunks(self, rows: list[int]) -> Iterator[list[int]]:
        """Rows next to each other, of positions next to each other, at most `_CHUNK`."""
        start = 0
        for end in range(1, len(rows) + 1):
            goes_on = (
                end < len(rows)
                and end - start < _CHUNK
                and rows[end] == rows[end - 1] + 1
                and self.positions[rows[end]] == self.positions[rows[end - 1]] + 1
            )
            if not goes_on:
                yield rows[start:end]
                start = end

    def _add(
        self, rows: list[int], piece: _Piece, first: int, last: int, causal: bool = False
    ) -> None:
        start = piece.start + first - piece.first
        fresh = self._begin(rows)
        read = Read(_index(rows), start, last - first, piece.gathered, causal, fresh)
        self.reads.append(read)

    def _begin(self, rows: list[int]) -> bool:
        """Note that `rows` read something; whether none of them has before."""
        fresh = not any(self.begun[row] for row in rows)
        for row in rows:
            self.begun[row] = 1
        return fresh


def _index(rows: list[int]) -> Rows:
    if _is_run(rows):
        return slice(rows[0], rows[-1] + 1)
    return torch.tensor(rows)


def _is_run(numbers: list[int]) -> bool:
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _runs(blocks: list[int], least: int) -> Iterator[list[int]]:
    """The blocks cut into runs of at least `least` and what is between them.

    A list that is one run, however short, is given whole.
    """
    if _is_run(blocks):
        yield blocks
        return
    between: list[int] = []
    start = 0
    for end in range(1, len(blocks) + 1):
        if end < len(blocks) and blocks[end] == blocks[end - 1] + 1:
            continue
        run = blocks[start:end]
        start = end
        if len(run) < least:
            between += run
            continue
        if between:
            yield between
            between = []
        yield run
    if between:
        yield between
