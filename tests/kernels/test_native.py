"""The compiled kernels against plain torch. Skipped where there is no compiler."""

import os
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from attention_steps import case, decoding, random_readers  # noqa: E402

from parrotc.kernels import compiled  # noqa: E402
from parrotc.kernels.attention import attend as plain_attend  # noqa: E402
from parrotc.kernels.dense import Dense, dense  # noqa: E402
from parrotc.kernels.native import Attend, native, supports  # noqa: E402
from parrotc.kernels.worklist import Gate, Reader  # noqa: E402
from parrotc.runtime.engines.embedded.runner import attention_for  # noqa: E402
from parrotc.runtime.models import cache_folder  # noqa: E402

TOLERANCE = {torch.float32: 5e-6, torch.bfloat16: 3e-2}
SIZES = (16, 32, 64, 80, 96, 128)


@pytest.fixture(scope="module")
def attend() -> Attend:
    found = native(cache_folder() / "kernels")
    if found is None:
        pytest.skip("there is no compiler")
    return found


@pytest.fixture(scope="module")
def passes() -> Dense:
    found = dense(cache_folder() / "kernels")
    if found is None:
        pytest.skip("there is no compiler")
    return found


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"], autouse=True)
def _threads(request: pytest.FixtureRequest) -> None:
    torch.manual_seed(7)
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    request.addfinalizer(lambda: torch.set_num_threads(before))


# --- attention ---


def assert_right(attend: Attend, readers: list[Reader], block: int, **options: object) -> None:
    """Random tensors for `readers`, shared or each for itself, with garbage beyond their keys."""
    step = case(readers, block, garbage=1e3, **options)  # type: ignore[arg-type]
    tolerance = TOLERANCE[step.keys.dtype]
    for gate in (Gate.always(), Gate.never()):
        found = attend(step.queries.float(), step.keys, step.values, step.work(gate))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), step.expected(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("seed", range(10))
def test_random_trees(attend: Attend, seed: int, dtype: torch.dtype) -> None:
    rng = Random(seed)
    block, longest = rng.choice(((1, 60), (4, 150), (16, 700)))
    readers = random_readers(rng, block, scattered=seed % 2 == 0, longest=longest)
    group, dim = rng.choice((1, 3, 4, 8)), rng.choice(SIZES)
    assert_right(attend, readers, block, group=group, dim=dim, dtype=dtype, seed=seed)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("dim", SIZES)
def test_every_size_of_head(attend: Attend, dim: int, dtype: torch.dtype) -> None:
    """A prompt in the middle of its filling, beside one token of another."""
    readers = [Reader(list(range(20)), 150, 130), Reader([20, 21, 22], 33, 1)]
    assert_right(attend, readers, 16, dim=dim, dtype=dtype)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 63, 64, 65, 200])
def test_any_number_of_rows(attend: Attend, count: int) -> None:
    """Around the sizes of register tiles, blocks of keys and tiles of rows."""
    assert_right(attend, [Reader(list(range(40)), 300 - count, count)], 16, dim=64)
    assert_right(attend, [Reader(list(range(40)), 0, count)], 16, dim=64, group=1)


def test_a_long_context_of_one_token(attend: Attend) -> None:
    """More segments than one, merged by their sums."""
    assert_right(attend, [Reader(list(range(300)), 4700, 1)], 16, dim=64)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_scores_far_apart(attend: Attend, dtype: torch.dtype) -> None:
    """One key takes nearly all: exponentials neither run over nor spoil a sum."""
    for readers in (decoding(16, 40, [3, 9, 1, 30]), [Reader(list(range(9)), 40, 90)]):
        step = case(readers, 16, dim=64, dtype=dtype)
        step.queries.mul_(32)
        found = attend(
            step.queries.float(), step.keys, step.values, step.work(Gate.always())
        ).double()
        assert found.isfinite().all()
        tolerance = 10 * TOLERANCE[dtype]
        torch.testing.assert_close(found, step.expected(), atol=tolerance, rtol=tolerance)


