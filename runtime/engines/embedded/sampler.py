"""From logits to tokens, for all rows of a step at once.

    for row, drawn in zip(rows, draw_batch(logits, rows)): …

A draw depends on its key, its position and its own logits alone. Batching changes logits by
rounding errors, never the number that is drawn, so a sample is the same in every batch up to those
errors. Each part runs once for all rows that need it, and not at all where none does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from parrotc.ir.tokenhash import extend, start
from parrotc.runtime.engines.embedded.grammar import Matcher, allowed_tokens
from parrotc.runtime.engines.embedded.logprobs import log_probabilities, read
from parrotc.runtime.engines.embedded.nucleus import rows_of, take
from parrotc.runtime.engines.embedded.penalties import Penalties, penalize
from parrotc.runtime.engines.protocol import EngineError, Sampling, TokenLogprob

_COLDEST = 1e-6  # below this temperature the best token has all the probability there is


@dataclass(frozen=True, slots=True)
class Draw:
    """The token drawn for a row, with how probable it was when the row asks for that."""

    token: int
    logprob: TokenLogprob | None = None


class Row(Protocol):
    """What a draw needs to know of a generation."""

    @property
    def sampling(self) -> Sampling: ...

    @property
    def position(self) -> int:
        """How many tokens it has drawn before."""
        ...

    @property
    def matcher(self) -> Matcher | None: ...

    @property
    def penalties(self) -> Penalties | None: ...

    @property
    def banned(self) -> Sequence[int]:
        """Ids that may not be drawn now."""
        ...


def draw(key: int, position: int) -> float:
    """A number in [0, 1) for the token at `position` of the generation with this key."""
    return (extend(start(key), (position,)) >> 11) / (1 << 53)


def draw_batch(logits: Tensor, rows: Sequence[Row]) -> list[Draw | EngineError]:
    """The next token of each row, from its logits: `[rows, vocab]`, any float type and device.

    The logits are used up: what they hold afterwards means nothing. A row for which nothing can
    be drawn gets its error, and the others their tokens.
    """
    if not rows:
        return []
    asking = [n for n, row in enumerate(rows) if row.sampling.logprobs >= 0]
    log_p = log_probabilities(logits[asking]) if asking else None
    if not _is_plain(rows):
        logits = logits.float() if logits.element_size() < 4 else logits
        penalize(logits, [row.penalties for row in rows])
    failed = _restrict(logits, rows)
    tokens, are_sound = _choose(logits, rows)
    drawn: list[Draw | EngineError] = [
        Draw(token) if sound else EngineError("internal", "the model gave no usable numbers")
        for token, sound in zip(tokens.tolist(), are_sound.tolist(), strict=True)
    ]
    if log_p is not None:
        counts = [rows[n].sampling.logprobs for n in asking]
        for n, said in zip(asking, read(log_p, tokens[asking], counts), strict=True):
            drawn[n] = Draw(said.token, said) if isinstance(drawn[n], Draw) else drawn[n]
    for n, error in failed.items():
        drawn[n] = error
    return drawn


def _is_plain(rows: Sequence[Row]) -> bool:
    """Whether only the order of the logits counts, so that half precision is enough."""
    return all(row.sampling.temperature <= 0 and row.penalties is None for row in rows)


def _restrict(logits: Tensor, rows: Sequence[Row]) -> dict[int, EngineError]:
    """Give what may not be drawn now -inf. Gives the errors of rows whose grammar has failed."""
    free = [(n, token) for n, row in enumerate(rows) if not row.matcher for token in row.banned]
    inside = [(n, token) for n, token in free if 0 <= token < logits.shape[1]]
    if inside:
        at = torch.tensor(inside, device=logits.device)
        logits[at[:, 0], at[:, 1]] = float("-inf")
    bound = {n: row.matcher for n, row in enumerate(rows) if row.matcher is not None}
    if not bound:
        return {}
    banned = [rows[n].banned for n in bound]
    allowed, errors = allowed_tokens(list(bound.values()), logits.shape[1], banned)
    blocked = allowed.logical_not_().to(logits.device)
    for n, row in zip(bound, blocked, strict=True):  # in place: no copy of the other rows
        logits[n].masked_fill_(row, float("-inf"))
    return {n: error for n, error in zip(bound, errors, strict=True) if error is not None}


def _choose(logits: Tensor, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """The token of each row, and whether the numbers it comes from were numbers: `[rows]` both."""
    sampled = [n for n, row in enumerate(rows) if row.sampling.temperature > 0]
    tokens = logits.argmax(1)
    are_sound = logits.gather(1, tokens[:, None]).flatten().isfinite()
    if sampled:
        settings = [rows[n].sampling for n in sampled]
        at = torch.tensor(sampled, device=logits.device)
        heat = torch.tensor(
            [max(one.temperature, _COLDEST) for one in settings],
            dtype=logits.dtype,
            device=logits.device,
        )
        p = torch.softmax(rows_of(logits, at) / heat[:, None], dim=1)
        numbers = torch.tensor(
            [draw(rows[n].sampling.key, rows[n].position) for n in sampled],
            dtype=torch.float64,
            device=logits.device,
        )
        tokens[at] = take(p, numbers, settings)
        are_sound[at] = p.gather(1, tokens[at][:, None]).flatten() > 0
    return tokens, are_sound
