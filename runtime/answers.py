"""Generations that `@cache(ttl=…)` allows to be used again, by any run of one program.

An answer is found by all that determines it: the exact tokens of the prompt, the constraint, and
how tokens are chosen, the key of the draws among that. So a hit is what the model would have said
again, and a sampled call hits only where its draw is the same.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from parrotc.runtime.engines.protocol import Constraint, Finished, Sampling

ROOM = 10_000  # answers; the one that was not asked for longest goes first


@dataclass(frozen=True, slots=True)
class Question:
    """What determines an answer. `prompt` is the digest of the prompt's tokens."""

    prompt: bytes
    sampling: Sampling
    constraint: Constraint | None


class Answers:
    """Those of one engine."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[Question, tuple[float, Finished]] = OrderedDict()

    def find(self, question: Question, ttl: float) -> Finished | None:
        """The answer, if it is not older than `ttl` seconds."""
        known = self._known.get(question)
        if known is None or self._clock() - known[0] > ttl:
            return None
        self._known.move_to_end(question)
        return known[1]

    def keep(self, question: Question, answer: Finished) -> None:
        self._known[question] = self._clock(), answer
        self._known.move_to_end(question)
        if len(self._known) > ROOM:
            self._known.popitem(last=False)