def test_equal_inputs_give_equal_bits(attend: Attend) -> None:
    step = case([Reader(list(range(40)), 100, 500)], 16, dim=64, group=3)
    first, *others = (
        attend(step.queries, step.keys, step.values, step.work(Gate.always())) for _ in range(5)
    )
    assert all(torch.equal(first, other) for other in others)


def test_a_scale_and_slices(attend: Attend) -> None:
    step = case(decoding(4, 5, [3, 9, 30, 5]), 4)
    work = step.work(Gate.always())
    wide = torch.randn(4, 10, 16)
    wide[:, :6] = step.queries / 2
    found = attend(wide[:, :6], step.keys, step.values, work, scale=2 * 16**-0.5)
    torch.testing.assert_close(found.double(), step.expected(), atol=5e-6, rtol=5e-6)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_as_many_queries_for_a_key_head_as_fit(attend: Attend, dtype: torch.dtype) -> None:
    """And no more: a model with more is computed by torch."""
    readers = [Reader(list(range(5)), 40, 30), Reader([0, 1, 5], 33, 1)]
    assert_right(attend, readers, 16, kv_heads=1, group=192, dtype=dtype)
    step = case(readers, 16, kv_heads=1, group=193, dtype=dtype)
    with pytest.raises(ValueError, match="193 queries share a key head; 192 may"):
        attend(step.queries.float(), step.keys, step.values, step.work(Gate.always()))
    kernels = cache_folder() / "kernels"
    for heads, is_compiled in ((384, True), (386, False)):
        shape = SimpleNamespace(heads=heads, kv_heads=2, head_dim=64)
        model = SimpleNamespace(
            shape=shape, device=torch.device("cpu"), dtype=torch.float32, precision="float32"
        )
        chosen = attention_for(model, kernels)  # type: ignore[arg-type]
        assert (chosen.attend is not plain_attend) == is_compiled


def test_what_cannot_be(attend: Attend) -> None:
    step = case(decoding(4, 5, [3, 9]), 4)
    work = step.work(Gate.always())
    for bad in (
        (step.queries.double(), step.keys, step.values),
        (step.queries, step.keys.half(), step.values.half()),
        (step.queries, step.keys, step.values[:, :2]),
        (step.queries[:1], step.keys, step.values),
        (step.queries.transpose(1, 2).contiguous().transpose(1, 2), step.keys, step.values),
        (step.queries[:, :5], step.keys, step.values),
    ):
        with pytest.raises(ValueError):
            attend(*bad, work)
    assert supports(64, torch.float32)
    assert not supports(60, torch.float32) and not supports(64, torch.float64)
    assert not supports(112, torch.float32)


# --- the passes between products ---

ROWS = (1, 2, 3, 4, 5, 40)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=2e-6)


def assert_rounded(rounded: torch.Tensor, tops: torch.Tensor, x: torch.Tensor) -> None:
    """`x` in bytes around 128, by the largest magnitude of its rows; a half may go either way."""
    close(tops, x.abs().amax(1))
    exact = x * (127 / x.abs().amax(1, keepdim=True)) + 128
    assert (rounded.float() - exact).abs().max() < 0.501


@pytest.mark.parametrize("rows", ROWS)
def test_norm(passes: Dense, rows: int) -> None:
    x, product, scale, weight = (torch.randn(size) for size in ((rows, 592),) * 2 + (rows, 592))
    summed = x + product * scale[:, None]
    for given in ((product, scale), (None, None)):
        rounded, tops = passes.norm(x, *given, weight, 1e-5)
        close(x, summed)
        norm = torch.nn.functional.rms_norm(summed, (592,), weight, 1e-5)
        assert_rounded(rounded, tops, norm)


@pytest.mark.parametrize("rows", ROWS)
def test_round_and_gate(passes: Dense, rows: int) -> None:
    x = torch.randn(rows, 1552)
    assert_rounded(*passes.round(x), x)
    both, scale = 4 * torch.randn(rows, 3104), torch.rand(rows)
    both[0, :4] = torch.tensor([300.0, -300.0, 0.0, -0.0])
    gate, value = (both * scale[:, None]).chunk(2, dim=1)
    expected = torch.nn.functional.silu(gate) * value
    assert_rounded(*passes.gate(both.clone(), scale), expected)


