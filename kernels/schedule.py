"""A work list as index tensors for a GPU: which program reads what, and where results are merged.

    tasks [n, 8]     a tile of queries and a stretch of keys each, with the columns below; longest
                     first, so that short ones fill what long ones leave idle
    blocks           block ids of the items, one item after the other
    rows             query rows of the items, likewise
    positions [T]    of the step's tokens
    starts [T + 1]   the partial results of token t are `parts[starts[t] : starts[t + 1]]`,
    parts            in the order of their keys' positions

A tile of M rows holds M // G queries with the G heads of one key head, so a task is run once for
each key head. Keys of an item are cut at absolute multiples of a chunk, which makes a cut
independent of how items came about. A chunk is as long as fills every program once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from parrotc.kernels.worklist import Item, WorkList

COLUMNS = ("block_at", "first", "length", "row_at", "row_count", "part_at", "masked", "wide")


@dataclass(frozen=True, slots=True)
class Tiles:
    """Rows of a tile of many queries and of a tile of few, keys of one step, and launch options."""

    wide: int = 64
    narrow: int = 16
    keys: int = 64
    warps: int = 4
    stages: int = 3


@dataclass(frozen=True, slots=True)
class Schedule:
    """The tensors above, int32 on the CPU. `partials`: how many results there are to merge."""

    tasks: Tensor
    blocks: Tensor
    rows: Tensor
    positions: Tensor
    starts: Tensor
    parts: Tensor
    partials: int


def schedule(work: WorkList, group: int, kv_heads: int, tiles: Tiles, programs: int) -> Schedule:
    """The tasks of a step for `programs` programs that run at the same time.

    With `work.align` above 1 nothing depends on what else is in the step: chunks are `align`
    blocks long and every tile is wide.
    """
    if group > tiles.narrow:
        raise ValueError(f"{group} heads of a key head do not fit {tiles.narrow} rows")
    fixed = work.align > 1
    chunk = work.align * work.block if fixed else _chunk(work, group, kv_heads, tiles, programs)
    builder = _Builder(work, group, tiles, chunk, fixed)
    for item in work.items:
        builder.add(item)
    return builder.done()


def _chunk(work: WorkList, group: int, kv_heads: int, tiles: Tiles, programs: int) -> int:
    """Keys of a task, so that all programs have about one: a multiple of a step and of a block."""
    total = 0
    for item in work.items:
        wide = len(item.rows) * group > tiles.narrow
        many = -(-len(item.rows) * group // (tiles.wide if wide else tiles.narrow))
        total += many * kv_heads * item.length
    unit = max(tiles.keys, work.block)
    unit = -(-unit // work.block) * work.block
    return max(1, -(-total // (programs * unit))) * unit


class _Builder:
    """The tensors so far, as lists."""

    def __init__(self, work: WorkList, group: int, tiles: Tiles, chunk: int, fixed: bool) -> None:
        self.work, self.group, self.tiles = work, group, tiles
        self.chunk, self.fixed = chunk, fixed
        self.tasks: list[tuple[int, ...]] = []
        self.blocks: list[int] = []
        self.rows: list[int] = []
        self.found: list[list[int]] = [[] for _ in work.positions]
        self.partials = 0

    def add(self, item: Item) -> None:
        """The tasks of an item: cut by queries, then by keys."""
        wide = self.fixed or len(item.rows) * self.group > self.tiles.narrow
        size = (self.tiles.wide if wide else self.tiles.narrow) // self.group
        for at in range(0, len(item.rows), size):
            rows = item.rows[at : at + size]
            last = item.first + item.length
            if item.masked:  # keys that no query of the tile sees are left out
                last = min(last, 1 + max(self.work.positions[row] for row in rows))
            first = item.first
            while first < last:
                end = min(last, (first // self.chunk + 1) * self.chunk)
                self._task(item, rows, len(self.rows) + at, first, end, wide)
                first = end
        self.blocks += item.blocks
        self.rows += item.rows

    def _task(
        self, item: Item, rows: Sequence[int], row_at: int, first: int, end: int, wide: bool
    ) -> None:
        block_at = len(self.blocks) + (first - item.first) // self.work.block
        masked = item.masked and end > 1 + min(self.work.positions[row] for row in rows)
        length = end - first
        self.tasks.append(
            (block_at, first, length, row_at, len(rows), self.partials, int(masked), int(wide))
        )
        for number, row in enumerate(rows, self.partials):
            self.found[row].append(number)
        self.partials += len(rows)

    def done(self) -> Schedule:
        length, wide = COLUMNS.index("length"), COLUMNS.index("wide")
        self.tasks.sort(key=lambda task: -task[length] * (1 + task[wide]))
        starts = [0]
        for parts in self.found:
            starts.append(starts[-1] + len(parts))
        return Schedule(
            tasks=_int32(self.tasks).view(-1, len(COLUMNS)),
            blocks=_int32(self.blocks),
            rows=_int32(self.rows),
            positions=_int32(self.work.positions),
            starts=_int32(starts),
            parts=_int32([number for parts in self.found for number in parts]),
            partials=self.partials,
        )


def _int32(numbers: Sequence[object]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32)
