"""The vectorised torch attention against dense attention of every reader for itself."""

from random import Random

import pytest

torch = pytest.importorskip("torch")

from attention_steps import Case, case, decoding, random_readers  # noqa: E402

from parrotc.kernels.attention import attend  # noqa: E402
from parrotc.kernels.limits import refuse  # noqa: E402
from parrotc.kernels.reads import Batch, Read, reads_of  # noqa: E402
from parrotc.kernels.worklist import Gate, Reader, WorkList  # noqa: E402

TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.bfloat16: 3e-2, torch.float16: 3e-3}


def assert_right(step: Case, work: WorkList) -> None:
    out = attend(step.queries, step.keys, step.values, work)
    assert out.dtype == step.queries.dtype and out.shape == step.queries.shape
    torch.testing.assert_close(
        out.double(), step.expected(), atol=TOLERANCE[out.dtype], rtol=TOLERANCE[out.dtype]
    )


def reads(step: Case, work: WorkList) -> tuple[Read | Batch, ...]:
    return reads_of(work, len(step.keys), step.keys.dtype).reads


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("scattered", [False, True], ids=["in turn", "scattered"])
@pytest.mark.parametrize("seed", range(6))
def test_random_trees(seed: int, scattered: bool, dtype: torch.dtype) -> None:
    rng = Random(seed)
    block, group = rng.choice((1, 2, 4, 16)), rng.choice((1, 3, 4))
    readers = random_readers(rng, block, scattered=scattered, longest=120)
    step = case(readers, block, group=group, dtype=dtype, seed=seed, garbage=1e4)
    for gate in (Gate.always(), Gate.never()):
        assert_right(step, step.work(gate))


def test_scores_far_apart() -> None:
    """One key takes nearly all: sums of exponentials must not run over."""
    step = case(decoding(4, 40, [3, 9, 1, 30]), 4, dtype=torch.float64)
    step.queries.mul_(60)
    assert_right(step, step.work(Gate.always()))


def test_a_given_scale() -> None:
    step = case(decoding(4, 5, [3, 9]), 4)
    halved = attend(step.queries / 2, step.keys, step.values, step.work(Gate.always()), scale=0.5)
    torch.testing.assert_close(halved * 1.0, halved)
    step.queries.mul_(step.queries.shape[-1] ** 0.5 / 4)
    torch.testing.assert_close(halved.double(), step.expected(), atol=3e-6, rtol=3e-6)


def test_queries_may_be_a_slice_of_a_merged_projection() -> None:
    step = case(decoding(4, 5, [3, 9, 30, 5]), 4)
    wide = torch.randn(4, 10, 16)
    wide[:, :6] = step.queries
    work = step.work(Gate.always())
    assert torch.equal(
        attend(wide[:, :6], step.keys, step.values, work),
        attend(step.queries, step.keys, step.values, work),
    )


def test_blocks_in_turn_are_read_in_place() -> None:
    """Neither a shared run nor suffixes at equal distances are copied, whatever their lengths."""
    step = case(decoding(4, 50, [9, 12, 10, 11, 12, 9]), 4, garbage=1e4)
    work = step.work(Gate.always())
    shared, suffixes = reads(step, work)
    assert isinstance(shared, Read) and not shared.gathered
    assert isinstance(suffixes, Batch) and not suffixes.gathered and suffixes.mask is not None
    assert suffixes.step == 12
    assert reads_of(work, len(step.keys), step.keys.dtype).gather is None
    assert_right(step, work)


def test_a_gap_in_the_blocks_makes_two_batches_in_place() -> None:
    """A reader has gone: those before and those behind it still lie at equal distances."""
    readers = decoding(4, 50, [9] * 9)
    del readers[4]
    step = case(readers, 4, garbage=1e4)
    work = step.work(Gate.always())
    _, *batches = reads(step, work)
    assert [(read.step, read.gathered) for read in batches] == [(12, False), (12, False)]
    assert_right(step, work)


def test_scattered_suffixes_are_one_gathered_batch() -> None:
    readers = [Reader([*range(10), *own], 47) for own in ([20, 30], [35, 21], [13, 29], [40, 11])]
    step = case(readers, 4, garbage=1e4)
    work = step.work(Gate.always())
    _, batch = reads(step, work)
    assert isinstance(batch, Batch) and batch.gathered and batch.mask is None
    assert_right(step, work)


