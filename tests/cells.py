"""A runner to look into: what its model says is a hash of the tokens found in the blocks."""

from collections.abc import Callable
from functools import reduce
from random import Random

import torch

from parrotc.runtime.engines.embedded.planner import Limits, Plan
from parrotc.runtime.engines.embedded.runner import Tokens

_VOCAB = 500


def after(state: int, token: int) -> int:
    return (state * 31 + token + 1) % 1_000_003


def said(ids: tuple[int, ...], count: int) -> tuple[int, ...]:
    """What the model below says after `ids`."""
    state, tokens = reduce(after, ids, 0), []
    for _ in range(count):
        tokens.append(10 + state % 300)
        state = after(state, tokens[-1])
    return tuple(tokens)


class Cells:
    """A runner whose next token is a hash of the tokens it finds in the sequence's blocks.

    It reads every one back through the table, as attention would. So a wrong block, a lost token or
    a block that was given away too early shows up as another text.
    """

    def __init__(self, limits: Limits) -> None:
        self.block = limits.block_size
        self.cells = [-1] * (limits.blocks * self.block)
        self.plans: list[list[tuple[type, int]]] = []
        self.fault: Callable[[Plan], None] = lambda plan: None

    @property
    def computed(self) -> int:
        """The tokens of all steps together."""
        return sum(count for plan in self.plans for _, count in plan)

    def run(self, plan: Plan) -> torch.Tensor:
        self.plans.append([(type(one.job), one.count) for one in plan.slices])
        self.fault(plan)
        tokens, size = Tokens(plan, self.block), self.block
        before = list(self.cells)
        for source, target in tokens.copies:
            self.cells[target * size : target * size + size] = before[source * size :][:size]
        assert len(set(tokens.slots)) == len(tokens.slots), "two tokens go to the same place"
        for row, slot in zip(tokens.rows, tokens.slots, strict=True):
            self.cells[slot] = tokens.ids[row]
        states = []
        for one in plan.slices:
            table, state = one.job.sequence.table, 0
            for position in range(one.before + one.count):
                state = after(state, self.cells[table[position // size] * size + position % size])
                if position >= one.before:
                    states.append([float(state)])
        return torch.tensor(states, dtype=torch.float64)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """The best token is that of `said`; the others differ, so that options have scores."""
        best = 10 + states.long() % 300
        vocab = torch.arange(_VOCAB)[None]
        return ((vocab * states.long()) % 7 / 7.0).double() + 2.0 * (vocab == best)


def prompt(seed: int, length: int) -> tuple[int, ...]:
    rng = Random(seed)
    return tuple(rng.randrange(300) for _ in range(length))
