"""What there is to compute: the sequence of each piece of work, and what it is for.

Filling      a context that a caller asked for
Generating   a context that grows by one drawn token at a time
Rating       an option whose tokens' probabilities are wanted
"""

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field

import torch
from torch import Tensor

from parrotc.runtime.engines.embedded.contexts import Ids, Sequence
from parrotc.runtime.engines.embedded.generation import Generation, Post
from parrotc.runtime.engines.protocol import ContextId, EngineError, GenerateRequest

Done = Callable[[EngineError | None], None]
Order = tuple[bool, float, int]


@dataclass(eq=False, slots=True)
class Job:
    """A sequence to be computed. The smallest `order` goes first: latency, then rank, then arrival.

    `suspect` is a position: a step that went up to there failed, and this job was in it. Until it
    has got that far alone, it takes no other job with it.
    """

    sequence: Sequence
    order: Order
    suspect: int = field(default=0, init=False)
    is_running: bool = field(default=False, init=False)
    is_done: bool = field(default=False, init=False)

    def restart(self) -> None:
        """It is computed from the start, or again from there."""

    @property
    def is_talking(self) -> bool:
        """Whether all that is missing comes of its last draw, or is as little as that."""
        return self.sequence.missing == 1

    @property
    def limit(self) -> int:
        """How many of its tokens may be taken from elsewhere: the others must be computed here,
        because their states are needed."""
        return self.sequence.end


@dataclass(eq=False, slots=True)
class Batch:
    """The fills of one message: those of `left` are not there yet."""

    made: Mapping[ContextId, Sequence]
    left: set[Sequence]
    done: Done


@dataclass(eq=False, slots=True)
class Filling(Job):
    batch: Batch


@dataclass(eq=False, slots=True)
class Generating(Job):
    """`state` is that after the last token, when the next one can be drawn from it."""

    generation: Generation
    state: Tensor | None = field(default=None, init=False)
    has_drawn: bool = field(default=False, init=False)

    def restart(self) -> None:
        self.has_drawn = False

    @property
    def is_talking(self) -> bool:
        return self.has_drawn or self.sequence.missing == 1

    @property
    def limit(self) -> int:
        return self.sequence.end - 1

    @property
    def post(self) -> Post:
        return self.generation.post


@dataclass(eq=False, slots=True)
class Scoring:
    """Options to be rated below `parent`, each by a job of its own."""

    request: GenerateRequest
    parent: Sequence
    options: Many[Ids]
    post: Post
    jobs: "list[Rating]" = field(default_factory=list, init=False)

    @property
    def is_complete(self) -> bool:
        return all(job.is_done for job in self.jobs)

    def states(self, job: "Rating") -> Tensor:
        """The states before each token of an option that is computed, `[tokens, hidden]`."""
        first = [] if self.parent.hidden is None else [self.parent.hidden]
        return torch.stack(first + job.states)


@dataclass(eq=False, slots=True)
class Rating(Job):
    """All tokens of an option but the last, and the states before each token of the option that
    the parent does not have."""

    scoring: Scoring
    states: list[Tensor] = field(default_factory=list, init=False)

    def restart(self) -> None:
        self.states.clear()

    @property
    def limit(self) -> int:
        parent = self.scoring.parent
        return parent.end - (parent.hidden is None)
