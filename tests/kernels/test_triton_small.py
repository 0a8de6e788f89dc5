"""The small Triton kernels, each against a line of plain torch in float64."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="triton is not installed")

from parrotc.kernels.triton_ops import rms_norm, rotate_, sample, write_kv  # noqa: E402

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}
DTYPES = [
    torch.float32,
    torch.float16,
    pytest.param(
        torch.bfloat16,
        marks=[pytest.mark.gpu, pytest.mark.skipif(not CUDA, reason="bfloat16 needs a GPU")],
    ),
]
pytestmark = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def random(*shape: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng).to(dtype).to(DEVICE)


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    tolerance = TOLERANCE[found.dtype]
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("rows", "width"), [(1, 16), (5, 48), (3, 576), (0, 16)])
def test_rms_norm(rows: int, width: int, dtype: torch.dtype) -> None:
    x, weight = random(rows, width, dtype=dtype), random(width, dtype=dtype, seed=1)
    wide = x.double()
    expected = wide / (wide.square().mean(-1, keepdim=True) + 1e-2).sqrt() * weight.double()
    assert_close(rms_norm(x, weight, 1e-2), expected)


@pytest.mark.parametrize("half", [8, 5], ids=["whole", "partial"])
def test_rotary_turns_pairs_of_halves_in_place(half: int, dtype: torch.dtype) -> None:
    wide = random(4, 9, 16, dtype=dtype)
    before, x = wide.clone(), wide[:, 2:6]  # the keys of a merged projection
    cos, sin = random(4, half, dtype=dtype, seed=1), random(4, half, dtype=dtype, seed=2)
    a, b = x[..., :half].double(), x[..., half : 2 * half].double()
    c, s = cos.double()[:, None], sin.double()[:, None]
    expected = torch.cat([a * c - b * s, b * c + a * s, x[..., 2 * half :].double()], dim=-1)
    assert rotate_(x, cos, sin) is x
    assert_close(x, expected)
    assert torch.equal(wide[:, :2], before[:, :2]) and torch.equal(wide[:, 6:], before[:, 6:])


def test_keys_and_values_go_to_their_slots_and_nowhere_else(dtype: torch.dtype) -> None:
    """C4: every row of a ragged batch writes to its own slot."""
    wide = random(4, 7, 24, dtype=dtype)
    keys, values = wide[:, 1:3], wide[:, 3:5]
    pools = [torch.full((5, 4, 2, 24), 7.0, dtype=dtype, device=DEVICE) for _ in "kv"]
    slots = torch.tensor([6, -1, 19, 0], device=DEVICE)
    write_kv(*pools, keys, values, slots)
    for pool, new in zip(pools, (keys, values), strict=True):
        expected = torch.full_like(pool, 7.0)
        expected.flatten(0, 1)[[6, 19, 0]] = new[[0, 2, 3]]
        assert torch.equal(pool, expected)


@pytest.mark.parametrize("vocab", [7, 64, 5000])
def test_the_greedy_token_is_the_first_of_the_largest(vocab: int, dtype: torch.dtype) -> None:
    logits = random(4, vocab, dtype=dtype).float()
    logits[1] = -3.0
    logits[2, 2] = logits[2, vocab - 1] = 50.0
    zeros = torch.zeros(4, device=DEVICE)
    expected = logits.argmax(-1)
    expected[1], expected[2] = 0, 2
    assert torch.equal(sample(logits, zeros, zeros + 0.9), expected)


@pytest.mark.parametrize("vocab", [7, 5000])
def test_a_draw_is_where_the_probabilities_pass_the_number(vocab: int, dtype: torch.dtype) -> None:
    rows = 12
    logits = 3 * random(rows, vocab, dtype=dtype).float()
    logits[:, 1] = float("-inf")  # a masked token
    temperatures = torch.linspace(0.3, 2.0, rows, device=DEVICE)
    uniforms = torch.linspace(0.0, 0.999, rows, device=DEVICE)
    drawn = sample(logits, temperatures, uniforms)
    upto = (logits.double() / temperatures.double()[:, None]).softmax(-1).cumsum(-1)
    last = upto.gather(1, drawn[:, None])[:, 0]
    first = torch.where(drawn > 0, upto.gather(1, (drawn[:, None] - 1).clamp(0))[:, 0], 0.0)
    slack = 1e-5
    assert bool((first - slack <= uniforms).all()) and bool((uniforms <= last + slack).all())
    assert not bool((drawn == 1).any())


def test_a_number_of_zero_draws_no_masked_token(dtype: torch.dtype) -> None:
    logits = torch.full((1, 5), float("-inf"), device=DEVICE)
    logits[0, 3] = 1.0
    one = torch.ones(1, device=DEVICE)
    assert sample(logits, one, one * 0).tolist() == [3]


def test_what_does_not_fit_is_refused(dtype: torch.dtype) -> None:
    x, pool = random(4, 2, 16, dtype=dtype), random(2, 4, 2, 16, dtype=dtype)
    slots = torch.arange(4, device=DEVICE)
    flat, weight = random(4, 16, dtype=dtype), random(16, dtype=dtype)
    half, logits = random(4, 9, dtype=dtype), random(2, 5, dtype=torch.float32)
    for call in (
        lambda: write_kv(pool, pool, x, x, slots.int()),
        lambda: write_kv(pool, pool, x, x, slots[:3]),
        lambda: write_kv(pool.transpose(0, 1), pool.transpose(0, 1), x, x, slots),
        lambda: rms_norm(flat, weight[:8], 1e-5),
        lambda: rms_norm(flat.double(), weight.double(), 1e-5),
        lambda: rotate_(x, half, half),
        lambda: sample(logits.double(), logits[:, 0], logits[:, 0]),
        lambda: sample(logits, logits[0], logits[0]),
    ):
        with pytest.raises(ValueError):
            call()
