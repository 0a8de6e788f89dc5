"""The rules of the scheduler, each with its switch: who is next, and what was promised to it.

    app_fifo     deeper into its application first, then the application that began first
    ranked       then the call with the longest way to the end before it
    graph_group  calls that are waited for together are placed together, and count as one
    ctx_group    queued calls with one prefix are placed together
    ctx_aware    an engine that holds the prefix already is preferred
    packed       among engines that differ by less than a step, the fullest is

Before all of them: between tenants, the one that has had the least of its share; within a tenant,
whoever has become *due*, by its deadline or by having waited long enough.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from parrotc.runtime.scheduling.tasks import Criteria, Task

Key = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfig:
    """Every knob. Raises `ValueError` for values that would stop the scheduler."""

    app_fifo: bool = True
    ranked: bool = True
    graph_group: bool = True
    ctx_group: bool = True
    ctx_aware: bool = True
    packed: bool = True

    latency_step: float = 0.04  # seconds a token that `Criteria.LATENCY` promises
    stretch: float = 1.5  # no promise is stricter than so many steps of an empty engine
    patience: float = 10.0  # seconds after which a waiting call is due
    grace: float = 30.0  # seconds to wait for an engine that went and may come back

    queue_limit: int = 1_000_000
    tenant_queue_limit: int = 100_000
    weights: Mapping[str, float] = field(default_factory=dict)  # of tenants; others have 1

    context_group_limit: int = 16  # calls in one decision
    lookahead: int = 2  # calls without room that are passed over in one round
    probes: int = 4  # engines with room that are compared in each index
    cached_nodes: int = 256  # prefixes without readers remembered of an engine
    kills: int = 2  # engines that may die of one call
    suspects: int = 1  # calls that were on a dying engine, together on one engine again

    def __post_init__(self) -> None:
        least = {"queue_limit": 1, "tenant_queue_limit": 1, "context_group_limit": 1}
        least |= {"lookahead": 1, "probes": 1, "cached_nodes": 0, "kills": 1, "suspects": 1}
        for name, bottom in least.items():
            if getattr(self, name) < bottom:
                raise ValueError(f"`{name}` must be {bottom} or more")
        if self.stretch < 1 or min(self.patience, self.grace) < 0:
            raise ValueError("`stretch` must be 1 or more; no time may be negative")
        if any(not 0 < weight < inf for weight in self.weights.values()):
            raise ValueError("weights must be above 0")


def order_key(task: Task, number: int, config: SchedulerConfig) -> Key:
    """Least first, among the calls of one tenant that are not due. `number` counts arrivals."""
    depth = (-task.depth, task.begun) if config.app_fifo else ()
    rank = (-task.rank,) if config.ranked else ()
    return (*depth, *rank, number)


def due_time(task: Task, arrival: float, config: SchedulerConfig) -> float:
    """When `task` goes before all that are not due.

    Never before its arrival, so that a stream of calls that come too late from the start cannot
    keep one that waits from its turn; never after `patience`, so that everyone has one.
    """
    latest = arrival + config.patience
    if task.target is not None:
        if task.criteria is Criteria.DEADLINE:
            latest = min(latest, task.target - task.rank)
        elif task.criteria is Criteria.TTFT:
            latest = min(latest, arrival + task.target / 2)
    return max(arrival, latest)


def step_target(task: Task, config: SchedulerConfig) -> float:
    """Seconds a token that are promised to `task`; infinite for none."""
    if task.criteria is Criteria.TPOT and task.target is not None:
        return task.target
    return inf if task.criteria in (Criteria.THROUGHPUT, Criteria.DEADLINE) else config.latency_step


def promised(task: Task, arrival: float) -> float:
    """The time by which its first token (TTFT) or its last (deadline) is promised."""
    if task.target is None or task.criteria is Criteria.TPOT:
        return inf
    return arrival + task.target if task.criteria is Criteria.TTFT else task.target
