"""What goes wrong while a plan runs: a failure is a value that flows along the edges.

A step whose operand failed fails with the same failure, so the one that ends a run always names
the first cause and the place in the user's text where it began. Only an `attempt` stops one.
"""

from dataclasses import dataclass
from typing import Any

from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.source import Span
from parrotc.ir.types import Json


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a value does not exist. The diagnostic has the code, the fact and the first place."""

    diagnostic: Diagnostic


class Failed(Exception):
    """Raised inside a step to fail its results. `code` is one of E06…"""

    def __init__(self, code: str, message: str, *, notes: tuple[str, ...] = (), help: str = ""):
        super().__init__(message)
        self.code, self.message, self.notes, self.help = code, message, notes, help

    def at(self, span: Span | None, label: str = "") -> Failure:
        """The failure, begun at `span`."""
        return Failure(
            Diagnostic(self.code, self.message, span, label=label, notes=self.notes, help=self.help)
        )


class RunError(Exception):
    """A flow that failed: the cause, and what was finished before.

    `finished` has an entry for each top-level value that cost work: its value, with None for the
    items of a parallel map that are missing, whose indexes are listed.
    """

    def __init__(self, failure: Failure, finished: dict[str, Any] | None = None):
        self.diagnostic = failure.diagnostic
        self.diagnostics = (failure.diagnostic,)
        self.finished: dict[str, Json] = finished or {}
        super().__init__(failure.diagnostic.render())


class RunTimeout(RunError, TimeoutError):
    """A flow that was not done in time."""
