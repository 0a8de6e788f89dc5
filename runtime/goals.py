"""What somebody who waits for a result cares about: goals, which join and travel upstream.

    throughput < deadline, ttft, tpot < latency          goal | other: the stricter of each

Several may wait for one result, and none of them is forgotten: a goal holds all that was asked, in
any order. Which of it decides how a call is scheduled is said once, in `choice`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from parrotc.ir.types import Json
from parrotc.runtime.scheduling.tasks import Criteria

_NAMES = tuple(str(criteria) for criteria in Criteria)
_TIMED = ("ttft", "tpot", "deadline")


@dataclass(frozen=True, slots=True)
class Goal:
    """`ttft` and `tpot` are seconds, `deadline` is a time by the scheduler's clock."""

    latency: bool = False
    ttft: float | None = None
    tpot: float | None = None
    deadline: float | None = None

    def __or__(self, other: "Goal") -> "Goal":
        return Goal(
            self.latency or other.latency,
            _least(self.ttft, other.ttft),
            _least(self.tpot, other.tpot),
            _least(self.deadline, other.deadline),
        )

    def upstream(self) -> "Goal":
        """What it asks of calls that the waited-for one needs: the first token of the last call
        comes as soon as all before it have ended, and its pace is its own."""
        return Goal(self.latency or self.ttft is not None, deadline=self.deadline)

    def choice(self) -> tuple[Criteria, float | None]:
        """The one that decides, and its target."""
        if self.latency:
            return Criteria.LATENCY, None
        if self.ttft is not None:
            return Criteria.TTFT, self.ttft
        if self.tpot is not None:
            return Criteria.TPOT, self.tpot
        if self.deadline is not None:
            return Criteria.DEADLINE, self.deadline
        return Criteria.THROUGHPUT, None


NOBODY_WAITS = Goal()
LATENCY = Goal(latency=True)


def read_goal(said: Json, now: float) -> Goal:
    """The goal that a client names: `"latency"`, `{"ttft": 0.3}`, `{"deadline": 30}` (seconds from
    `now`). None is `LATENCY`: somebody waits. Raises `ValueError`, for people."""
    if said is None:
        return LATENCY
    if isinstance(said, str):
        if said not in ("latency", "throughput"):
            raise ValueError(_unknown(said))
        return Goal(latency=said == "latency")
    if not isinstance(said, Mapping) or not said:
        raise ValueError(f"criteria are a name or an object; names are {', '.join(_NAMES)}")
    seconds: dict[str, float] = {}
    for name, value in said.items():
        if name not in _TIMED:
            raise ValueError(_unknown(name))
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not isfinite(value) or value <= 0:
            raise ValueError(f"`{name}` is a number of seconds above 0")
        seconds[name] = float(value)
    deadline = seconds.get("deadline")
    return Goal(
        ttft=seconds.get("ttft"),
        tpot=seconds.get("tpot"),
        deadline=None if deadline is None else now + deadline,
    )


def _unknown(name: str) -> str:
    if name in _TIMED:
        return f'the criterion `{name}` needs seconds, as in {{"{name}": 0.5}}'
    return f"there is no criterion `{name[:40]}`; there are {', '.join(_NAMES)}"


def _least(a: float | None, b: float | None) -> float | None:
    return min((one for one in (a, b) if one is not None), default=None)
