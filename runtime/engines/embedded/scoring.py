"""How probable each of several texts is, as the model's own continuation of a context.

Every option's tokens are filled below the context, all in one batch, and the probability of each
token is read off on the way. Where one option begins another (`yes`, `yes, but`), the shorter one
gets what is left of its probability after the longer ones: the chance that the text ends there.
"""

import math
from collections.abc import Sequence

import torch

from parrotc.runtime.engines.embedded.kv import Node
from parrotc.runtime.engines.embedded.model import Llama
from parrotc.runtime.engines.protocol import Sampling

Ids = tuple[int, ...]


def probabilities(
    model: Llama, hidden: torch.Tensor, options: Sequence[Ids], nodes: Sequence[Node]
) -> list[float]:
    """Of each option, together 1. `hidden` is the state before it, and `nodes` are contexts of all
    its tokens but the last, with their states."""
    states = [torch.stack([hidden, *(node.states or ())]) for node in nodes]
    logits = model.logits(torch.cat(states))
    logs = torch.split(torch.log_softmax(logits.double(), dim=1), [len(one) for one in states])
    totals = [
        float(rows[torch.arange(len(ids)), list(ids)].sum()) if ids else 0.0
        for ids, rows in zip(options, logs, strict=True)
    ]
    top = max(totals)
    return _ending_there(options, [math.exp(total - top) for total in totals])


def _ending_there(options: Sequence[Ids], mass: Sequence[float]) -> list[float]:
    """The probability of each option without that of the longer ones that it begins."""
    left = list(mass)
    for longer, ids in enumerate(options):
        begins = [
            n for n, one in enumerate(options) if len(one) < len(ids) and ids[: len(one)] == one
        ]
        if begins:
            left[max(begins, key=lambda n: len(options[n]))] -= mass[longer]
    left = [max(0.0, share) for share in left]
    return [share / sum(left) for share in left]


def pick(p: Sequence[float], sampling: Sampling, number: float) -> int:
    """The index of the option taken: the best at temperature 0, else drawn by `number`."""
    if sampling.temperature <= 0:
        return max(range(len(p)), key=lambda n: p[n])
    weights = torch.tensor(p, dtype=torch.float64) ** (1 / sampling.temperature)
    sums = weights.cumsum(0)
    at = int(torch.searchsorted(sums, number * sums[-1], right=True))
    return min(at, len(p) - 1)
