"""The cause of a failure as JSON: what stays of it in a journal."""

from typing import Any

from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.types import Json


def told(cause: Diagnostic) -> Json:
    """Its place stays in words only: the source is not kept."""
    where = (f"at {cause.span}",) if cause.span else ()
    return [cause.code, cause.message, [*cause.notes, *where], cause.help]


def cause_of(held: Any) -> Diagnostic:
    """What `told` gave, as it was."""
    code, message, notes, help = held
    return Diagnostic(code, message, notes=tuple(notes), help=help)
