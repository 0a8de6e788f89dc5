"""From a row of logits to a token. A draw depends on its key, its position and the logits alone.

Batching changes logits by rounding errors, never the number that is drawn, so a sample is the same
in every batch up to those errors.
"""

import torch
from torch import Tensor

from parrotc.ir.tokenhash import extend, start
from parrotc.runtime.engines.protocol import Sampling

_HEAD = 1024  # tokens that are sorted first: nearly always all the mass that top_p asks for


def draw(key: int, position: int) -> float:
    """A number in [0, 1) for the token at `position` of the generation with this key."""
    return (extend(start(key), (position,)) >> 11) / (1 << 53)


def choose(logits: Tensor, sampling: Sampling, position: int) -> int:
    """The token that `sampling` takes from `logits` [vocab].

    The limits apply in this order, each to what is left: temperature, min_p, top_k, top_p.
    """
    if sampling.temperature <= 0:
        return int(logits.argmax())
    number = draw(sampling.key, position)
    p = torch.softmax(logits / sampling.temperature, dim=0)
    if sampling.min_p > 0:
        p = p.where(p >= sampling.min_p * p.max(), 0.0)
    if sampling.top_k <= 0 and sampling.top_p >= 1:
        return _pick(p, number)
    best, tokens = _best(p, sampling)
    return int(tokens[_pick(best, number)])


def _best(p: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """The most probable tokens, best first, as far as top_k and top_p go."""
    if sampling.top_k > 0:
        best, tokens = torch.topk(p, min(sampling.top_k, len(p)))
        mass = best.sum()
    else:
        best, tokens = torch.topk(p, min(_HEAD, len(p)))
        mass = p.sum()
        if best.sum() < sampling.top_p * mass:
            best, tokens = torch.sort(p, descending=True)
    before = best.cumsum(0) - best
    return best.where(before < sampling.top_p * mass, 0.0), tokens


def _pick(p: Tensor, number: float) -> int:
    """The index whose share of the total holds `number`. Shares of 0 are never picked."""
    sums = p.cumsum(0, dtype=torch.float64)
    at = int(torch.searchsorted(sums, number * sums[-1], right=True))
    return at if at < len(p) else int(p.argmax())  # only where `number` rounds up to the total
