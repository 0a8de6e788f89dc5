"""The Triton attention against dense attention: every way it could go wrong has a test by name.

Without a GPU the kernels run in Triton's interpreter, in float32 and float16 (its bfloat16 is
wrong) and on toy sizes. With one, the same cases run compiled, and in bfloat16 too (`-m gpu`).
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="triton is not installed")

from attention_steps import Case, case, decoding, random_readers  # noqa: E402

from parrotc.kernels.schedule import COLUMNS, Tiles, schedule  # noqa: E402
from parrotc.kernels.triton_attention import (  # noqa: E402
    Buffers,
    Size,
    attend,
    launch,
    programs_of,
)
from parrotc.kernels.worklist import Gate, Reader, WorkList, plan_work  # noqa: E402

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
TOLERANCE = {torch.float32: 3e-6, torch.float16: 3e-3, torch.bfloat16: 2e-2}
DTYPES = [
    torch.float32,
    torch.float16,
    pytest.param(
        torch.bfloat16,
        marks=[pytest.mark.gpu, pytest.mark.skipif(not CUDA, reason="bfloat16 needs a GPU")],
    ),
]
TILES = Tiles(wide=32, narrow=16, keys=16)  # so that toy sizes have several of each
GATES = (Gate.always(), Gate.never())


def step_of(readers: Sequence[Reader], block: int, **options) -> Case:
    """A step whose unused rows are NaN: what is read by mistake shows."""
    return case(readers, block, **{"device": DEVICE, "garbage": float("nan"), **options})


def assert_right(step: Case, work: WorkList) -> torch.Tensor:
    out = attend(step.queries, step.keys, step.values, work, tiles=TILES)
    assert out.dtype == step.queries.dtype
    tolerance = TOLERANCE[out.dtype]
    torch.testing.assert_close(out.double(), step.expected(), atol=tolerance, rtol=tolerance)
    return out


def run(step: Case, work: WorkList, buffers: Buffers, out: torch.Tensor) -> torch.Tensor:
    return launch(step.queries, step.keys, step.values, buffers, out, tiles=TILES)


def scheduled(step: Case, work: WorkList):
    kv_heads = step.keys.shape[2]
    group = step.queries.shape[1] // kv_heads
    return schedule(work, group, kv_heads, TILES, programs_of(step.queries.device))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_random_trees(seed: int, dtype: torch.dtype) -> None:
    rng = Random(seed)
    block, group = rng.choice((1, 4, 16)), rng.choice((1, 2, 3))
    readers = random_readers(rng, block, scattered=True, longest=20)
    step = step_of(readers, block, group=group, dtype=dtype, seed=seed)
    assert_right(step, step.work(GATES[seed % 2]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_prefix_length_not_a_multiple_of_tile_or_block(dtype: torch.dtype) -> None:
    step = step_of(decoding(4, 5, [3, 2, 9]), 4, dtype=dtype)
    assert_right(step, step.work(Gate.always()))


@pytest.mark.parametrize("gate", GATES, ids=["shared", "unshared"])
def test_empty_suffix(gate: Gate) -> None:
    """A reader whose last block is another one's prefix has no item of its own."""
    step = step_of([Reader([1, 2], 7), Reader([1, 2, 3], 8), Reader([1, 2, 3], 10)], 4)
    assert_right(step, step.work(gate))


def test_fully_masked_tile() -> None:
    """-inf - -inf is NaN: the filled blocks are shared with queries that see none of the tile."""
    step = step_of([Reader(range(10), 0, 40), Reader([*range(10), 11], 40, 2)], 4)
    work = step.work(Gate.always(), align=4)
    plan = scheduled(step, work)
    unseen = [
        first
        for _, first, _, row_at, count, *_ in plan.tasks.tolist()
        if any(work.positions[row] < first for row in plan.rows[row_at : row_at + count].tolist())
    ]
    assert unseen, "some query of a tile sees no key of it"
    assert_right(step, work)