def test_a_row_of_nothing(passes: Dense) -> None:
    rounded, tops = passes.round(torch.zeros(2, 64))
    assert not tops.any() and (rounded == 128).all()


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("pairs", [8, 32])
def test_turn_and_scatter(passes: Dense, rows: int, pairs: int) -> None:
    """Twelve heads are turned, three only scaled; those go to their places in a pool."""
    mixed, scale, bias = torch.randn(rows, 15 * 64), torch.rand(rows), torch.randn(15 * 64)
    turns = torch.polar(torch.ones(100, pairs), torch.randn(100, pairs))
    positions = torch.randint(0, 100, (rows,))
    expected = (mixed * scale[:, None] + bias).view(rows, 15, 64)
    first = expected[:, :12, : 2 * pairs].reshape(rows, 12, pairs, 2)
    turned = torch.view_as_complex(first) * turns[positions][:, None]
    expected[:, :12, : 2 * pairs] = torch.view_as_real(turned).flatten(2)
    passes.turn(mixed, scale, bias, turns, positions, 12, 64)
    close(mixed.view_as(expected), expected)

    mixed[0, -2:] = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8])  # halves: one down, one up
    slots = torch.randperm(90)[:rows]
    for dtype in (torch.float32, torch.bfloat16):
        keys, values = mixed.view(rows, 15, 64)[:, 12:], torch.randn(rows, 3, 64)
        pools = [torch.zeros(90, 3, 64, dtype=dtype) for _ in "kv"]
        passes.scatter(*pools, slots, keys, values)
        for pool, given in zip(pools, (keys, values), strict=True):
            wanted = torch.zeros_like(pool)
            wanted[slots] = given.to(dtype)
            assert torch.equal(pool, wanted)


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [64, 80, 576])
def test_products_of_a_few_rows(passes: Dense, rows: int, width: int) -> None:
    weight = torch.randint(-127, 128, (132, width), dtype=torch.int8)
    weight[0] = 127
    rounded = torch.randint(0, 256, (rows, width), dtype=torch.uint8)
    rounded[0] = 255
    zeros, scale = (128 * weight.int().sum(1)).int(), torch.rand(132)
    exact = (rounded.double() - 128) @ weight.double().t() * scale
    found = passes.products(rounded, weight, zeros, scale)
    torch.testing.assert_close(found.double(), exact, atol=1e-6, rtol=1e-6)


# --- compiling ---

SOURCE = "int answer(void) { return %d; }\n"


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: Dense) -> Path:
    """A folder whose C files are those that there are."""
    compiled.load.cache_clear()
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "compiled.py"))
    (tmp_path / "a.c").write_text(SOURCE % 1)
    return tmp_path


def libraries(room: Path) -> list[str]:
    return sorted(path.name for path in (room / "kept").glob("*.so"))


def test_a_library_is_made_once_for_each_text(room: Path) -> None:
    kept = room / "kept"
    first = compiled.load("a.c", kept)
    assert first is not None and first.answer() == 1
    before = libraries(room)
    compiled.load.cache_clear()
    stamp = (kept / before[0]).stat().st_mtime_ns
    assert compiled.load("a.c", kept) is not None
    assert libraries(room) == before and (kept / before[0]).stat().st_mtime_ns == stamp
    compiled.load.cache_clear()
    (room / "a.c").write_text(SOURCE % 2)
    second = compiled.load("a.c", kept)
    assert second is not None and second.answer() == 2
    assert len(libraries(room)) == 2


def test_without_a_compiler(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", str(room / "nothing"))
    assert compiled.load("a.c", room / "kept") is None
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    compiled.load.cache_clear()
    assert compiled.load("a.c", room / "kept") is None


def test_what_does_not_compile(room: Path) -> None:
    (room / "a.c").write_text("not C\n")
    assert compiled.load("a.c", room / "kept") is None
    assert not list((room / "kept").iterdir())


def test_a_folder_that_others_can_write(room: Path) -> None:
    """A library that somebody else could have put there is not loaded."""
    (room / "kept").mkdir(mode=0o700)
    os.chmod(room / "kept", 0o777)
    assert compiled.load("a.c", room / "kept") is None
