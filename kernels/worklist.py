"""What one step of attention reads, and who reads it: built once a step, used by every layer.

A step has new tokens of several readers. Each reader sees the keys of its block table up to its own
position; where tables hold the same blocks, those keys are read once for all:

    tables   A: 7 3 │ 5      items   blocks 7 3   queries of A, B, C
             B: 7 3 │ 9 4            block  5     query of A
             C: 7 3 │ 9 6            block  9     queries of B, C
                                     block  4     query of B          block 6   query of C

The items of a query, put together, are every key it may see, each once; so their partial results
merge into attention over all of them (arXiv:1805.02867, arXiv:2402.05099). How keys are cut into
items cannot change the result, only its cost: `Gate` decides what is worth sharing.

In a block table every block but the last is full: block i holds positions i · block onwards. A
reader's last block is shared only where it is full for every reader.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TypeVar, cast

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Reader:
    """A sequence with new tokens in this step: at positions `before` … `before + count - 1`.

    `blocks` is its block table, with room for the new tokens already (more is allowed).
    """

    blocks: Sequence[int]
    before: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class Item:
    """`length` keys from position `first` on, and the queries that read them.

    `blocks` are those that the keys lie in, and `first` is where one begins. `rows` are ascending
    token numbers of the step. `masked`: a query sees only the keys up to its own position;
    otherwise every query of the item sees every key.
    """

    blocks: list[int]
    first: int
    length: int
    rows: list[int]
    masked: bool = False


@dataclass(frozen=True, slots=True)
class Gate:
    """When reading a run of keys once for several readers pays: the cost rule, in seconds.

    Reading once saves `(readers - 1) · length · token_bytes / bandwidth`. It costs `overhead` (one
    more item and its merge), and a partial result of `heads · (dim + 1)` float32, written and read
    again, for each query and split. `measure_gate` finds the two measured numbers of a device.
    """

    bandwidth: float  # bytes a second that are saved where keys are not read again
    overhead: float  # seconds a layer
    token_bytes: int  # of a token's keys and values in one layer
    heads: int
    dim: int
    splits: int = 1

    @staticmethod
    def always() -> "Gate":
        """Share whatever can be shared."""
        return Gate(1.0, -inf, 0, 0, 0)

    @staticmethod
    def never() -> "Gate":
        """Every reader reads for itself."""
        return Gate(1.0, inf, 0, 0, 0)

    def shares(self, readers: int, queries: int, length: int) -> bool:
        """Whether `readers` with `queries` new tokens between them read `length` keys together."""
        saved = (readers - 1) * length * self.token_bytes / self.bandwidth
        partials = 2 * queries * self.heads * (self.dim + 1) * 4 * self.splits
        return saved > self.overhead + partials / self.bandwidth


@dataclass(frozen=True, slots=True, eq=False)
class WorkList:
    """The items of a step. The items of one query come in the order of their positions.

    `align` above 1: a kernel that cuts items further does so at multiples of `align` blocks only.
    """

    readers: tuple[Reader, ...]
    items: tuple[Item, ...]
    positions: list[int]  # of each token of the step
    block: int
    align: int = 1
    _made: dict[Hashable, object] = field(default_factory=dict, repr=False)

    @property
    def tokens(self) -> int:
        return len(self.positions)

    def once(self, make: Callable[..., _T], *args: Hashable) -> _T:
        """`make(self, *args)`, made at the first call and found again at the others.

        So the first layer of a step derives what its implementation needs (index tensors, uploads)
        and the other layers use it.
        """
        key = (make, *args)
        if key not in self._made:
            self._made[key] = make(self, *args)
        return cast(_T, self._made[key])


def plan_work(readers: Sequence[Reader], block: int, gate: Gate, *, align: int = 1) -> WorkList:
    """The items of a step whose tokens are those of `readers`, in order.

    Items begin and end only at multiples of `align` blocks, and at a reader's end. Where a kernel
    cuts keys there too, sharing never moves a cut, so it cannot change a bit of the result.

    Raises `ValueError` for a reader without new tokens or with too small a table.
    """
    return _Planner(readers, block, gate, align).plan()


class _Planner:
    """The state of one `plan_work`: readers by number, and the items found so far."""

    def __init__(self, readers: Sequence[Reader], block: int, gate: Gate, align: int) -> None:
        self.readers, self.block, self.gate, self.align = tuple(readers), block, gate, align
        self.before = [reader.before for reader in readers]
        self.after = [reader.before + reader.count for reader in readers]
        self.tables = [_checked(reader, block) for reader in readers]
        # blocks that may be shared: the full ones, in whole units of `align`
        self.full = [after // block // align * align for after in self.after]
        self.items: list[Item] = []
        self.positions: list[int] = []
        self.rows: list[range] = []
        for before, after in zip(self.before, self.after, strict=True):
            start = len(self.positions)
            self.positions.extend(range(before, after))
            self.rows.append(range(start, len(self.positions)))

    def plan(self) -> WorkList:
        """Walk the trie of the tables from its root. A group's tables are equal up to `depth`.

        Up to `start` its keys are in items already; `start` stays behind `depth` where the gate
        refused to share what lies between. Parents come before children, so the items of a query
        are in the order of their positions.
        """
        groups = [(list(range(len(self.tables))), 0, 0)]
        while groups:
            group, start, depth = groups.pop()
            for members in self._partition(group, depth):
                if len(members) == 1:
                    self._alone(members[0], start)
                    continue
                end = self._common(members, depth)
                shared = self._share(members, start, end)
                groups.append((members, end if shared else start, end))
        return WorkList(self.readers, tuple(self.items), self.positions, self.block, self.align)

    def _partition(self, group: list[int], depth: int) -> list[list[int]]:
        """The group by its next blocks; a reader with nothing left to share is by itself."""
        parts: dict[tuple[int, ...], list[int]] = {}
        for number in group:
            key: tuple[int, ...] = (-1 - number,)  # no block id is negative
            if self.full[number] > depth:
                key = tuple(self.tables[number][depth : depth + self.align])
            parts.setdefault(key, []).append(number)
        return list(parts.values())

    def _common(self, members: list[int], depth: int) -> int:
        """Where the tables of `members`, equal up to `depth` and a unit beyond, part.

        Slices are compared whole, so the cost is that of comparing memory, once a reader and level.
        """
        end = min(self.full[number] for number in members)
        first = self.tables[members[0]]
        common = first[depth:end]
        for number in members[1:]:
            other = self.tables[number]
            if other[depth:end] == common:
                continue
            low, high = depth, end  # equal up to low, different up to high
            while high - low > 1:
                middle = (low + high) // 2
                if other[low:middle] == first[low:middle]:
                    low = middle
                else:
                    high = middle
            end = low
            common = first[depth:end]
        return end // self.align * self.align

    def _share(self, members: list[int], start: int, end: int) -> bool:
        """Make one item of a group's blocks `start` … `end`, if that pays."""
        rows = [row for number in members for row in self.rows[number]]
        first, last = start * self.block, end * self.block
        if end == start or not self.gate.shares(len(members), len(rows), last - first):
            return False
        masked = any(last > self.before[number] + 1 for number in members)
        self._add(members[0], first, last, rows, masked)
        return True

    def _alone(self, number: int, start: int) -> None:
        """One item of what is left for a single reader: none if its last block was shared."""
        rows = list(self.rows[number])
        first, last = start * self.block, self.after[number]
        if first < last:
            self._add(number, first, last, rows, masked=len(rows) > 1)

    def _add(self, number: int, first: int, last: int, rows: list[int], masked: bool) -> None:
        blocks = self.tables[number][first // self.block : -(-last // self.block)]
        self.items.append(Item(blocks, first, last - first, rows, masked))


def _checked(reader: Reader, block: int) -> list[int]:
    """A reader's table, as a list, so that slices compare equal whatever it was given as."""
    if reader.count < 1 or reader.before < 0:
        raise ValueError(f"a reader of {reader.count} new tokens after {reader.before}")
    blocks = reader.blocks if type(reader.blocks) is list else list(reader.blocks)
    if len(blocks) * block < reader.before + reader.count:
        raise ValueError(
            f"{len(blocks)} blocks of {block} do not hold {reader.before + reader.count} tokens"
        )
    return blocks