def test_request_in_two_groups() -> None:
    roles = [[0, 1, 10, 11], [0, 1, 12, 13]]
    readers = [Reader([*roles[n // 2], 20 + n], 16 + n % 3) for n in range(4)]
    step = step_of(readers, 4)
    assert len(step.work(Gate.always()).items) == 3 + 4
    assert_right(step, step.work(Gate.always()))


def test_query_list_not_a_multiple_of_the_tile() -> None:
    """32 rows hold 10 queries of 3 heads: 13 readers leave 7 of a second tile empty."""
    step = step_of(decoding(4, 4, [2] * 13), 4)
    assert_right(step, step.work(Gate.always()))


@pytest.mark.parametrize(("kv_heads", "group"), [(4, 1), (1, 4), (2, 3), (1, 16)])
def test_gqa_head_order(kv_heads: int, group: int) -> None:
    """Each key head points somewhere else, so a head read with the wrong group shows."""
    step = step_of(decoding(4, 2, [2, 3]), 4, kv_heads=kv_heads, group=group)
    assert_right(step, step.work(Gate.always()))


def test_heads_whose_size_is_no_power_of_two() -> None:
    step = step_of(decoding(4, 2, [2, 3]), 4, dim=24)
    assert_right(step, step.work(Gate.always()))


def test_padded_rows_are_not_written() -> None:
    """Rows of the output beyond the step's tokens belong to somebody else."""
    step = step_of(decoding(4, 4, [2] * 5), 4)
    plan = scheduled(step, step.work(Gate.always()))
    size = replace(Size.of(plan), tokens=8, tasks=40)
    buffers = Buffers(size, 6, 16, step.queries.device).load(plan)
    queries = torch.cat([step.queries, step.queries[:3]])
    out = torch.full_like(queries, 7.0)
    buffers.partial.fill_(5.0)
    launch(queries, step.keys, step.values, buffers, out, tiles=TILES)
    assert bool((out[5:] == 7).all())
    torch.testing.assert_close(out[:5].double(), step.expected(), atol=3e-6, rtol=3e-6)


def test_graph_replayed_with_fewer_items_than_captured() -> None:
    """Nothing of the larger step may be seen by the smaller one that uses its buffers next."""
    large = step_of(decoding(4, 9, [7] * 9), 4)
    small = step_of(decoding(4, 2, [3, 2]), 4, seed=1)
    plan = scheduled(large, large.work(Gate.always()))
    buffers = Buffers(Size.of(plan), 6, 16, large.queries.device).load(plan)
    out = torch.zeros_like(large.queries)
    run(large, large.work(Gate.always()), buffers, out)
    buffers.load(scheduled(small, small.work(Gate.always())))
    used = len(scheduled(small, small.work(Gate.always())).tasks)
    assert not buffers.tasks[used:].any() and not buffers.parts[20:].any()
    queries = torch.cat([small.queries, large.queries[2:]])
    launch(queries, small.keys, small.values, buffers, out, tiles=TILES)
    torch.testing.assert_close(out[:2].double(), small.expected(), atol=3e-6, rtol=3e-6)
    torch.testing.assert_close(out[2:].double(), large.expected()[2:], atol=3e-6, rtol=3e-6)


def test_a_step_that_does_not_fit_its_buffers_is_refused() -> None:
    large, small = step_of(decoding(4, 9, [7] * 9), 4), step_of(decoding(4, 2, [3, 2]), 4)
    plan = scheduled(small, small.work(Gate.always()))
    buffers = Buffers(Size.of(plan), 6, 16, large.queries.device).load(plan)
    with pytest.raises(ValueError, match="does not fit"):
        buffers.load(scheduled(large, large.work(Gate.always())))
    assert buffers.tasks.cpu().equal(plan.tasks)


def test_more_than_64_splits() -> None:
    """C11."""
    step = step_of([Reader(range(72), 287)], 4, group=1, kv_heads=1)
    work = step.work(Gate.always())
    plan = schedule(work, 1, 1, replace(TILES, keys=4), programs=200)
    assert int(plan.starts[1]) > 64
    buffers = Buffers(Size.of(plan), 1, 16, step.queries.device).load(plan)
    out = run(step, work, buffers, torch.empty_like(step.queries))
    torch.testing.assert_close(out.double(), step.expected(), atol=3e-6, rtol=3e-6)


def test_ragged_batch_with_a_one_token_member() -> None:
    """C4: every row of a ragged batch reads its own keys."""
    readers = [Reader([9], 0), *decoding(4, 4, [1, 14]), Reader([20, 21, 22, 23], 0, 13)]
    step = step_of(readers, 4)
    assert_right(step, step.work(Gate.always()))


def test_fork_in_the_middle_of_a_block() -> None:
    """C3. The copy has the same first keys and then its own: it is another block."""
    step = step_of([Reader([0, 1, 2], 9), Reader([0, 1, 3], 10), Reader([0, 1, 4], 8)], 4)
    step.keys[3, :2], step.values[3, :2] = step.keys[2, :2], step.values[2, :2]
    assert_right(step, step.work(Gate.always()))


def test_scores_far_apart() -> None:
    step = step_of(decoding(4, 6, [3, 9, 1]), 4)
    step.queries.mul_(30)
    out = attend(step.queries, step.keys, step.values, step.work(Gate.always()), tiles=TILES)
    torch.testing.assert_close(out.double(), step.expected(), atol=2e-4, rtol=2e-4)


def test_partials_are_base_2_and_contiguous() -> None:
    """The merge takes base-2 sums [partials, heads]; a natural one would be off by log2(e)."""
    step = step_of(decoding(4, 3, [2, 5]), 4, group=1)
    work = step.work(Gate.always())
    plan = scheduled(step, work)
    buffers = Buffers(Size.of(plan), 2, 16, step.queries.device).load(plan)
    run(step, work, buffers, torch.empty_like(step.queries))
    assert buffers.lse2.is_contiguous()
    # the first reader's keys in the shared item, by hand
    first = int(plan.parts[0])
    keys = step.keys[:3].flatten(0, 1).double()
    scores = torch.einsum("hd,nhd->hn", step.queries[0].double(), keys) / 4
    expected = scores.logsumexp(-1) / torch.tensor(2.0).log().item()
    shared = plan.tasks[plan.tasks[:, 1] == 0]
    spans = sum(int(length) for length in shared[:, 2])
    assert spans == 12, "one task of the shared prefix"
    torch.testing.assert_close(buffers.lse2[first].double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_prompt_over_a_paged_prefix(dtype: torch.dtype) -> None:
    readers = [Reader([5, 3, 9, 0, 7, 1, 8], 11, 16), Reader([5, 3, 11], 8, 4)]
    step = step_of(readers, 4, dtype=dtype)
    for gate in GATES:
        assert_right(step, step.work(gate))


def test_deterministic_shared_and_unshared_are_bit_identical() -> None:
    readers = [*decoding(4, 13, [2, 9, 17]), Reader([*range(10), 30, 31, 32], 43, 7)]
    step = step_of(readers, 4)
    shared, alone = (assert_right(step, step.work(gate, align=4)) for gate in GATES)
    assert torch.equal(shared, alone)
    for gate in GATES:  # one shape of tile: another one may add in another order on a GPU
        assert scheduled(step, step.work(gate, align=4)).tasks[:, COLUMNS.index("wide")].all()


def test_deterministic_results_do_not_depend_on_the_rest_of_the_step() -> None:
    readers = decoding(4, 13, [2, 9, 17])
    step = step_of(readers, 4)
    together = attend(
        step.queries, step.keys, step.values, step.work(Gate.always(), align=4), tiles=TILES
    )
    for number, reader in enumerate(readers):
        alone = plan_work([reader], 4, Gate.always(), align=4)
        query = step.queries[number : number + 1]
        assert torch.equal(
            attend(query, step.keys, step.values, alone, tiles=TILES)[0], together[number]
        )


def test_long_tasks_come_first() -> None:
    step = step_of([Reader(range(4), 14), Reader(range(4, 24), 79), Reader([30], 2)], 4)
    plan = scheduled(step, step.work(Gate.always()))
    lengths = plan.tasks[:, 2].tolist()
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda q, k, v: (q.half(), k, v),
        lambda q, k, v: tuple(x.double() for x in (q, k, v)),
        lambda q, k, v: tuple(x.to(torch.float8_e4m3fn) for x in (q, k, v)),
        lambda q, k, v: (q[..., :8].contiguous(), k[..., :8].contiguous(), v[..., :8].contiguous()),
        lambda q, k, v: (q[:1], k, v),
        lambda q, k, v: (q[:, :5].contiguous(), k, v),
        lambda q, k, v: (q, k.transpose(1, 2), v.transpose(1, 2)),
        lambda q, k, v: (q, k, v[:-1]),
        lambda q, k, v: (q.mT.contiguous().mT, k, v),
    ],
    ids=["dtypes", "float64", "fp8", "dim", "tokens", "heads", "layout", "pools", "queries"],
)
def test_what_does_not_fit_is_refused(change) -> None:
    step = case(decoding(4, 2, [3, 4]), 4, device=DEVICE)
    with pytest.raises(ValueError):
        attend(*change(step.queries, step.keys, step.values), step.work(Gate.always()))


def test_a_group_that_fits_no_tile_is_refused() -> None:
    step = case(decoding(4, 2, [3, 4]), 4, kv_heads=1, group=17, device=DEVICE)
    with pytest.raises(ValueError, match="17 heads"):
        attend(step.queries, step.keys, step.values, step.work(Gate.always()), tiles=TILES)


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA, reason="capture needs a GPU")
def test_a_captured_graph_runs_another_step() -> None:
    large = step_of(decoding(4, 9, [7] * 9), 4, dtype=torch.bfloat16)
    small = step_of(decoding(4, 2, [3, 2]), 4, seed=1, dtype=torch.bfloat16)
    queries, keys, values = large.queries.clone(), large.keys.clone(), large.values.clone()
    plan = scheduled(large, large.work(Gate.always()))
    buffers = Buffers(Size.of(plan), 6, 16, queries.device).load(plan)
    out = torch.zeros_like(queries)
    launch(queries, keys, values, buffers, out, tiles=TILES)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launch(queries, keys, values, buffers, out, tiles=TILES)
    buffers.load(scheduled(small, small.work(Gate.always())))
    queries[:2] = small.queries
    keys[: len(small.keys)], values[: len(small.values)] = small.keys, small.values
    graph.replay()
    torch.testing.assert_close(out[:2].double(), small.expected(), atol=2e-2, rtol=2e-2)
