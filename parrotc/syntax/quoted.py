"""Where a text ends: one-line texts, blocks between fences, and the holes in both.

A text is found by jumping from one special character to the next with patterns that never give back
what they have matched, so that an unclosed text of any length costs one walk. What the text says is
read later, by text.py.
"""

import re
from dataclasses import dataclass

from parrotc.ir.source import Source
from parrotc.syntax.problem import Problem, problem


@dataclass(frozen=True, slots=True)
class Quoted:
    """A text in the source, with its quotes. A block has a fence of three quotes or more."""

    start: int
    end: int
    fence: int
    raw: bool

    @property
    def is_block(self) -> bool:
        return self.fence >= 3


_LINE = re.compile(r'(?:[^"\\\n{]++|\\.|\{(?!\{)|\{\{[^"{}\n]*+\}\})*+')
_LINE_INSIDE = re.compile(r'(?:[^"\\\n]++|\\.)*+')
_RAW_LINE = re.compile(r'[^"\n]*+')
_QUOTES = re.compile(r'"++')
_IN_HOLE = re.compile(r'(?<!\w)r"[^"\n]*+"|"(?:[^"\\\n]++|\\.)*+"|\{++|["}\n]')
_CONTENT = re.compile(r"^([ \t]*+)[^\s]", re.MULTILINE)
_CLOSING = re.compile(r'^[ \t]*+("{3,}+)([^\n]*+)', re.MULTILINE)


def read_quoted(source: Source, start: int, end: int, inside: bool) -> Quoted:
    """The text whose opening quote, or `r`, is at `start`."""
    raw = source.text[start] == "r"
    run = _QUOTES.match(source.text, start + raw, end)
    assert run is not None
    fence = len(run.group())
    if fence == 2:
        return Quoted(start, run.end(), 1, raw)
    if fence == 1:
        return Quoted(start, _one_line(source, start, raw, end, inside), 1, raw)
    return Quoted(start, _block(source, start, run.end(), fence, end), fence, raw)


def hole_end(text: str, start: int, end: int, *, one_line: bool) -> int | None:
    """Where the hole that opens at `start` ends; None if not before `end`, or on its line."""
    depth = 0
    for mark in _IN_HOLE.finditer(text, start + 2, end):
        match mark.group():
            case opening if opening[0] == "{":
                depth += len(opening)
            case "}" if depth:
                depth -= 1
            case "}" if text.startswith("}}", mark.start()):
                return mark.end() + 1
            case '"':
                return None
            case "\n" if one_line:
                return None
    return None


def unclosed_hole(source: Source, at: int) -> Problem:
    return problem(
        source,
        (at, at + 2),
        "E0204",
        "this hole is never closed",
        label="opened here",
        help="close it with `}}`, or write `\\{{` for two literal braces",
    )


def _one_line(source: Source, start: int, raw: bool, end: int, inside: bool) -> int:
    """The end of a one-line text that opens at `start`."""
    pattern = _RAW_LINE if raw else _LINE_INSIDE if inside else _LINE
    at = start + raw + 1
    while True:
        found = pattern.match(source.text, at, end)
        assert found is not None
        at = found.end()
        if source.text.startswith('"', at, end):
            return at + 1
        if not source.text.startswith("{{", at, end):
            raise _unclosed_text(source, start, end)
        closed = hole_end(source.text, at, end, one_line=True)
        if closed is None:
            raise unclosed_hole(source, at)
        at = closed


def _block(source: Source, start: int, opened: int, fence: int, end: int) -> int:
    """The end of the block that opens at `start`; its first line must end at `opened`."""
    first_end = line_end(source, opened, end)
    if source.text[opened:first_end].strip():
        raise problem(
            source,
            (opened, first_end),
            "E0202",
            "text follows the fence that opens a block",
            label="belongs on the next line",
            help='start the text on a line of its own, or use one pair of `"` for a single line',
        )
    almost: re.Match[str] | None = None
    for line in _CLOSING.finditer(source.text, first_end, end):
        if len(line.group(1)) == fence:
            after = line.group(2).strip()
            if not after or after[0] in ",)":
                return line.end(1)
            almost = almost or line
    raise _unclosed_block(source, start, opened, end, almost)


def _unclosed_block(
    source: Source, start: int, opened: int, end: int, almost: re.Match[str] | None
) -> Problem:
    opening = (start, opened, "the block opens here")
    if almost:
        return problem(
            source,
            almost.span(2),
            "E0208",
            "something follows the fence that closes a block",
            label="only `,` or `)` may stand here",
            other=opening,
            help="end the line after the fence",
        )
    swallowed = _first_swallowed(source, start, opened, end)
    if swallowed is not None:
        return left_of_margin(source, swallowed, opening)
    fence = source.text[start:opened].lstrip("r")
    return problem(
        source,
        (start, opened),
        "E0201",
        "this block is never closed",
        label="opened here",
        help=f"put `{fence}` on a line of its own, at the left margin of the text",
    )


def _first_swallowed(source: Source, start: int, opened: int, end: int) -> int | None:
    """The first line that an unclosed block takes in but that looks like code, by its column."""
    before = source.text[source.text.rfind("\n", 0, start) + 1 : start]
    column = len(before) - len(before.lstrip()) + bool(before.strip())
    for found in _CONTENT.finditer(source.text, opened, end):
        if len(found.group(1)) < column:
            return found.end(1)
    return end if end < len(source.text) else None


def left_of_margin(source: Source, at: int, opening: tuple[int, int, str]) -> Problem:
    """The text at `at` is inside the block that `opening` begins, but left of its margin."""
    stop = line_end(source, at, len(source.text))
    return problem(
        source,
        (at, at + len(source.text[at:stop].rstrip())),
        "E0203",
        "this line is inside a block of text, but left of its margin",
        other=opening,
        note="the column of the closing fence is the margin of the text",
        help="close the block before this line, or indent the line if it is text",
    )


def _unclosed_text(source: Source, start: int, end: int) -> Problem:
    stop = start + len(source.text[start : line_end(source, start, end)].rstrip())
    return problem(
        source,
        (start, stop),
        "E0206",
        "this text is not closed on its line",
        label="opened here",
        note='a text of several lines stands between two lines of `"""`',
    )


def line_end(source: Source, at: int, end: int) -> int:
    """The end of the line of `at`, or `end` if that comes first."""
    found = source.text.find("\n", at, end)
    return end if found < 0 else found
