"""The captured decode step says what the eager one says, whatever is replayed after what.

Without a GPU a capture is played: a replay computes once more from the buffers, and nothing else.
"""

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="triton is not installed")

from parrotc.kernels import attention  # noqa: E402
from parrotc.runtime.engines.embedded.cudagraph import (  # noqa: E402
    Capture,
    GraphRunner,
    cuda_capture,
)
from parrotc.runtime.engines.embedded.model import Model  # noqa: E402
from parrotc.runtime.engines.embedded.planner import Limits  # noqa: E402
from parrotc.runtime.engines.embedded.rotary import Rotary, plain  # noqa: E402
from parrotc.runtime.engines.embedded.runner import (  # noqa: E402
    Attention,
    Runner,
    attention_for,
)
from parrotc.runtime.engines.embedded.scheduler import Scheduler  # noqa: E402
from parrotc.runtime.engines.embedded.shape import Shape  # noqa: E402
from parrotc.runtime.engines.embedded.weights import tensor_shapes  # noqa: E402
from parrotc.runtime.engines.protocol import (  # noqa: E402
    FillRequest,
    Finished,
    GenerateRequest,
    Sampling,
)
from parrotc.runtime.tokenizer import ByteTokenizer  # noqa: E402

CUDA = torch.cuda.is_available()
TOKENIZER = ByteTokenizer()
SHAPE = Shape(
    layers=2, hidden=32, inner=48, heads=4, kv_heads=2, head_dim=16, vocab=TOKENIZER.vocab_size,
    epsilon=1e-5, context_length=200, rotary=Rotary(plain(10000.0, 16)), is_tied=True,
)  # fmt: skip
LIMITS = Limits(max_total_tokens=640, block_size=16, max_batch_size=16)
# prompt and output lengths, so that generations end at different times and pass ends of blocks
TALKS = ((3, 4), (15, 9), (30, 20), (7, 12), (16, 3), (1, 25))


def model() -> Model:
    made = torch.Generator().manual_seed(1)
    weights = {
        name: torch.randn(size, generator=made) * (3.0 if len(size) == 1 else 0.3)
        for name, size in tensor_shapes(SHAPE).items()
    }
    return Model(SHAPE, weights, "float32", "cuda" if CUDA else "cpu")


def played(work: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """Like a graph it always writes its result to the same place."""
    out = work().clone()

    def replay() -> torch.Tensor:
        return out.copy_(work())

    return replay


def graphs(capture: Capture = cuda_capture if CUDA else played) -> GraphRunner:
    one = model()
    eager = attention_for(one) if CUDA else Attention(attention.attend, one.dtype)
    return GraphRunner(one, LIMITS, eager, capture)


@torch.inference_mode()
def said(runner: Runner) -> list[tuple[int, ...]]:
    """What the generations say that begin in turn, below a common beginning."""
    scheduler = Scheduler(runner, TOKENIZER, LIMITS, SHAPE.context_length)  # type: ignore[arg-type]
    ends: dict[int, list[object]] = {}
    scheduler.fill([FillRequest(0, None, tuple(range(40, 60)))], lambda error: None)
    for n, (length, count) in enumerate(TALKS, 1):
        scheduler.fill([FillRequest(n, 0, tuple(range(n, n + length)))], lambda error: None)
        sampling = Sampling(max_tokens=count, ignore_eos=True)
        scheduler.generate(GenerateRequest(100 + n, n, sampling), ends.setdefault(n, []).append)
        for _ in range(2):
            scheduler.iterate()
    while scheduler.has_work:
        scheduler.iterate()
    found = [items[-1] for items in ends.values()]
    assert all(isinstance(item, Finished) for item in found), found
    return [item.ids for item in found if isinstance(item, Finished)]


def alone(runner: Runner) -> list[tuple[int, ...]]:
    """One generation after the other, the later ones below much longer prompts."""
    scheduler = Scheduler(runner, TOKENIZER, LIMITS, SHAPE.context_length)  # type: ignore[arg-type]
    found: list[tuple[int, ...]] = []

    def post(item: object) -> None:
        if isinstance(item, Finished):
            found.append(item.ids)

    with torch.inference_mode():
        for n, length in enumerate((3, 20, 90, 170), 1):
            scheduler.fill([FillRequest(n, None, tuple(range(length)))], lambda error: None)
            sampling = Sampling(max_tokens=5, ignore_eos=True)
            scheduler.generate(GenerateRequest(100 + n, n, sampling), post)
            while scheduler.has_work:
                scheduler.iterate()
    return found


def eager() -> list[tuple[int, ...]]:
    one = model()
    return said(Runner(one, LIMITS, attention_for(one)))


def test_replays_say_what_eager_steps_say() -> None:
    runner = graphs()
    assert said(runner) == eager()
    assert not runner.refused
    assert runner.replayed > 15 and runner.captured < runner.replayed / 2


def test_a_step_that_has_outgrown_its_buffers_gets_larger_ones() -> None:
    runner, one = graphs(), model()
    found = alone(runner)
    assert len(found) == 4 and found == alone(Runner(one, LIMITS, attention_for(one)))
    assert not runner.refused and runner.captured > 1


def test_what_cannot_be_captured_runs_all_the_same() -> None:
    def refusing(work: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing")

    runner = graphs(refusing)
    assert said(runner) == eager()
    assert "not permitted" in runner.refused and runner.replayed == runner.captured == 0


def test_a_replay_leaves_what_was_given_before() -> None:
    """States outlive the step that gave them: the next one must not write over them."""
    runner = graphs()
    states: list[tuple[torch.Tensor, torch.Tensor]] = []
    run = runner.run

    def kept(plan):
        out = run(plan)
        states.append((out, out.clone()))
        return out

    runner.run = kept  # type: ignore[method-assign]
    said(runner)
    assert all(torch.equal(now, then) for now, then in states)
