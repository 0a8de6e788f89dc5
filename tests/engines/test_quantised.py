"""Eight-bit matrices: exactly what their formula says, and what they cost in quality."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

torch = pytest.importorskip("torch")

from contexts import Context, Paged, Tokens, run  # noqa: E402

from parrotc.kernels.dense import Dense, dense  # noqa: E402
from parrotc.runtime.engines.embedded import quantised  # noqa: E402
from parrotc.runtime.engines.embedded.fused import fused  # noqa: E402
from parrotc.runtime.engines.embedded.linear import float_linear  # noqa: E402
from parrotc.runtime.engines.embedded.model import Model  # noqa: E402
from parrotc.runtime.engines.embedded.quantised import Int8Linear  # noqa: E402
from parrotc.runtime.engines.embedded.shape import load_shape  # noqa: E402
from parrotc.runtime.engines.embedded.weights import load_weights  # noqa: E402
from parrotc.runtime.models import ModelFiles, cache_folder, resolve  # noqa: E402
from parrotc.runtime.tokenizer import Tokenizer  # noqa: E402

SPEECH = Path(__file__).parents[2] / "examples/data/kennedy_1962.txt"
ROWS = [1, 2, 5, 64]


def numbers(seed: int, *size: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def meant(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The formula in float64, from the definition of rounding alone."""

    def rounded(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        unit = rows.abs().amax(1, keepdim=True).double().clamp_min(1e-8) / 127
        return (rows.double() / unit).round(), unit

    (q, unit), (w, scale) = rounded(x), rounded(weight)
    return (q @ w.t()) * unit * scale.t()


@pytest.fixture(params=["oneDNN", "torch alone"])
def _kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "torch alone":
        monkeypatch.setattr(quantised, "_can_pack", lambda: False)
    elif not quantised._can_pack():
        pytest.skip("this processor has no dot products of bytes")


@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize("rows", ROWS)
def test_the_formula(rows: int) -> None:
    x, weight = numbers(1, rows, 96), numbers(2, 80, 96)
    x *= torch.logspace(-3, 3, rows)[:, None]  # each row has a scale of its own
    weight *= torch.logspace(-2, 2, 80)[:, None]
    bias, residual = numbers(3, 80), numbers(4, rows, 80)
    wanted = meant(x, weight)
    torch.testing.assert_close(Int8Linear(weight)(x).double(), wanted, rtol=1e-5, atol=1e-5)
    linear = Int8Linear(weight, bias)
    torch.testing.assert_close(linear(x).double(), wanted + bias, rtol=1e-5, atol=1e-5)
    total = linear.plus(x, residual).double()
    torch.testing.assert_close(total, wanted + bias + residual, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("_kernel")
def test_largest_sums() -> None:
    """Every product has the largest magnitude and the same sign: nothing saturates on the way."""
    for sign in (1, -1):
        x = torch.full((3, 2048), 2.0)
        y = Int8Linear(sign * torch.full((16, 2048), 0.5))(x)
        assert torch.allclose(y, torch.full_like(y, sign * 2048.0))


@pytest.mark.usefixtures("_kernel")
def test_a_row_of_nothing() -> None:
    for rows in ROWS:
        assert not Int8Linear(numbers(5, 16, 32))(torch.zeros(rows, 32)).any()


@pytest.mark.usefixtures("_kernel")
def test_a_row_is_the_same_in_any_company() -> None:
    x, linear = numbers(6, 40, 576), Int8Linear(numbers(7, 192, 576))
    alone = torch.cat([linear(row) for row in x.split(1)])
    torch.testing.assert_close(linear(x), alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", ROWS)
def test_floating_point(rows: int, dtype: torch.dtype) -> None:
    x, weight, bias, residual = (
        numbers(seed, *size).to(dtype)
        for seed, size in enumerate([(rows, 96), (80, 96), (80,), (rows, 80)])
    )
    before = residual.clone()
    linear = float_linear(weight, bias)
    wanted = x.double() @ weight.double().t() + bias.double()
    tolerance = 40 * torch.finfo(dtype).eps
    torch.testing.assert_close(linear(x).double(), wanted, rtol=tolerance, atol=tolerance)
    found = linear.plus(x, residual).double()
    torch.testing.assert_close(found, wanted + residual.double(), rtol=tolerance, atol=tolerance)
    assert torch.equal(residual, before)


# --- the fused forward pass ---


@pytest.fixture(scope="module")
def passes() -> Dense:
    found = dense(cache_folder() / "kernels")
    if found is None or not quantised._can_pack():
        pytest.skip("there is no compiler, or the processor has no dot products of bytes")
    return found


def test_fused_layers_are_the_plain_ones(tiny_folder: Path, passes: Dense) -> None:
    """In any batch: prompts, single tokens, more and fewer rows than our own product takes."""
    files = resolve(str(tiny_folder))
    shape = load_shape(files)
    weights = load_weights(files, shape)
    plain = Model(shape, weights, "int8")
    quick = Model(shape, weights, "int8", dense=passes)
    assert plain._fused is None and quick._fused is not None
    rng = Random(4)
    for _ in range(5):
        contexts = Context(), Context()
        for counts in ((30, 1), (1, 1), (1, 2), (3, 40), (1, 1)):
            ids = [[rng.randrange(300) for _ in range(count)] for count in counts]
            wanted = run(plain, list(zip((c.fork() for c in contexts), ids, strict=True)))
            found = run(quick, list(zip(contexts, ids, strict=True)))
            # a number on the edge may be rounded the other way, and what follows moves with it
            assert torch.nn.functional.cosine_similarity(found, wanted).min() > 0.999


@pytest.mark.parametrize("change", [{"hidden": 40}, {"activation": "relu"}, {"is_gated": False}])
def test_other_shapes_are_not_fused(
    tiny_folder: Path, passes: Dense, change: dict[str, object]
) -> None:
    files = resolve(str(tiny_folder))
    shape = load_shape(files)
    model = Model(shape, load_weights(files, shape), "int8")
    parts = model._layers, model._norm, model._head, model._turns
    assert fused(shape, *parts, passes) is not None
    assert fused(replace(shape, **change), *parts, passes) is None  # type: ignore[arg-type]
    assert fused(shape, *parts[:3], None, passes) is None


@pytest.mark.model
def test_quality_on_a_real_text(embedded_files: ModelFiles, smollm: Tokenizer) -> None:
    """Negative log-likelihood a token, and how often the best next token stays the same."""
    ids = smollm.encode(SPEECH.read_text("utf-8"))[:600]
    shape = load_shape(embedded_files)
    weights = load_weights(embedded_files, shape)
    logs = {
        precision: run(Model(shape, weights, precision), [(Context(), ids)]).log_softmax(1)
        for precision in ("float32", "int8")
    }
    paged = Paged(embedded_files, "int8", cache_folder() / "kernels")  # with a pool in bfloat16
    logs["int8, as it runs"] = paged.logits((Tokens(None, ids), len(ids))).log_softmax(1)
    following = torch.tensor(ids[1:])
    loss = {
        precision: -rows[:-1].gather(1, following[:, None]).mean().item()
        for precision, rows in logs.items()
    }
    for precision in ("int8", "int8, as it runs"):
        same = logs["float32"].argmax(1) == logs[precision].argmax(1)
        agreement = same.double().mean().item()
        more = loss[precision] - loss["float32"]
        print(f"\n{precision}: {more:.4f} nats a token more, greedy agreement {agreement:.1%}")
        assert more < 0.06
        assert agreement > 0.8