def test_a_padded_read_stays_inside_the_pool() -> None:
    """The last reader's keys end with the pool, and it is shorter than the others."""
    step = case(decoding(4, 2, [9, 9, 9, 9, 9, 1]), 4)
    keys, values = (x[:-1] for x in (step.keys, step.values))
    assert len(keys) == 2 + 5 * 3 + 1  # padded to 9 keys, the last reader would end behind it
    out = attend(step.queries, keys, values, step.work(Gate.always()))
    torch.testing.assert_close(out.double(), step.expected(), atol=3e-6, rtol=3e-6)


def test_unshared_readers_of_the_same_blocks() -> None:
    """The gate said no: distances of 0 are equal distances too."""
    step = case(decoding(16, 6, [5] * 6), 16)
    assert_right(step, step.work(Gate.never()))


def test_a_prompt_is_cut_into_causal_squares() -> None:
    step = case([Reader(range(60), 37, 190)], 4)
    work = step.work(Gate.always())
    causal = [read for read in reads(step, work) if isinstance(read, Read) and read.causal]
    assert sum(read.length for read in causal) == 190
    assert_right(step, work)


def test_a_prompt_whose_blocks_are_scattered() -> None:
    rng = Random(0)
    table = [*rng.sample(range(80), 20), *range(100, 150), *rng.sample(range(200, 280), 20)]
    step = case([Reader(table, 130, 229), Reader([*table[:70], 99], 280)], 4, garbage=1e4)
    for gate in (Gate.always(), Gate.never()):
        assert_right(step, step.work(gate))


def test_one_reads_what_another_fills_in_the_same_step() -> None:
    readers = [
        Reader(range(40), 30, 130),
        Reader([*range(20), 50], 80, 3),
        Reader(range(10), 33, 7),
        Reader(range(10), 39),
    ]
    step = case(readers, 4)
    for gate in (Gate.always(), Gate.never()):
        assert_right(step, step.work(gate))


def test_equal_inputs_give_equal_bits() -> None:
    readers = random_readers(Random(5), 4, scattered=True, longest=150)
    step = case(readers, 4)
    first, second = (
        attend(step.queries, step.keys, step.values, step.work(Gate.always())) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_layers_share_the_reads_of_a_step_and_not_their_keys() -> None:
    """The gather buffer is used again: the second layer must not see the first one's keys."""
    readers = [Reader([*range(10), *own], 47) for own in ([20, 30], [35, 21], [13, 29], [40, 11])]
    layers = [case(readers, 4, seed=seed) for seed in range(2)]
    work = layers[0].work(Gate.always())
    for step in layers:
        assert_right(step, work)


@pytest.mark.parametrize(
    "change",
    [
        lambda q, k, v: (q.half(), k, v),
        lambda q, k, v: (q[:1], k, v),
        lambda q, k, v: (q[..., :8], k, v),
        lambda q, k, v: (q[:, :5], k, v),
        lambda q, k, v: (q, k, v[:-1]),
        lambda q, k, v: (q, k.transpose(1, 2), v.transpose(1, 2)),
        lambda q, k, v: (q, k.mT.contiguous().mT, v),
        lambda q, k, v: tuple(x.to(torch.float8_e4m3fn) for x in (q, k, v)),
    ],
    ids=["dtypes", "tokens", "dim", "heads", "pools", "block", "layout", "fp8"],
)
def test_what_does_not_fit_is_refused(change) -> None:
    step = case(decoding(4, 2, [3, 4]), 4)
    with pytest.raises(ValueError):
        attend(*change(step.queries, step.keys, step.values), step.work(Gate.always()))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"dtype": torch.float8_e4m3fn}, "float8"),
        ({"soft_cap": 30.0}, "soft cap"),
        ({"window": 4096}, "sliding window"),
        ({"alibi": True}, "ALiBi"),
    ],
    ids=["fp8", "soft cap", "window", "alibi"],
)
def test_fp8_soft_cap_sliding_window_alibi_are_refused(options, name: str) -> None:
    refuse(torch.bfloat16, soft_cap=0.0, window=None)
    with pytest.raises(ValueError, match=name):
        refuse(**{"dtype": torch.bfloat16, **options})
