"""Blocks are counted exactly, whatever is filled, forked, taken and freed, in any order."""

from collections import Counter
from random import Random

import pytest

pytest.importorskip("torch")

from parrotc.runtime.engines.embedded.contexts import Sequence
from parrotc.runtime.engines.embedded.memory import Memory
from parrotc.runtime.engines.embedded.pages import Pages, Pool
from parrotc.runtime.engines.embedded.prefixes import Future, Use

BLOCK = 4


# --- the pool ---


def test_blocks_come_side_by_side_from_the_lowest_address() -> None:
    pool = Pool(12)
    assert pool.take(3) == [0, 1, 2]
    assert pool.take(4) == [3, 4, 5, 6]
    for block in (1, 4, 5):
        assert pool.drop(block)
        pool.free(block)
    assert pool.take(1) == [1]
    assert pool.take(2) == [4, 5]
    assert pool.take(2, after=6) == [7, 8]
    assert pool.take(2, after=2) == [9, 10], "what lies behind block 2 is taken"
    assert pool.count == 1


def test_where_no_run_is_long_enough_the_longest_ones_are_taken() -> None:
    pool = Pool(10)
    pool.take(10)
    for block in (0, 3, 4, 5, 8, 9):
        pool.drop(block)
        pool.free(block)
    assert pool.take(5) == [3, 4, 5, 8, 9]
    assert pool.take(1) == [0]
    with pytest.raises(ValueError, match="0 are free"):
        pool.take(1)


def test_a_block_is_given_back_once() -> None:
    pool = Pool(2)
    (block,) = pool.take(1)
    pool.hold([block])
    assert not pool.drop(block)
    with pytest.raises(ValueError, match="while it is held"):
        pool.free(block)
    assert pool.drop(block)
    with pytest.raises(ValueError, match="nobody holds"):
        pool.drop(block)
    pool.free(block)
    with pytest.raises(ValueError, match="held or free"):
        pool.free(block)
    assert pool.count == 2


def test_all_copies_read_before_any_is_written() -> None:
    import torch

    pages = Pages(layers=2, blocks=3, block=2, kv_heads=1, dim=1, dtype=torch.bfloat16)
    for layer in range(2):
        slots = torch.arange(6)
        pages.write(layer, slots, slots.view(6, 1, 1).bfloat16(), -slots.view(6, 1, 1).bfloat16())
    pages.copy([(0, 1), (1, 2)])
    for keys, values in zip(pages.keys, pages.values, strict=True):
        assert keys.flatten().tolist() == [0, 1, 0, 1, 2, 3]
        assert torch.equal(values, -keys)


# --- tables ---


