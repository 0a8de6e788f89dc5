"""What comes of a run of `ir/evaluate.py`."""

from dataclasses import dataclass, field

from parrotc.ir.source import Span
from parrotc.ir.types import Json

Path = tuple[int, ...]  # iterations and attempts around an op, outermost first


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure on its way along the edges: its code, what happened, where it began."""

    code: str
    message: str
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """One generation: the ids before it, and its own."""

    prompt: tuple[int, ...]
    ids: tuple[int, ...]


@dataclass(slots=True)
class Evaluation:
    """The outcome of one run."""

    result: Json = None
    failure: Failure | None = None
    sequences: dict[tuple[str, Path], Seen] = field(default_factory=dict)
    effects: list[tuple[str, tuple[Json, ...]]] = field(default_factory=list)  # natives that ran
    filled: int = 0
