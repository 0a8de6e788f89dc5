"""How the stages of the front end report a mistake: the first one of a declaration ends its parse.

A syntax error makes whatever follows it in the same declaration doubtful, so each declaration
reports at most one; the others are parsed all the same (see parse.py).
"""

from parrotc.ir.diagnostic import Diagnostic, Label
from parrotc.ir.source import Source, Span


class Problem(Exception):
    """The one syntax error of a declaration."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def problem(
    source: Source,
    place: tuple[int, int],
    code: str,
    message: str,
    *,
    label: str = "",
    other: tuple[int, int, str] | None = None,
    note: str = "",
    help: str = "",
) -> Problem:
    """A problem at `place`, start and end; `other` is a second place and a word about it."""
    labels = (Label(Span(source, other[0], other[1]), other[2]),) if other else ()
    notes = (note,) if note else ()
    return Problem(Diagnostic(code, message, Span(source, *place), label, labels, notes, help))