class Cells:
    """A memory whose blocks hold tokens instead of keys and values, so that one can look."""

    def __init__(self, blocks: int) -> None:
        self.memory = Memory(blocks, BLOCK)
        self.cells = [[-1] * BLOCK for _ in range(blocks)]

    def compute(self, sequence: Sequence, end: int) -> bool:
        """Write tokens up to `end`, as a step does. False where there is no room."""
        before = sequence.computed
        if not self.memory.reserve(sequence, end):
            return False
        for source, target in self.memory.copies:
            self.cells[target] = list(self.cells[source])
        self.memory.copies.clear()
        for position, token in enumerate(sequence.tokens(before, end), before):
            block = sequence.table[position // BLOCK]
            assert self.memory.pool.holders[block] == 1, "a block that others hold is written"
            self.cells[block][position % BLOCK] = token
        self.memory.advance(sequence, end - before)
        self.memory.confirm()
        return True

    def start(self, sequence: Sequence) -> bool:
        self.memory.share(sequence, sequence.end)
        self.check(sequence)
        if self.compute(sequence, sequence.end):
            return True
        self.memory.release(sequence)
        return False

    def check(self, sequence: Sequence) -> None:
        """What is said to be computed is there."""
        found = [
            self.cells[sequence.table[position // BLOCK]][position % BLOCK]
            for position in range(sequence.computed)
        ]
        assert found == sequence.tokens(0, sequence.computed)


def check_counts(memory: Memory, tables: list[list[int]]) -> None:
    """Holders are tables; a block is free, held, or rests in the cache, and only one of these."""
    pool = memory.pool
    held = Counter(block for table in tables for block in table)
    assert all(len(set(table)) == len(table) for table in tables)
    assert pool.holders == [held[block] for block in range(pool.size)]
    free = [block for block in range(pool.size) if pool.is_free(block)]
    resting = [
        block for block in range(pool.size) if block not in held and block in memory.prefixes
    ]
    assert not held.keys() & set(free)
    assert len(free) == pool.count
    assert len(resting) == memory.prefixes.resting
    assert len(free) + len(resting) + len(held) == pool.size


def test_a_hundred_thousand_random_steps_leave_nothing() -> None:
    """Fills, forks, growth, cuts, cancellations and frees, in a memory that is always too small."""
    rng = Random(7)
    cells = Cells(40)
    memory = cells.memory
    working: list[Sequence] = []
    resting: list[Sequence] = []
    refused = 0

    def new() -> None:
        nonlocal refused
        parent = rng.choice(resting) if resting and rng.random() < 0.7 else None
        if parent is not None and parent.end > 60:
            parent = None
        ids = tuple(rng.randrange(3) for _ in range(rng.randrange(0 if parent else 1, 14)))
        use = rng.choice([Use(), Use(Future.DEAD), Use(Future.KNOWN, -rng.random()), PINNED])
        sequence = Sequence(parent, ids, use=use, salt=rng.choice(["a", "b"]))
        if cells.start(sequence):
            working.append(sequence)
        else:
            refused += 1
            assert sequence.table == []

    def grow() -> None:
        if working:
            sequence = rng.choice(working)
            sequence.ids.append(rng.randrange(3))
            cells.compute(sequence, sequence.end) or sequence.ids.pop()

    def settle() -> None:
        if working:
            sequence = working.pop(rng.randrange(len(working)))
            if rng.random() < 0.3:
                sequence.cut(rng.randint(sequence.start, sequence.end), BLOCK)
            memory.settle(sequence)
            resting.append(sequence)
            cells.check(sequence)

    def drop(sequences: list[Sequence]) -> None:
        if sequences:
            memory.release(sequences.pop(rng.randrange(len(sequences))))

    moves = [new, new, grow, grow, grow, settle, settle]
    moves += [lambda: drop(working), lambda: drop(resting)]
    for step in range(100_000):
        rng.choice(moves)()
        while len(resting) > 12:
            drop(resting)
        if step % 100 == 0:
            check_counts(memory, [one.table for one in (*working, *resting)])
            for sequence in (*working, *resting):
                cells.check(sequence)
    assert refused and memory.prefixes.evictions and memory.found
    while working or resting:
        drop(working)
        drop(resting)
    check_counts(memory, [])
    assert memory.pool.count + memory.prefixes.resting == memory.pool.size
    assert memory.available == memory.pool.size
    while memory.prefixes.evict() is not None:
        pass
    assert memory.prefixes.resting == 0


PINNED = Use(Future.PINNED)


def test_a_partial_block_is_copied_and_a_full_one_shared() -> None:
    """C3: a fork shares whole blocks, and writes to a copy of the last one."""
    cells = Cells(10)
    root = Sequence(None, (1, 2, 3, 4, 5, 6))
    assert cells.start(root)
    cells.memory.settle(root)
    left, right = (Sequence(root, (token,)) for token in (7, 8))
    for child in (left, right):
        assert cells.start(child)
    assert left.table[0] == right.table[0] == root.table[0]
    assert len({left.table[1], right.table[1], root.table[1]}) == 3
    for sequence in (root, left, right):
        cells.check(sequence)


def test_the_last_one_to_hold_a_partial_block_writes_in_place() -> None:
    cells = Cells(2)
    root = Sequence(None, (1, 2, 3, 4, 5, 6))
    assert cells.start(root)
    cells.memory.settle(root)
    child = Sequence(root, (7,))
    assert cells.start(child), "its parent, at rest, gave way: there was no room for a copy"
    assert (root.computed, root.table) == (0, [])
    cells.check(child)


def test_a_block_that_the_cache_knows_is_not_written() -> None:
    """A sequence is cut in the middle of a block that was full. What goes on from there must not
    overwrite the block, not even when nobody else holds it."""
    cells = Cells(10)
    first = Sequence(None, (1, 2, 3, 4))
    assert cells.start(first)
    first.cut(2, BLOCK)
    cells.memory.settle(first)
    child = Sequence(first)
    cells.memory.share(child, 2)
    cells.memory.release(first)
    child.ids.append(9)
    assert cells.compute(child, 3)
    again = Sequence(None, (1, 2, 3, 4))
    cells.memory.share(again, 4)
    assert again.computed == 4
    for sequence in (child, again):
        cells.check(sequence)


def test_preempted_blocks_can_be_had_by_others() -> None:
    cells = Cells(4)
    first, second = Sequence(None, tuple(range(16))), Sequence(None, tuple(range(50, 60)))
    assert cells.start(first)
    assert not cells.start(second)
    cells.memory.release(first)
    assert cells.memory.available == 4
    assert cells.start(second)
    cells.memory.share(first, 16)
    assert first.computed == 4, "its beginning was kept as long as it could be"


def test_a_step_that_failed_leaves_nothing_behind() -> None:
    cells = Cells(8)
    known, lost = Sequence(None, (1, 2, 3, 4)), Sequence(None, (5, 6, 7, 8, 9))
    assert cells.start(known)
    memory = cells.memory
    memory.share(lost, lost.end)
    assert memory.reserve(lost, lost.end)
    memory.advance(lost, 5)
    memory.retract()
    memory.release(lost)
    assert memory.cached(lost, 5) == []
    assert memory.cached(known, 4) == known.table
    check_counts(memory, [known.table])


def test_a_long_chain_of_parents() -> None:
    cells = Cells(2000)
    sequence = None
    for token in range(3000):
        sequence = Sequence(sequence, (token,))
        if token % 50 == 0:
            assert cells.start(sequence)
            cells.memory.settle(sequence)
    assert sequence is not None and cells.start(sequence)
    cells.check(sequence)
