"""One engine as the scheduler sees it: what runs there, what room is left, when it would be done.

    |--- prefixes that are read, each once ---|--- own tokens of calls ---|--- room ---|
    0                                                                   held         limit

`limit` is the engine's memory, or less where somebody was promised a step time. Kept prefixes
without readers take no room: the engine gives theirs up for anything else.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import TypeVar

from parrotc.runtime.scheduling.cost import EngineCost
from parrotc.runtime.scheduling.policies import SchedulerConfig, step_target
from parrotc.runtime.scheduling.prefixes import Resident
from parrotc.runtime.scheduling.tasks import Digest, Kind, Task
from parrotc.runtime.scheduling.tickets import Bundle, Ticket, unit

K = TypeVar("K", bound=Hashable)


class Role(StrEnum):
    """What an engine is for. Another kind of work gets it only where no engine is for that."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """What an engine says of itself when it registers.

    `slots` calls run at once, and hold up to `tokens` together; one sequence has up to
    `context_length`. An engine that `shares` stores and reads a common prefix once, one that
    `caches` keeps what was freed until it needs the room, and one that `resumes` goes on with what
    another has begun to say. Raises `ValueError` where nothing could ever run.
    """

    name: str
    model: str
    role: Role = Role.MIXED
    slots: int = 64
    tokens: int = 400_000
    context_length: int = 131_072
    shares: bool = True
    caches: bool = True
    resumes: bool = True
    cost: EngineCost = field(default_factory=EngineCost)

    def __post_init__(self) -> None:
        if min(self.slots, self.tokens, self.context_length) < 1:
            raise ValueError(f"engine {self.name}: slots, tokens and context must be 1 or more")

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that fits when nothing else runs."""
        return min(self.context_length, self.tokens)


class Engine:
    """The state of one engine. `order` counts registrations: an earlier one wins a tie."""

    def __init__(self, spec: EngineSpec, order: int, config: SchedulerConfig) -> None:
        self.spec, self.order = spec, order
        self.running: dict[str, Ticket] = {}
        self.prefixes = Resident(config.cached_nodes)
        self.held = 0
        self.busy_until = -inf  # when all that is to be filled will be filled
        self.is_draining = False
        self.reserved_for: str | None = None
        self.mode: Kind | None = None  # None: idle
        self.room: float = spec.tokens  # that is left under the strictest promise made here
        self._step = self._bound = inf  # the strictest promises
        self._config = config
        self._steps: Counter[float] = Counter()
        self._bounds: Counter[int] = Counter()
        self.units: Counter[Hashable] = Counter()
        self._suspects = 0

    # --- room ---

    @property
    def is_open(self) -> bool:
        """Whether anything may be placed here, as far as that does not depend on what it is."""
        is_free = self.reserved_for is None and not self.is_draining
        return is_free and len(self.running) < self.spec.slots

    def _limit(self, step: float) -> float:
        """Tokens that may be held. A promise that no engine could keep is kept as near as it is."""
        if step == inf:
            return self.spec.tokens
        cost = self.spec.cost
        return min(
            self.spec.tokens, cost.tokens_within(max(step, self._config.stretch * cost.step(0)))
        )

    def need(self, bundle: Bundle) -> int:
        """Tokens that `bundle` would add to what is held."""
        if not self.spec.shares:
            return bundle.total
        return bundle.own + self.prefixes.unread(bundle.chain)

    def fits(self, bundle: Bundle) -> bool:
        """Whether `bundle` may run here now, as a whole, and every promise be kept."""
        if self.is_draining or self.reserved_for not in (None, bundle.head.task.id):
            return False
        if self.spec.name in bundle.refused:
            return False
        if len(self.running) + bundle.calls > self.spec.slots:
            return False
        if bundle.longest > self.spec.context_length or not self._is_within_bounds(bundle):
            return False
        if bundle.suspects and self._suspects + bundle.suspects > self._config.suspects:
            return False
        if not self.running and bundle.calls == 1:
            return self.need(bundle) <= self.spec.tokens  # alone it is as fast as it can be
        if bundle.step >= self._step:
            return self.need(bundle) <= self.room
        return self.held + self.need(bundle) <= self._limit(bundle.step)

    def _is_within_bounds(self, bundle: Bundle) -> bool:
        bound = min(bundle.bound, self._bound)
        if bound == inf:
            return True
        return len(self.units) + sum(each not in self.units for each in bundle.units) <= bound

    # --- estimates ---

    def begins(self, now: float) -> float:
        """When filling what is placed now would begin."""
        return max(now, self.busy_until)

    def step_seconds(self, bundle: Bundle) -> float:
        """Seconds a token with `bundle` here."""
        return self.spec.cost.step(self.held + self.need(bundle))

    def price(self, task: Task) -> float:
        """Engine seconds that `task` takes from the others: its fills, its part of each step."""
        cost = self.spec.cost
        fill = (task.new_tokens + self.prefixes.missing(task.prefix)) * cost.fill
        reads = cost.kv_bytes * task.total / cost.bandwidth
        return fill + task.expected_tokens * (cost.step(0) / self.spec.slots + reads)

    # --- what runs ---

    def add(self, ticket: Ticket, now: float) -> list[Digest]:
        """Run `ticket` here. Gives the prefixes that are new here."""
        task = ticket.task
        fill = (task.new_tokens + self.prefixes.missing(task.prefix)) * self.spec.cost.fill
        self.busy_until = self.begins(now) + fill
        shared = self.prefixes.unread(task.prefix) if self.spec.shares else task.total - task.own
        self.held += task.own + shared
        new = self.prefixes.acquire(task.prefix)
        self.running[task.id] = ticket
        self._count(ticket, 1)
        return new

    def remove(self, ticket: Ticket) -> None:
        task = ticket.task
        del self.running[task.id]
        self.prefixes.release(task.prefix)
        shared = self.prefixes.unread(task.prefix) if self.spec.shares else task.total - task.own
        self.held -= task.own + shared
        self._count(ticket, -1)
        if not self.running:
            self.busy_until = -inf

    def shrink(self) -> list[Digest]:
        """Forget the prefixes that the engine has no room for any more."""
        return self.prefixes.shrink(self.spec.tokens - self.held)

    def _count(self, ticket: Ticket, by: int) -> None:
        task, step = ticket.task, step_target(ticket.task, self._config)
        self._suspects += by * bool(ticket.killers)
        _count(self.units, unit(task, self._config), by)
        if step < inf:
            _count(self._steps, step, by)
        if task.bound:
            _count(self._bounds, task.bound, by)
        self._step = min(self._steps, default=inf)
        self._bound = min(self._bounds, default=inf)
        self.room = self._limit(self._step) - self.held
        if not self.running:
            self.mode = None
        else:
            self.mode = Kind.LATENCY if self._steps else Kind.THROUGHPUT


def _count(counter: Counter[K], key: K, by: int) -> None:
    counter[key] += by
    if not counter[key]:
        del counter[key]
