"""How calls that go together are divided: over as few engines as end them about as soon as any.

    cost                              Each engine is a line: where it starts (what runs and fills
     │      ╱        ╱                there already, the prefix if it is missing), and how much
     │─────╱────────╱─────── level    every call adds. Calls are poured in like water, so those
     │    ╱       ╱                   that get any end together; over more engines the level is
     │   ╱      ╱    ╱                lower, until the next one starts above it.
     └──a──────b────c──── engines

All on one engine is the special case that small calls give: they add less than a step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from parrotc.runtime.scheduling.engines import Engine
from parrotc.runtime.scheduling.fleet import Fleet
from parrotc.runtime.scheduling.placement import Option, tolerance, weigh
from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.scheduling.tickets import Bundle, Ticket

Parts = list[tuple[Engine, int]]
LEAST = 1e-9  # seconds that a call adds, so that a line always rises


@dataclass(slots=True)
class _Line:
    """What calls cost on an engine: `start`, and for each of them `rise`."""

    start: float
    rise: float
    whole: Option  # for all of them


def divide(
    fleet: Fleet,
    members: Sequence[Ticket],
    whole: Engine | None,
    now: float,
    config: SchedulerConfig,
) -> Parts:
    """Engines, with how many of `members` each is to get; none where none has room.

    `whole` is where all of them fit. Parts are estimated for the mean of the members, and some of
    them may turn out not to fit.
    """
    bundle = Bundle(members, config)
    lines = [
        _line(weigh(engine, bundle, now, config), bundle)
        for engine in fleet.fitting(members[0].alone(config))
    ]
    lines.sort(key=_order)
    _charge(lines, bundle)
    levels = _levels(lines, len(members))
    most = levels[-1] + tolerance(lines[0].whole, config)
    if whole is not None and weigh(whole, bundle, now, config).cost <= most:
        return [(whole, len(members))]
    count = next(count for count, level in enumerate(levels, 1) if level <= most)
    return _parts(lines[:count], levels[count - 1], len(members))


def _line(whole: Option, bundle: Bundle) -> _Line:
    spec = whole.engine.spec
    alone = bundle.chain_tokens - bundle.common  # of the chains, what only one of them has
    held = bundle.own + alone if spec.shares else bundle.total
    steps = bundle.expected * (spec.cost.step(held) - spec.cost.step(0))
    rise = max(LEAST, (bundle.new + alone) * spec.cost.fill + steps)
    return _Line(whole.cost - rise, rise / bundle.calls, whole)


def _order(line: _Line) -> tuple[float, int]:
    return line.start, line.whole.engine.order


def _charge(lines: list[_Line], bundle: Bundle) -> None:
    """What all have and no engine holds is filled by the first of `lines`. Any other would fill it
    again, which costs what is lost to others by that, as with what is held (see `placement`)."""
    first = lines[0].whole.resident
    for line in lines[1:]:
        missing = bundle.common - max(first, line.whole.resident)
        line.start += max(0, missing) * line.whole.engine.spec.cost.fill
    lines[1:] = sorted(lines[1:], key=_order)


def _levels(lines: Sequence[_Line], calls: int) -> list[float]:
    """What all calls cost over the first engine, the first two, and so on while that is less."""
    levels: list[float] = []
    rate = begun = 0.0  # calls for each second more, and those that the starts take away
    for line in lines[:calls]:
        if levels and line.start >= levels[-1]:
            break
        rate += 1 / line.rise
        begun += line.start / line.rise
        levels.append((calls + begun) / rate)
    return levels


def _parts(lines: Sequence[_Line], level: float, calls: int) -> Parts:
    """`calls` in whole numbers, the last engine gets what is left."""
    parts: Parts = []
    share = 0.0
    given = 0
    for line in lines:
        share += (level - line.start) / line.rise
        count = min(calls, round(share)) - given
        if count > 0:
            parts.append((line.whole.engine, count))
            given += count
    return parts
