"""What the scheduler is told, and what it answers: plain frozen data.

    Task ─submit─▶ queue ─schedule─▶ Dispatch ─▶ (an engine runs it) ─▶ finish
            └─▶ Refused                └─▶ Failed

A task is one call of a model whose inputs are all known. Times are seconds of one clock, which is
the caller's: the scheduler never asks what time it is.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

Digest = Hashable


class Kind(StrEnum):
    """The two kinds of work that are kept apart."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"


class Criteria(StrEnum):
    """What the one who waits for a call cares about. The last three have a `Task.target`."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    TTFT = "ttft"  # seconds from arrival to the first token
    TPOT = "tpot"  # seconds from one token to the next
    DEADLINE = "deadline"  # the time by which the whole application must be done


TARGETED = frozenset({Criteria.TTFT, Criteria.TPOT, Criteria.DEADLINE})
HURRIED = frozenset({Criteria.LATENCY, Criteria.TTFT, Criteria.TPOT})


class PrefixNode(NamedTuple):
    """A piece of a prompt that others may have too. Its digest stands for all up to its end."""

    digest: Digest
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One call that is ready to run.

    `depth` counts the calls before it on the longest way through its application, which began at
    `begun`; `rank` is the estimated time from this call's start to the end of the application.
    Tasks of one tenant with one `group` are waited for together; `group_size` of them will come.
    `prefix` goes from the root down, and each node's tokens are its own. With a `bound`, no more
    than so many units may run on its engine at the same time: calls, or whole groups. Engines to
    `avoid` get it only where there is no other for it; those that have `refused` it, for which it
    is too large though nobody knew, never.

    Raises `ValueError` for numbers that mean nothing.
    """

    id: str
    model: str
    new_tokens: int
    expected_tokens: int
    prefix: tuple[PrefixNode, ...] = ()
    tenant: str = ""
    application: str = ""
    begun: float = 0.0
    depth: int = 0
    rank: float = 0.0
    group: str | None = None
    group_size: int = 1
    criteria: Criteria = Criteria.LATENCY
    target: float | None = None
    bound: int = 0  # 0: none
    avoid: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        numbers = (self.new_tokens, self.expected_tokens, self.bound, self.depth)
        if min(numbers) < 0 or any(node.tokens < 0 for node in self.prefix):
            raise ValueError(f"task {self.id}: a count is negative")
        if self.group_size < 1:
            raise ValueError(f"task {self.id}: a group has at least one task")
        if (self.criteria in TARGETED) != (self.target is not None):
            raise ValueError(f"task {self.id}: a target belongs to TTFT, TPOT and deadlines only")

    @property
    def kind(self) -> Kind:
        return Kind.LATENCY if self.criteria in HURRIED else Kind.THROUGHPUT

    @property
    def own(self) -> int:
        """Tokens that it will hold and share with nobody."""
        return self.new_tokens + self.expected_tokens

    @property
    def total(self) -> int:
        """Tokens of its whole sequence, at its end."""
        return self.own + sum(node.tokens for node in self.prefix)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """`task` goes to `engine`, which has the first `resident` tokens of its prompt already.

    `finish` is when it should be done; `seconds` of engine time are charged to its tenant.
    """

    task: Task
    engine: str
    resident: int
    finish: float
    seconds: float


class Reason(StrEnum):
    """Why a task is not run. Those that waiting would cure are `is_temporary`."""

    UNKNOWN_MODEL = "unknown_model"
    NEVER_FITS = "never_fits"
    NO_ENGINE = "no_engine"
    TENANT_QUEUE_FULL = "tenant_queue_full"
    QUEUE_FULL = "queue_full"
    DUPLICATE = "duplicate"
    POISON = "poison"

    @property
    def is_temporary(self) -> bool:
        return self in (Reason.TENANT_QUEUE_FULL, Reason.QUEUE_FULL)


class Refused(Exception):
    """Raised by `submit`: the task was not taken, and nothing of it is kept."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass(frozen=True, slots=True)
class Failed:
    """A task that was taken and cannot be run any more. `engines` are those that died of it."""

    task: Task
    reason: Reason
    message: str
    engines: tuple[str, ...] = ()
