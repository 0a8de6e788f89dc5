"""What a core shows of what it holds: plain frozen data, as it was at that moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.types import Json


@dataclass(frozen=True, slots=True)
class ParameterView:
    """A parameter of a call and the variable that stands for it; an input that was given as a
    value has none."""

    name: str
    is_output: bool
    var_id: str = ""
    var_name: str = ""


@dataclass(frozen=True, slots=True)
class CallView:
    """A call that was taken. It runs when its inputs are ready."""

    id: str
    parameters: tuple[ParameterView, ...]


@dataclass(frozen=True, slots=True)
class PlanView:
    """A stored plan: `digest` names its content; `flows` maps names to signatures for people."""

    name: str
    digest: str
    flows: Mapping[str, str]


class RunState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class RunView:
    """A run of a flow. `result` when done, `diagnostic` when failed. Times are Unix times."""

    id: str
    plan: str
    flow: str
    state: RunState
    started: float
    ended: float | None = None
    result: Json = None
    diagnostic: Diagnostic | None = None


@dataclass(frozen=True, slots=True)
class RunEvent:
    """What happens in a run, told by `kind`:

    text       more of the text of `variable`, in the iteration `path`
    restart    that text begins anew, with `text`
    value      `variable` is generated: `text` is all of it
    done, failed, cancelled    the last: `result`, or the cause
    """

    kind: str
    variable: str = ""
    path: tuple[int, ...] = ()
    text: str = ""
    result: Json = None
    diagnostic: Diagnostic | None = None
