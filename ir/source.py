"""Where program text comes from: a named text, and half-open ranges of it.

Everything that can be wrong with a program is shown against the user's own text, so every tree
node, op and plan step carries a `Span`. Offsets are characters (not bytes); lines and columns are
computed on demand and count from 1.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate


@dataclass(frozen=True, eq=False)
class Source:
    """A text and the name people know it by. Sources are equal only if they are the same object."""

    name: str
    text: str
    _starts: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        lengths = (len(line) for line in self.text.split("\n"))
        object.__setattr__(
            self, "_starts", list(accumulate((n + 1 for n in lengths), initial=0))[:-1]
        )

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of a character offset, both from 1."""
        line = bisect_right(self._starts, offset) - 1
        return line + 1, offset - self._starts[line] + 1

    def line(self, number: int) -> str:
        """The text of a line (from 1), without its newline."""
        start = self._starts[number - 1]
        end = self._starts[number] - 1 if number < len(self._starts) else len(self.text)
        return self.text[start:end]

    def line_count(self) -> int:
        return len(self._starts)


@dataclass(frozen=True, slots=True)
class Span:
    """The half-open range `[start, end)` of a source."""

    source: Source = field(repr=False)
    start: int
    end: int

    def position(self) -> tuple[int, int]:
        return self.source.position(self.start)

    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def to(self, other: "Span") -> "Span":
        """From the start of this span to the end of the other."""
        return Span(self.source, self.start, other.end)

    def __str__(self) -> str:
        line, column = self.position()
        return f"{self.source.name}:{line}:{column}"
