"""How probable tokens were, as the model itself says: natural logarithms, at temperature 1."""

from collections.abc import Sequence

import torch
from torch import Tensor

from parrotc.runtime.engines.protocol import TokenLogprob


def log_probabilities(logits: Tensor) -> Tensor:
    """Of every token of every row, `[rows, vocab]`, float32 or what is wider."""
    wide = logits.float() if logits.element_size() < 4 else logits
    return torch.log_softmax(wide, dim=1)


def read(log_p: Tensor, tokens: Tensor, counts: Sequence[int]) -> list[TokenLogprob]:
    """For each row its token `[rows]`, and its `counts` most probable ones."""
    chosen = log_p.gather(1, tokens[:, None]).flatten().tolist()
    best = _best(log_p, counts)
    return [
        TokenLogprob(token, log, best[row])
        for row, (token, log) in enumerate(zip(tokens.tolist(), chosen, strict=True))
    ]


def _best(log_p: Tensor, counts: Sequence[int]) -> list[tuple[tuple[int, float], ...]]:
    """Rows that want equally many go together: a row with more would change the order of equal
    values in the others."""
    found: list[tuple[tuple[int, float], ...]] = [()] * len(counts)
    for count in set(counts) - {0}:
        rows = [row for row, wanted in enumerate(counts) if wanted == count]
        top = log_p[rows].topk(min(count, log_p.shape[1]))
        for row, ids, logs in zip(rows, top.indices.tolist(), top.values.tolist(), strict=True):
            found[row] = tuple(zip(ids, logs, strict=True))
    return found
