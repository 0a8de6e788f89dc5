"""Random choice from rows of probabilities: which tokens stay, and which of them a number takes.

The tokens that stay are lined up by id, each with a stretch as long as its probability, and a
number from 0 to 1 points into one of them. Equally probable tokens stay or go together. So a
choice follows from its own row alone, whatever order a sort leaves equal values in.

    p = [0.5, 0.3, 0.1, 0.1], top_p = 0.7     stay: 0, 1; a number below 5/8 takes token 0
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from parrotc.runtime.engines.protocol import Sampling

_HEADS = (64, 512, 4096)  # how many of the best tokens are looked at: more where that is too few
_STRETCH = 128  # tokens that are summed up before a number is looked up among them


def take(p: Tensor, numbers: Tensor, limits: Sequence[Sampling]) -> Tensor:
    """The token of each row, int64 `[rows]`.

    `p` is `[rows, vocab]`, float32 or float64, and `numbers` is `[rows]`, float64 in [0, 1). Of
    the limits, min_p comes first, then top_k, then top_p, each of what is left; the most probable
    token always stays. A token of probability 0 is never taken.
    """
    vocab = p.shape[1]
    tokens = torch.zeros(len(p), dtype=torch.int64, device=p.device)
    free = [row for row, one in enumerate(limits) if not _limits(one)]
    if free:
        at = torch.tensor(free, device=p.device)
        tokens[at] = _take_any(rows_of(p, at), numbers[at])
    left = [row for row, one in enumerate(limits) if _limits(one)]
    for width in (*_HEADS, vocab):
        if not left:
            break
        at = torch.tensor(left, device=p.device)
        head = rows_of(p, at).topk(min(width, vocab))
        kept, is_whole = _kept(head.values, [limits[row] for row in left], vocab)
        tokens[at] = _take_from(head.values.where(kept, 0.0), head.indices, numbers[at])
        left = [row for row, whole in zip(left, is_whole.tolist(), strict=True) if not whole]
    return tokens


def rows_of(rows: Tensor, at: Tensor) -> Tensor:
    """The rows numbered by `at`, which ascends; without a copy where that is all of them."""
    return rows if len(at) == len(rows) else rows[at]


def _limits(sampling: Sampling) -> bool:
    return sampling.top_p < 1 or sampling.top_k > 0 or sampling.min_p > 0


def _kept(best: Tensor, limits: Sequence[Sampling], vocab: int) -> tuple[Tensor, Tensor]:
    """Which of the `best` of each row `[rows, width]`, best first, stay, and for which rows that
    is all that stays: for the others the limits reach beyond what is here."""
    width = best.shape[1]
    min_p = _column([one.min_p for one in limits], best)
    top_p = _column([one.top_p for one in limits], best)
    top_k = _column([one.top_k or vocab for one in limits], best).long()

    kept = (best > 0) & (best >= min_p.to(best.dtype) * best[:, :1])
    kth = best.gather(1, top_k.clamp(max=width) - 1)
    kept &= (best >= kth) | (top_k > width)
    is_cut = (min_p > 0) | (top_k < vocab)
    is_open = is_cut & kept[:, -1:]  # so the mass that is left is not known yet

    weights = best.double().where(kept, 0.0)
    sums = weights.cumsum(1)
    mass = sums[:, -1:].where(is_cut, 1.0)
    inside = kept & ((sums - weights < top_p * mass) | (top_p >= 1))
    last = inside.sum(1, keepdim=True).clamp(min=1) - 1
    kept &= best >= best.gather(1, last)
    return kept, ~(kept[:, -1:] | is_open).flatten() | (width == vocab)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)[:, None]


def _take_from(weights: Tensor, tokens: Tensor, numbers: Tensor) -> Tensor:
    """The token of each row: `weights` and `tokens` are `[rows, width]`, in any order."""
    order = tokens.argsort(1)
    sums = weights.gather(1, order).cumsum(1, dtype=torch.float64)
    at = _find(sums, numbers[:, None] * sums[:, -1:])
    return tokens.gather(1, order.gather(1, at)).flatten()


def _take_any(p: Tensor, numbers: Tensor) -> Tensor:
    """The token of each row when all stay: first its stretch, then its place in that.

    One long sum over the vocabulary would cost five times as much.
    """
    vocab = p.shape[1]
    count = vocab // _STRETCH
    stretches = p[:, : count * _STRETCH].view(len(p), count, _STRETCH).sum(2, dtype=torch.float64)
    tail = p[:, count * _STRETCH :].sum(1, keepdim=True, dtype=torch.float64)
    sums = torch.cat([stretches, tail], dim=1).cumsum(1)
    target = numbers[:, None] * sums[:, -1:]
    stretch = _find(sums, target)
    before = sums.gather(1, (stretch - 1).clamp(min=0)).where(stretch > 0, 0.0)

    tokens = stretch * _STRETCH + torch.arange(_STRETCH, device=p.device)
    inside = p.gather(1, tokens.clamp(max=vocab - 1)).where(tokens < vocab, 0.0)
    at = _find(inside.cumsum(1, dtype=torch.float64), target - before)
    return tokens.gather(1, at).clamp(max=vocab - 1).flatten()


def _find(sums: Tensor, target: Tensor) -> Tensor:
    """The place `[rows, 1]` in each row of running `sums` whose stretch holds the target.

    Rounding may put the target at the very end: then it is the last place that has a stretch.
    Rows that are not numbers give some place that exists.
    """
    at = torch.searchsorted(sums, target, right=True)
    last = torch.searchsorted(sums, sums[:, -1:].contiguous())
    return torch.minimum(at, last).clamp(max=sums.shape[1] - 1)
