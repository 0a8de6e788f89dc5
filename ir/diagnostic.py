"""One finding about a program, and how it reads in a terminal.

The message states a fact that stands alone; the label says a few words at the place; notes say
why; only `help` suggests what to do. Codes are grouped by area: E01 syntax, E02 text blocks, E03
names and types, E04 endpoint capabilities, E05 plan bounds, E06 run time, E08 tests, W02 text
lint, W05 sharing, W06 cost, W07 trust, W08 tests. Each has a page that `parrotc explain CODE`
prints.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from parrotc.ir.source import Span


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Label:
    """A secondary place, with a word on what it has to do with the finding."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `span` is None only when there is no text to point at (an unreadable file)."""

    code: str
    message: str
    span: Span | None = None
    label: str = ""
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str = ""

    @property
    def level(self) -> Level:
        return Level.WARNING if self.code.startswith("W") else Level.ERROR

    def render(self) -> str:
        """The finding as plain text, with the source lines it points at."""
        head = f"{self.level}[{self.code}]: {self.message}"
        lines = [head, *(_snippet(self.span, self.label, self.labels) if self.span else ())]
        gutter = " " * _gutter_width(self.span, self.labels)
        lines += [f"{gutter} = note: {note}" for note in self.notes]
        if self.help:
            lines.append(f"help: {self.help}")
        return "\n".join(lines)


class CompileError(Exception):
    """Raised once per compilation, with every diagnostic that was found."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n\n".join(d.render() for d in self.diagnostics))


_TAB = "    "


def _gutter_width(span: Span | None, labels: tuple[Label, ...]) -> int:
    spans = ([span] if span else []) + [label.span for label in labels]
    return max((len(str(s.position()[0])) for s in spans), default=1)


def _snippet(span: Span, label: str, labels: tuple[Label, ...]) -> list[str]:
    """The marked source lines: `^` under the primary span, `-` under the others, in line order."""
    width = _gutter_width(span, labels)
    here = [other for other in labels if other.span.source is span.source]
    marks = sorted(
        [(span, label, "^")] + [(other.span, other.text, "-") for other in here],
        key=lambda mark: mark[0].start,
    )
    out = [f"{' ' * width}--> {span}", f"{' ' * width} |"]
    last = 0
    for place, text, sign in marks:
        line, column = place.position()
        source_line = place.source.line(line)
        if last and line > last + 1:
            out.append("...")
        if line != last:
            out.append(f"{line:>{width}} | {source_line.replace(chr(9), _TAB)}".rstrip())
        length = max(1, min(place.end - place.start, len(source_line) - column + 1))
        indent = source_line[: column - 1].replace("\t", _TAB)
        out.append(f"{' ' * width} | {' ' * len(indent)}{sign * length} {text}".rstrip())
        last = line
    for other in labels:
        if other.span.source is not span.source:
            out.append(f"{' ' * width} ::: {other.span}: {other.text}")
    return out
