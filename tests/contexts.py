"""To drive a model by hand: with contexts kept in the plainest way, and with pages."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from parrotc.kernels.dense import dense
from parrotc.runtime.engines.embedded.contexts import Sequence as Tokens
from parrotc.runtime.engines.embedded.jobs import Job
from parrotc.runtime.engines.embedded.memory import Memory
from parrotc.runtime.engines.embedded.model import Model, Step
from parrotc.runtime.engines.embedded.planner import Limits, Plan, Slice
from parrotc.runtime.engines.embedded.runner import Runner, attention_for
from parrotc.runtime.engines.embedded.shape import load_shape
from parrotc.runtime.engines.embedded.weights import load_weights
from parrotc.runtime.models import ModelFiles


class Context:
    """The tokens of one sequence, and by layer all their keys and values so far."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.keys: dict[int, Tensor] = {}  # [tokens, kv_heads, dim]
        self.values: dict[int, Tensor] = {}

    def fork(self) -> "Context":
        twin = Context()
        twin.ids, twin.keys, twin.values = list(self.ids), dict(self.keys), dict(self.values)
        return twin

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """What the last tokens find, `[tokens, heads, dim]`, once theirs are added."""
        self.keys[layer] = keys = torch.cat([self.keys.get(layer, keys[:0]), keys])
        self.values[layer] = values = torch.cat([self.values.get(layer, values[:0]), values])
        group = queries.shape[1] // keys.shape[1]
        keys, values = (x.repeat_interleave(group, dim=1).double() for x in (keys, values))
        scores = torch.einsum("qhd,khd->hqk", queries.double(), keys) / math.sqrt(keys.shape[2])
        later = torch.ones_like(scores[0], dtype=torch.bool).triu(len(keys) - len(queries) + 1)
        shares = scores.masked_fill(later, -math.inf).softmax(-1)
        return torch.einsum("hqk,khd->qhd", shares, values).to(queries.dtype)


def run(model: Model, parts: Sequence[tuple[Context, Sequence[int]]]) -> Tensor:
    """The logits of one step in which each context grows by some tokens."""
    counts = [len(ids) for _, ids in parts]
    ids = [token for _, new in parts for token in new]
    positions = [len(context.ids) + i for context, new in parts for i in range(len(new))]

    def attend(layer: int, *rows: Tensor) -> Tensor:
        split = zip(*(torch.split(row, counts) for row in rows), strict=True)
        return torch.cat(
            [context.attend(layer, *own) for (context, _), own in zip(parts, split, strict=True)]
        )

    with torch.inference_mode():
        numbers = torch.tensor([ids, positions], device=model.device)
        step = Step(numbers[0], numbers[1], attend)
        logits = model.logits(model.forward(step))
    for context, new in parts:
        context.ids += new
    return logits


class Paged:
    """A model with its memory, driven by hand. `kernels`: where those that are compiled are kept,
    without it there are none."""

    def __init__(self, files: ModelFiles, precision: str, kernels: Path | None = None) -> None:
        shape = load_shape(files)
        limits = Limits(max_total_tokens=4096, block_size=4)
        passes = dense(kernels) if kernels else None
        self.model = Model(shape, load_weights(files, shape), precision, dense=passes)
        self.memory = Memory(limits.blocks, limits.block_size)
        self.runner = Runner(self.model, limits, attention_for(self.model, kernels))

    def logits(self, *work: tuple[Tokens, int]) -> Tensor:
        """Run one step, which computes so many more tokens of each sequence."""
        plan = Plan()
        self.memory.copies = plan.copies
        for sequence, count in work:
            if not sequence.computed:
                self.memory.share(sequence, sequence.end)
            assert self.memory.reserve(sequence, sequence.computed + count)
            plan.slices.append(Slice(Job(sequence, (False, 0.0, 0)), sequence.computed, count))
            self.memory.advance(sequence, count)
        with torch.inference_mode():
            found = self.model.logits(self.runner.run(plan))
        self.memory.confirm()
        return found
