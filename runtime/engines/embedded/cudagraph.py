"""The decode step as a CUDA graph: one launch for a step instead of hundreds.

    runner = GraphRunner(model, limits, attention_for(model), cuda_capture)
    states = runner.run(plan)       # a replay, where every sequence gets one token; else eager

What changes from step to step is in buffers whose addresses stay: tokens, positions, the places of
keys and values, and the schedule of attention with its number of tasks. A graph is captured for a
number of tokens, rounded up, and for buffers with room to spare; a step that does not fit them gets
new ones, twice as large. Rows behind the last token are computed and mean nothing: their keys are
stored nowhere, and attention leaves them alone.

Nothing depends on graphs. Where a step cannot be captured the engine goes on without, and says so
in `GraphRunner.refused`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from parrotc.kernels.schedule import Schedule, Tiles, schedule
from parrotc.kernels.triton_attention import Buffers, Size, launch, programs_of
from parrotc.kernels.triton_ops import write_kv
from parrotc.kernels.worklist import Reader, plan_work
from parrotc.runtime.engines.embedded.model import Model, Step
from parrotc.runtime.engines.embedded.planner import Limits, Plan
from parrotc.runtime.engines.embedded.runner import Attention, Runner, Tokens

Replay = Callable[[], Tensor]
Capture = Callable[[Replay], Replay]  # the second does what the first did, on the same buffers

_WIDEST = 256  # tokens: beyond it a step is long enough to hide its launches


class GraphRunner(Runner):
    """`captured` counts graphs, `replayed` the steps that were one launch. `refused` says why a
    step could not be captured; after that none is."""

    def __init__(
        self, model: Model, limits: Limits, attention: Attention, capture: Capture
    ) -> None:
        super().__init__(model, limits, attention)
        self.captured = self.replayed = 0
        self.refused = ""
        self._capture = capture
        self._steps: dict[int, _Decode] = {}  # by the number of tokens there is room for

    def run(self, plan: Plan) -> Tensor:
        tokens = Tokens(plan, self.pages.block)
        if not self._is_decode(plan, tokens):
            return super().run(plan)
        readers = [Reader(s.job.sequence.table, s.before, s.count) for s in plan.slices]
        shape = self._model.shape
        work = plan_work(readers, self.pages.block, self.gate)
        tasks = schedule(
            work,
            shape.heads // shape.kv_heads,
            shape.kv_heads,
            Tiles(),
            programs_of(self.pages.device),
        )
        self.pages.copy(tokens.copies)
        try:
            step = self._step(tokens, tasks)
        except RuntimeError as error:
            self.refused = f"{type(error).__name__}: {error}"
            return super().run(plan)
        self.replayed += 1
        return step.replay()[: len(tokens.ids)].clone()  # the next replay writes there again

    def _is_decode(self, plan: Plan, tokens: Tokens) -> bool:
        """Whether each sequence gets one token, and none reads what another writes in the step."""
        return (
            not self.refused and len(tokens.rows) == len(tokens.ids) == len(plan.slices) <= _WIDEST
        )

    def _step(self, tokens: Tokens, tasks: Schedule) -> "_Decode":
        """The captured step with the tokens of this one in its buffers."""
        width = _rounded(len(tokens.ids))
        step = self._steps.get(width)
        if step is None or not step.fits(tasks):
            step = _Decode(self._model, self, width, tasks)
            step.load(tokens, tasks)
            step.replay = self._capture(step.compute)
            self._steps[width] = step
            self.captured += 1
        else:
            step.load(tokens, tasks)
        return step


class _Decode:
    """One step of `width` tokens or less, on buffers of its own."""

    replay: Replay

    def __init__(self, model: Model, runner: Runner, width: int, tasks: Schedule) -> None:
        device, shape = model.device, model.shape
        self._model, self._pages = model, runner.pages
        self._size = _roomy(Size.of(tasks), width)
        self._buffers = Buffers(self._size, shape.heads, shape.head_dim, device)
        self._ids = torch.zeros(width, dtype=torch.int64, device=device)
        self._positions = torch.zeros_like(self._ids)
        self._slots = torch.zeros_like(self._ids)
        self._found = torch.zeros(
            width, shape.heads, shape.head_dim, dtype=model.dtype, device=device
        )

    def fits(self, tasks: Schedule) -> bool:
        needed = Size.of(tasks)
        return all(
            getattr(needed, one.name) <= getattr(self._size, one.name) for one in fields(Size)
        )

    def load(self, tokens: Tokens, tasks: Schedule) -> None:
        """Put a step into the buffers. Rows without a token are token 0 at position 0, and their
        keys and values go nowhere."""
        count = len(tokens.ids)
        self._buffers.load(tasks)
        for buffer, numbers, rest in (
            (self._ids, tokens.ids, 0),
            (self._positions, tasks.positions.tolist(), 0),
            (self._slots, tokens.slots, -1),
        ):
            buffer[count:].fill_(rest)
            buffer[:count].copy_(torch.tensor(numbers, dtype=torch.int64), non_blocking=True)

    def compute(self) -> Tensor:
        """The states after all rows, `[width, hidden]`."""
        return self._model.forward(Step(self._ids, self._positions, self._attend))

    def _attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        pages = self._pages
        write_kv(pages.keys[layer], pages.values[layer], keys, values, self._slots)
        return launch(queries, pages.keys[layer], pages.values[layer], self._buffers, self._found)


@dataclass(frozen=True, slots=True)
class _Graph:
    """A captured graph with what it writes its result to."""

    graph: torch.cuda.CUDAGraph
    out: Tensor

    def replay(self) -> Tensor:
        self.graph.replay()
        return self.out


def cuda_capture(work: Replay) -> Replay:
    """Capture `work` on the current device, after a few runs that compile its kernels and choose
    its matrix products. Raises `RuntimeError` for what cannot be captured."""
    side: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # others may use the device
        out = work()
    return _Graph(graph, out).replay


def _rounded(tokens: int) -> int:
    """1, 2, 4, then multiples of 8: few graphs, and few rows in vain."""
    return -(-tokens // 8) * 8 if tokens > 4 else 1 << (tokens - 1).bit_length()


def _roomy(size: Size, width: int) -> Size:
    """Twice the room, so that sequences may grow for a while. Tokens are `width`."""
    doubled = {one.name: 2 * getattr(size, one.name) for one in fields(Size)}
    return Size(**(doubled | {"tokens": width}))
