"""Tasks that were taken, and several of them that one decision places together."""

from collections.abc import Hashable, Sequence
from functools import cached_property
from math import inf

from parrotc.runtime.scheduling.policies import Key, SchedulerConfig, step_target
from parrotc.runtime.scheduling.tasks import PrefixNode, Task

Group = tuple[str, str]  # tenant, group


class Ticket:
    """A task that was taken, from arrival to its end. `number` counts arrivals.

    A queue's entry is worth nothing once its ticket has another `stamp`. `tried` is the epoch of
    the fleet in which it was last found to fit nowhere, `killers` names the engines that died
    while it ran there and may have died of it.
    """

    __slots__ = (
        "_alone", "arrival", "charged", "due", "engine", "key", "killers", "number", "stamp",
        "task", "total", "tried",
    )  # fmt: skip

    def __init__(self, task: Task, number: int, arrival: float, key: Key, due: float) -> None:
        self.task, self.number, self.arrival, self.key, self.due = task, number, arrival, key, due
        self.total = task.total
        self.stamp = 0
        self.engine: str | None = None
        self.charged = 0.0
        self.tried = -1
        self.killers: tuple[str, ...] = ()
        self._alone: Bundle | None = None

    @property
    def group(self) -> Group | None:
        return None if self.task.group is None else (self.task.tenant, self.task.group)

    def alone(self, config: SchedulerConfig) -> "Bundle":
        """A bundle of this ticket only, made once."""
        if self._alone is None:
            self._alone = Bundle((self,), config)
        return self._alone

    def blame(self, engine: str) -> None:
        """`engine` died, and may have died of this."""
        self.killers += (engine,)
        self.unbundle()

    def unbundle(self) -> None:
        """Let go of what `alone` made, which refers back to this ticket."""
        self._alone = None


class Bundle:
    """`tickets` of one kind, summed up once for all engines that are looked at.

    `to_come` others of their group have not arrived yet; they count as much as the mean of those
    that have.
    """

    def __init__(
        self, tickets: Sequence[Ticket], config: SchedulerConfig, *, to_come: int = 0
    ) -> None:
        self._tasks = [ticket.task for ticket in tickets]
        self.head = tickets[0]
        self.kind = self.head.task.kind
        self.calls = len(tickets) + to_come
        self.own = self.total = self.new = self.expected = self.longest = self.suspects = 0
        self.step = self.bound = inf
        self.units: set[Hashable] = set()
        self.avoid = self.refused = frozenset[str]()
        for ticket in tickets:  # one loop: every call is a bundle at least once
            self._add(ticket, config)
        if to_come:
            whole = self.calls / len(tickets)
            self.own, self.total = round(whole * self.own), round(whole * self.total)

    def _add(self, ticket: Ticket, config: SchedulerConfig) -> None:
        task = ticket.task
        self.own += task.own
        self.total += ticket.total
        self.new += task.new_tokens
        self.expected = max(self.expected, task.expected_tokens)
        self.longest = max(self.longest, ticket.total)
        self.suspects += bool(ticket.killers)
        self.step = min(self.step, step_target(task, config))
        self.bound = min(self.bound, task.bound or inf)
        self.units.add(unit(task, config))
        self.avoid |= task.avoid
        self.refused |= task.refused

    @cached_property
    def chain(self) -> tuple[PrefixNode, ...]:
        """All prefix nodes of its tasks, each once, parents first."""
        if len(self._tasks) == 1:
            return self.head.task.prefix
        return tuple({node.digest: node for task in self._tasks for node in task.prefix}.values())

    @cached_property
    def chain_tokens(self) -> int:
        return sum(node.tokens for node in self.chain)

    @cached_property
    def common(self) -> int:
        """About how many tokens of the chains all its tasks have, where some have them."""
        calls = len(self._tasks)
        if calls == 1:
            return self.chain_tokens
        every = sum(node.tokens for task in self._tasks for node in task.prefix)
        return (every - self.chain_tokens) // (calls - 1)


def unit(task: Task, config: SchedulerConfig) -> Hashable:
    """What counts as one against a bound: a whole group, or a call."""
    if config.graph_group and task.group is not None:
        return (task.tenant, task.group)
    return task.id
