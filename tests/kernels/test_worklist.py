"""What a step reads: every query its own keys, each once, and shared blocks once for all."""

import time
from collections import Counter
from random import Random

import pytest

torch = pytest.importorskip("torch")

from attention_steps import decoding, random_readers  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from parrotc.kernels.gate import measure_gate  # noqa: E402
from parrotc.kernels.worklist import Gate, Item, Reader, WorkList, plan_work  # noqa: E402

# H100: 3.35 TB/s; 8 key heads of 128 in bfloat16; 32 heads
H100 = Gate(bandwidth=3.35e12, overhead=8e-6, token_bytes=4096, heads=32, dim=128)
GATES = st.sampled_from(
    [Gate.always(), Gate.never(), Gate(1.0, 60.0, 1, 0, 0), Gate(1.0, 10.0, 1, 0, 0)]
)


def keys_of(work: WorkList, row: int) -> list[tuple[int, int]]:
    """The (position, row of the pool) pairs that a query sees, as its items list them."""
    seen = []
    for item in work.items:
        assert item.first % work.block == 0
        if row in item.rows:
            for offset in range(item.length):
                position = item.first + offset
                if not item.masked or position <= work.positions[row]:
                    place = item.blocks[offset // work.block] * work.block + offset % work.block
                    seen.append((position, place))
    return seen


@given(st.integers(0, 10**9), st.sampled_from([1, 2, 4, 16]), GATES, st.sampled_from([1, 1, 2, 3]))
def test_every_query_sees_its_own_keys_once_and_in_order(
    seed: int, block: int, gate: Gate, align: int
) -> None:
    readers = random_readers(Random(seed), block, scattered=True, longest=24)
    work = plan_work(readers, block, gate, align=align)
    row = 0
    for reader in readers:
        for position in range(reader.before, reader.before + reader.count):
            assert work.positions[row] == position
            assert keys_of(work, row) == [
                (p, reader.blocks[p // block] * block + p % block) for p in range(position + 1)
            ]
            row += 1
    assert work.tokens == row
    for item in work.items:
        assert item.length > 0 and item.rows == sorted(set(item.rows))
        assert item.first % (align * block) == 0


@given(st.integers(0, 10**9), st.sampled_from([1, 2, 4, 16]))
def test_with_everything_shared_a_block_is_in_one_item(seed: int, block: int) -> None:
    readers = random_readers(Random(seed), block, scattered=True, longest=24)
    work = plan_work(readers, block, Gate.always())
    read = Counter(number for item in work.items for number in item.blocks)
    assert set(read.values()) <= {1}


def items_of(readers: list[Reader], gate: Gate, block: int = 4) -> set[tuple[object, ...]]:
    work = plan_work(readers, block, gate)
    return {(*item.blocks, "by", *item.rows) for item in work.items}


def test_a_tree_of_any_depth() -> None:
    readers = [Reader([7, 3, 5], 9), Reader([7, 3, 9, 4], 13), Reader([7, 3, 9, 6], 13)]
    assert items_of(readers, Gate.always()) == {
        (7, 3, "by", 0, 1, 2),
        (5, "by", 0),
        (9, "by", 1, 2),
        (4, "by", 1),
        (6, "by", 2),
    }


def test_a_reader_in_two_groups_is_in_one_item_of_each() -> None:
    """Roles below a common prompt: every query reads the prompt's item and its role's."""
    readers = [Reader([1, 10, 20], 8), Reader([1, 10, 21], 8), Reader([1, 11, 22], 8)]
    assert items_of(readers, Gate.always()) >= {(1, "by", 0, 1, 2), (10, "by", 0, 1)}


def test_a_fork_in_the_middle_of_a_block_shares_only_what_is_before() -> None:
    """The fork copied the last block, so the tables differ in it though its first keys agree."""
    readers = [Reader([1, 2], 5), Reader([1, 3], 5)]
    assert items_of(readers, Gate.always()) == {(1, "by", 0, 1), (2, "by", 0), (3, "by", 1)}


def test_a_partial_last_block_is_nobody_elses() -> None:
    """A table that ends in the middle of a block does not share it with one that goes on."""
    readers = [Reader([1, 2], 5), Reader([1, 2, 3], 9)]
    assert items_of(readers, Gate.always()) == {(1, "by", 0, 1), (2, "by", 0), (2, 3, "by", 1)}


def test_an_empty_suffix_has_no_item() -> None:
    readers = [Reader([1, 2], 7), Reader([1, 2, 3], 8)]
    assert items_of(readers, Gate.always()) == {(1, 2, "by", 0, 1), (3, "by", 1)}


def test_what_is_filled_in_this_step_is_masked_for_who_fills_it() -> None:
    """One reader computes the blocks that another one shares already."""
    work = plan_work([Reader([1, 2], 0, 8), Reader([1, 2, 3], 8, 2)], 4, Gate.always())
    shared, own = work.items
    assert shared == Item([1, 2], 0, 8, list(range(10)), masked=True)
    assert own == Item([3], 8, 2, [8, 9], masked=True)


def test_a_refused_node_is_read_with_what_comes_after_it() -> None:
    """The prompt of 4 keys is too short to share, prompt and role together are not."""
    roles = [[1, 10, 11, 12], [1, 20, 21, 22]]
    readers = [Reader([*roles[n // 2], 100 + n], 16) for n in range(4)]
    gate = Gate(bandwidth=1.0, overhead=12.5, token_bytes=1, heads=0, dim=0)
    assert not gate.shares(4, 4, 4) and gate.shares(2, 2, 16)
    assert items_of(readers, gate) == {
        (*roles[0], "by", 0, 1),
        (*roles[1], "by", 2, 3),
        *((100 + n, "by", n) for n in range(4)),
    }


def test_the_gate_opens_where_the_cost_rule_says() -> None:
    def opens(readers: int) -> int:
        return next(n for n in range(1, 5000) if H100.shares(readers, readers, n))

    assert 930 < opens(8) < 950
    assert 103 < opens(64) < 115
    assert not H100.shares(1, 1, 10**6)


def test_more_splits_and_more_queries_make_sharing_dearer() -> None:
    split = Gate(3.35e12, 8e-6, 4096, 32, 128, splits=8)
    assert H100.shares(8, 8, 960) and not split.shares(8, 8, 960)
    assert not H100.shares(8, 400, 960)


def test_where_the_gate_says_no_nobody_shares() -> None:
    readers = decoding(16, 4, [5] * 8)
    assert len(plan_work(readers, 16, H100).items) == 8
    assert len(plan_work(decoding(16, 64, [5] * 8), 16, H100).items) == 9


@pytest.mark.parametrize(
    ("bandwidth", "overhead"), [(2.0**30, 0.125), (2.0**31, 0.0)], ids=["costs", "free"]
)
def test_measuring_finds_the_numbers_of_a_device(bandwidth: float, overhead: float) -> None:
    """A device that takes just what the rule says, on a clock of its own."""
    truth = Gate(bandwidth, overhead, token_bytes=2 * 2 * 16 * 4, heads=6, dim=16)
    now = [0.0]

    def attend(queries, keys, values, work):
        read = sum(item.length for item in work.items) * truth.token_bytes
        now[0] += 0.5 + read / bandwidth
        if any(len(item.rows) > 1 for item in work.items):
            now[0] += overhead + 2 * len(queries) * 6 * 17 * 4 / bandwidth
        return queries

    found = measure_gate(
        attend, heads=6, kv_heads=2, dim=16, dtype=torch.float32, device=torch.device("cpu"),
        clock=lambda: now[0],
    )  # fmt: skip
    assert found.bandwidth == pytest.approx(bandwidth, rel=1e-6)
    assert found.overhead == pytest.approx(overhead, abs=1e-7)
    assert (found.token_bytes, found.heads, found.dim) == (truth.token_bytes, 6, 16)


def test_a_device_that_gains_nothing_never_shares() -> None:
    now = [0.0]

    def attend(queries, keys, values, work):
        now[0] += 1.0
        return queries

    gate = measure_gate(
        attend, heads=6, kv_heads=2, dim=16, dtype=torch.float32, device=torch.device("cpu"),
        clock=lambda: now[0],
    )  # fmt: skip
    assert not gate.shares(64, 64, 10**6)


@pytest.mark.parametrize(
    "reader", [Reader([1], 4, 0), Reader([1], -1, 1), Reader([1], 4), Reader([], 0)], ids=repr
)
def test_an_impossible_reader_is_refused(reader: Reader) -> None:
    with pytest.raises(ValueError):
        plan_work([reader], 4, Gate.always())


def test_tables_of_any_sequence_type_share() -> None:
    readers = [Reader((1, 2, 3), 9), Reader([1, 2, 4], 9), Reader(range(1, 4), 9)]
    assert (1, 2, "by", 0, 1, 2) in items_of(readers, Gate.always())


def test_planning_a_step_takes_well_below_a_millisecond() -> None:
    """32 readers of 70 blocks with no common objects: equal numbers, compared by value."""
    readers = [
        Reader([int(str(number)) for number in reader.blocks], reader.before)
        for reader in decoding(16, 62, [120] * 32)
    ]
    best = 1.0
    for _ in range(30):
        start = time.perf_counter()
        plan_work(readers, 16, Gate.always())
        best = min(best, time.perf_counter() - start)
    assert best < 1e-3


def test_what_is_derived_from_a_work_list_is_made_once() -> None:
    work = plan_work([Reader([1], 2)], 4, Gate.always())
    made = []

    def derive(work: WorkList, number: int) -> int:
        made.append(number)
        return number + 1

    assert [work.once(derive, 1), work.once(derive, 2), work.once(derive, 1)] == [2, 3, 2]
    assert made == [1, 2]
