"""Carries out a plan: one forward pass over a flat list of tokens, whoever they belong to.

    states = runner.run(plan)          [tokens, hidden], the slices in order
    logits = runner.logits(states[rows])

Where each token's keys and values go, and who reads what, is worked out once a step; a layer then
is one write and one attention.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from parrotc.kernels import attention
from parrotc.kernels.dense import dense
from parrotc.kernels.native import native, supports
from parrotc.kernels.worklist import Gate, Reader, WorkList, plan_work
from parrotc.runtime.engines.embedded.model import Model, Step
from parrotc.runtime.engines.embedded.pages import Pages, Write, write
from parrotc.runtime.engines.embedded.planner import Limits, Plan, Slice

Attend = Callable[[Tensor, Tensor, Tensor, WorkList], Tensor]


@dataclass(frozen=True, slots=True)
class Attention:
    """One of the implementations in `kernels`, the type of the pools that it reads, and what
    writes them."""

    attend: Attend
    pool: torch.dtype
    write: Write = write


def attention_for(model: Model, folder: Path | None = None) -> Attention:
    """The best implementation for a model on its device; one that is compiled is kept in `folder`,
    and without a folder there is none.

    A model in int8 has its keys and values in bfloat16 where they can be read so. On SmolLM2-135M
    that costs 0.01 nats a token, half of what the weights in int8 do.

    Raises `ImportError` where the kernels of a device need what is not installed.
    """
    if model.device.type != "cpu":
        from parrotc.kernels import triton_attention

        return Attention(triton_attention.attend, model.dtype)
    compiled = passes = None
    if folder is not None and supports(model.shape.head_dim, model.dtype):
        group = model.shape.heads // model.shape.kv_heads
        compiled, passes = native(folder, group), dense(folder)
    if compiled is None or passes is None:
        return Attention(attention.attend, model.dtype)
    pool = torch.bfloat16 if model.precision == "int8" else model.dtype
    return Attention(compiled, pool, passes.scatter)


class Runner:
    """A model and its pages. `gate` decides what attention reads once for several."""

    def __init__(
        self, model: Model, limits: Limits, attention: Attention, gate: Gate | None = None
    ) -> None:
        shape = model.shape
        self.gate = gate or Gate.always()
        self._model = model
        self._attend = attention.attend
        self.pages = Pages(
            layers=shape.layers,
            blocks=limits.blocks,
            block=limits.block_size,
            kv_heads=shape.kv_heads,
            dim=shape.head_dim,
            dtype=attention.pool,
            write=attention.write,
            device=model.device,
        )

    def run(self, plan: Plan) -> Tensor:
        """The model's state after every token of the plan, `[tokens, hidden]`."""
        tokens = Tokens(plan, self.pages.block)
        readers = [Reader(s.job.sequence.table, s.before, s.count) for s in plan.slices]
        work = plan_work(readers, self.pages.block, self.gate)
        slots = self._indices(tokens.slots)
        rows = self._indices(tokens.rows) if len(tokens.rows) > len(tokens.ids) else None

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            if rows is not None:
                keys, values = keys[rows], values[rows]
            self.pages.write(layer, slots, keys, values)
            return self._attend(queries, self.pages.keys[layer], self.pages.values[layer], work)

        self.pages.copy(tokens.copies)
        positions = self._indices(work.positions)
        return self._model.forward(Step(self._indices(tokens.ids), positions, attend))

    def logits(self, states: Tensor) -> Tensor:
        """`[rows, vocab]`, from states `[rows, hidden]`."""
        return self._model.logits(states)

    def _indices(self, numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int64, device=self.pages.device)


class Tokens:
    """The tokens of a step: the keys and values of token `rows[i]` go to `slots[i]`.

    A sequence that goes on from the middle of a block has a copy of that block. Where some of the
    block is computed in this very step, copying must not wait for that: the tokens are written to
    the copy as well, and `copies` bring what was there before.
    """

    def __init__(self, plan: Plan, block: int) -> None:
        self.ids: list[int] = []
        self.rows: list[int] = []
        self.slots: list[int] = []
        self._block = block
        self._source = {target: source for source, target in plan.copies}
        self._written: dict[int, list[int]] = {}  # block → rows, each at the offset of its position
        self.copies = self._first_sources(plan)
        self._positions: list[int] = []
        late: list[tuple[int, int]] = []
        for slice in plan.slices:
            late += self._inherited(slice)
            self._add(slice)
        self.rows += [row for row, _ in late]
        self.slots += [slot for _, slot in late]

    def _first_sources(self, plan: Plan) -> list[tuple[int, int]]:
        """A copy of a copy is one of the first source, since all are made at the same time."""
        first: dict[int, int] = {}
        for source, target in plan.copies:
            first[target] = first.get(source, source)
        return [(source, target) for target, source in first.items()]

    def _inherited(self, slice: Slice) -> list[tuple[int, int]]:
        """Rows of this step that a slice finds in the block it begins in, and their slots there."""
        target = slice.job.sequence.table[slice.before // self._block]
        source = self._source.get(target)
        if source is None or not slice.before % self._block:
            return []
        rows = self._written.get(source, [])
        self._written[target] = list(rows)
        return [(row, target * self._block + self._positions[row] % self._block) for row in rows]

    def _add(self, slice: Slice) -> None:
        table, size = slice.job.sequence.table, self._block
        first, last = slice.before, slice.before + slice.count
        start = len(self.ids)
        self.ids += slice.job.sequence.tokens(first, last)
        self.rows += range(start, start + slice.count)
        self.slots += [table[at // size] * size + at % size for at in range(first, last)]
        self._positions += range(first, last)
        tail = min(slice.count, last % size)  # tokens in a block that is not full
        if tail:
            mine = self._written.setdefault(table[last // size], [])
            mine += range(start + slice.count - tail, start + slice.count)
