"""How probable each of several texts is, as the model's own continuation of a context.

Every option's tokens are filled below the context, all in one batch, and the probability of each
token is read off on the way. Where one option begins another (`yes`, `yes, but`), the shorter one
gets what is left of its probability after the longer ones: the chance that the text ends there.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from parrotc.runtime.engines.embedded.logprobs import log_probabilities, read
from parrotc.runtime.engines.protocol import Sampling, TokenLogprob

Ids = tuple[int, ...]

_ROWS = 64  # that become logits at a time: a hundred options make more than fits the caches


class Model(Protocol):
    def logits(self, hidden: Tensor) -> Tensor: ...


def probabilities(model: Model, options: Sequence[Ids], states: Sequence[Tensor]) -> list[float]:
    """Of each option, together 1. `states[n]` are the model's states `[tokens, hidden]` before
    each of the tokens of option n, and maybe some more."""
    rows = torch.cat([own[: len(ids)] for own, ids in zip(states, options, strict=True)])
    tokens = torch.tensor([token for ids in options for token in ids], dtype=torch.int64)
    parts = zip(torch.split(rows, _ROWS), torch.split(tokens, _ROWS), strict=True)
    logs = torch.cat([_log_p(model.logits(some), ids.to(some.device)) for some, ids in parts])
    lengths = [len(ids) for ids in options]
    totals = [float(own.sum()) for own in torch.split(logs, lengths)]
    top = max(totals)
    return _ending_there(options, [math.exp(total - top) for total in totals])


def logprobs(model: Model, ids: Ids, states: Tensor, count: int) -> tuple[TokenLogprob, ...]:
    """Of each token of the option that was taken, and the `count` best in each place."""
    said = log_probabilities(model.logits(states[: len(ids)]))
    tokens = torch.tensor(ids, dtype=torch.int64, device=said.device)
    return tuple(read(said, tokens, [count] * len(ids)))


def _log_p(logits: Tensor, tokens: Tensor) -> Tensor:
    """The logarithm of each row's probability of its token: float64 `[rows]`, on the CPU."""
    wide = logits.float() if logits.element_size() < 4 else logits
    chosen = wide.gather(1, tokens[:, None]).flatten()
    return (chosen - wide.logsumexp(1)).double().cpu()


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
