"""Penalties on tokens that were there before, for all rows of a step at once.

    penalties = Penalties(sampling, prompt, room)     # only where `sampling.has_penalties`
    penalize(logits, [penalties, None, …])
    penalties.push(token)

What they mean is said at `Sampling`. A row keeps the ids it has seen, each once, in a tensor: so a
step joins a few tensors, and no Python touches a prompt's tokens again.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from parrotc.runtime.engines.protocol import Sampling


class Penalties:
    """The tokens of one generation: each id once, with how often it is in the output.

    `prompt` are all tokens before the generation, from the start of its context (only the
    repetition penalty looks at them), and `room` is how many tokens it may have at most.
    """

    def __init__(self, sampling: Sampling, prompt: Iterable[int], room: int) -> None:
        self.sampling = sampling
        self._slots = {token: n for n, token in enumerate(dict.fromkeys(prompt))}
        self._ids = torch.zeros(len(self._slots) + room, dtype=torch.int64)
        self._counts = torch.zeros(len(self._ids))
        self._ids[: len(self._slots)] = torch.tensor(list(self._slots), dtype=torch.int64)

    def push(self, token: int) -> None:
        """One more token of the output."""
        slot = self._slots.setdefault(token, len(self._slots))
        self._ids[slot] = token
        self._counts[slot] += 1

    @property
    def ids(self) -> Tensor:
        """The ids that are penalized, int64 `[ids]`."""
        return self._ids[: len(self._slots)]

    @property
    def counts(self) -> Tensor:
        """How often each of `ids` is in the output, float32 `[ids]`."""
        return self._counts[: len(self._slots)]


def penalize(logits: Tensor, rows: Sequence[Penalties | None]) -> None:
    """Change logits `[rows, vocab]` in place, by the penalties of each row that has some."""
    found = [(row, one) for row, one in enumerate(rows) if one is not None and len(one.ids)]
    if not found:
        return
    lengths = torch.tensor([len(one.ids) for _, one in found])
    ids = torch.cat([one.ids for _, one in found]).to(logits.device)
    counts = torch.cat([one.counts for _, one in found]).to(logits)

    def spread(values: Sequence[float]) -> Tensor:
        """One value for each row as one for each id."""
        of_rows = torch.tensor(values, dtype=torch.float64).repeat_interleave(lengths)
        return of_rows.to(logits)

    row = torch.tensor([row for row, _ in found]).repeat_interleave(lengths).to(logits.device)
    settings = [one.sampling for _, one in found]
    factor = spread([one.repetition_penalty for one in settings])
    before = logits[row, ids]
    after = torch.where(before > 0, before / factor, before * factor)
    after -= spread([one.frequency_penalty for one in settings]) * counts
    after -= spread([one.presence_penalty for one in settings]) * (counts > 0)
    logits[row, ids] = after
