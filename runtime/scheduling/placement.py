"""Which engine: the one that is packed best of those that do not cost the caller much time.

    all that have room  ──▶  those that keep the call's promise  ──▶  those that are not much later
    than the earliest  ──▶  the group's home, the longest prefix, the kind, the fullest

Packing leaves engines empty for what must run alone, and a step over many calls costs hardly more
than one over few. So a call may end later by a part of its time (`slack`) for the sake of it; a
call that was promised a first token or an end in time may not miss that for it.
"""

from dataclasses import dataclass

from parrotc.runtime.scheduling.engines import Engine
from parrotc.runtime.scheduling.fleet import Fleet
from parrotc.runtime.scheduling.policies import SchedulerConfig, promised
from parrotc.runtime.scheduling.tasks import Criteria
from parrotc.runtime.scheduling.tickets import Bundle


@dataclass(slots=True)
class Option:
    """`late` is by how much the promise would be missed: 0 where it is kept."""

    engine: Engine
    finish: float
    late: float
    resident: int


def choose(fleet: Fleet, bundle: Bundle, now: float, config: SchedulerConfig) -> Engine | None:
    """The best engine of `fleet` for the whole of `bundle`; None where it fits nowhere."""
    options = [weigh(engine, bundle, now, config) for engine in fleet.fitting(bundle)]
    if not options:
        return None
    if bundle.avoid:
        options = [o for o in options if o.engine.spec.name not in bundle.avoid] or options
    if len(options) == 1:
        return options[0].engine
    kept = [option for option in options if not option.late]
    if not kept:
        return min(options, key=lambda o: (o.late, o.finish, o.engine.order)).engine
    earliest = min(option.finish for option in kept)
    latest = earliest + config.slack * (earliest - now)
    return min(
        (option for option in kept if option.finish <= latest),
        key=lambda option: _preference(option, bundle),
    ).engine


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
    return Option(engine, finish, late, bundle.chain_tokens - missing)


def _preference(option: Option, bundle: Bundle) -> tuple[bool, int, int, float, int]:
    engine = option.engine
    kind = (bundle.kind, None).index(engine.mode) if engine.mode in (bundle.kind, None) else 2
    is_home = not bundle.units.isdisjoint(engine.units)
    return (not is_home, -option.resident, kind, engine.room, engine.order)
