"""Which engine: the one that is packed best of those that cost about as little as any.

    all that have room  ──▶  those that keep the call's promise  ──▶  those that are a step later
    than the cheapest, at most  ──▶  the group's home, the longest prefix, the kind, the fullest

What an engine costs a call is when it would be done there, after all that fills and beside all that
runs there, less the seconds of filling that what it holds saves: a filling saved is worth as much
to whoever comes next as to the caller. So calls spread where engines are idle, as soon as one would
slow another down by more than a prefix is worth, and gather at their prefixes where all are loaded.

An engine begins nothing between two steps, so less than a step is no difference. Within it, calls
are packed: that leaves engines empty for what must run alone.
"""

from dataclasses import dataclass

from parrotc.runtime.scheduling.engines import Engine
from parrotc.runtime.scheduling.fleet import Fleet
from parrotc.runtime.scheduling.policies import SchedulerConfig, promised
from parrotc.runtime.scheduling.tasks import Criteria
from parrotc.runtime.scheduling.tickets import Bundle


@dataclass(slots=True)
class Option:
    """When it would be done on an engine, and of its prefix what is `resident` there.

    `late` is by how much the promise would be missed: 0 where it is kept. `cost` is `finish` less
    the filling that is saved, `step` the seconds a token.
    """

    engine: Engine
    finish: float
    late: float
    resident: int
    cost: float
    step: float


def choose(fleet: Fleet, bundle: Bundle, now: float, config: SchedulerConfig) -> Engine | None:
    """The best engine of `fleet` for the whole of `bundle`; None where it fits nowhere."""
    options = [weigh(engine, bundle, now, config) for engine in fleet.fitting(bundle)]
    if not options:
        return None
    if len(options) == 1:
        return options[0].engine
    kept = [option for option in options if not option.late]
    if not kept:
        return min(options, key=lambda o: (o.late, o.finish, o.engine.order)).engine
    cheapest = min(kept, key=lambda o: (o.cost, o.engine.order))
    most = cheapest.cost + tolerance(cheapest, config)
    return min(
        (option for option in kept if option.cost <= most),
        key=lambda option: _preference(option, bundle),
    ).engine


def tolerance(cheapest: Option, config: SchedulerConfig) -> float:
    """By how much an engine may cost more and be as good as the cheapest."""
    return cheapest.step if config.packed else 0.0


def weigh(engine: Engine, bundle: Bundle, now: float, config: SchedulerConfig) -> Option:
    """When `bundle` would be done on `engine`, what it has there, and what it would miss."""
    missing = bundle.chain_tokens
    if config.ctx_aware:
        missing = engine.prefixes.missing(bundle.chain)
    begin = engine.begins(now)
    filled = begin + (bundle.new + missing) * engine.spec.cost.fill
    step = engine.step_seconds(bundle)
    finish = filled + bundle.expected * step
    task = bundle.head.task
    if task.criteria is Criteria.DEADLINE:  # what comes after it needs its time too
        moment = finish + max(0.0, task.rank - (finish - begin))
    else:
        moment = filled + step
    late = max(0.0, moment - promised(task, bundle.head.arrival))
    resident = bundle.chain_tokens - missing
    return Option(engine, finish, late, resident, finish - resident * engine.spec.cost.fill, step)


def _preference(option: Option, bundle: Bundle) -> tuple[bool, int, int, float, int]:
    engine = option.engine
    kind = (bundle.kind, None).index(engine.mode) if engine.mode in (bundle.kind, None) else 2
    is_home = not bundle.units.isdisjoint(engine.units)
    return (not is_home, -option.resident, kind, engine.room, engine.order)
