"""Where in a user's file something was called: remembered cheaply, found when it is asked for."""

import linecache
import sys
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from types import CodeType

from parrotc.ir.diagnostic import Label
from parrotc.ir.source import Source, Span
from parrotc.python.places import Places
from parrotc.runtime.errors import Failure


@dataclass(frozen=True, slots=True)
class Place:
    """An instruction of a function that was running."""

    code: CodeType
    instruction: int

    @classmethod
    def of_caller(cls, depth: int) -> "Place":
        """`depth` 1 is the caller of whoever asks."""
        frame = sys._getframe(depth + 1)
        return cls(frame.f_code, frame.f_lasti // 2)

    def span(self) -> Span | None:
        """The text of the call; None where the source cannot be had."""
        where = next(islice(self.code.co_positions(), self.instruction, None), None)
        places = _places(self.code.co_filename)
        if where is None or places is None:
            return None
        line, end_line, column, end_column = where
        if line is None or end_line is None or column is None or end_column is None:
            return None
        try:
            start, end = places.offset(line, column), places.offset(end_line, end_column)
        except (IndexError, UnicodeDecodeError):
            return None  # the file was changed since
        return Span(places.source, start, end)

    def explained(self, failure: Failure) -> Failure:
        """A failure that began in this call, told at the call."""
        span = self.span()
        if span is None:
            return failure
        found = failure.diagnostic
        began = (Label(found.span, found.label or "it began here"),) if found.span else ()
        return Failure(replace(found, span=span, label="called here", labels=began + found.labels))


@cache
def _places(file: str) -> Places | None:
    text = "".join(linecache.getlines(file))
    return Places(Source(file, text)) if text else None
