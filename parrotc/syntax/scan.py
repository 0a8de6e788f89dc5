"""Texts, comments and brackets: what the parser must not look into, found in one walk.

    user "Hi {{name}}"  # greet         ==>         user "~~~~~~~~~~~"

`scan` gives the same characters with every text replaced by `"~~~"` and every comment by spaces,
so that the grammar stays simple and offsets stay right, and says where each text is. It never goes
back: whatever the input, the time is linear.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from parrotc.ir.source import Source
from parrotc.syntax.problem import Problem, problem
from parrotc.syntax.words import is_declaration

MAX_DEPTH = 100
"""How deep brackets, blocks and expressions may nest: every later stage walks them recursively."""


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


@dataclass(frozen=True, slots=True)
class Masked:
    """The characters of `source` from `start` on, masked, and the texts that were masked.

    `inside` is true for a hole: a text in there has no holes of its own.
    """

    source: Source
    start: int
    text: str
    quoted: Mapping[int, Quoted]
    inside: bool = False


_MARK = re.compile(r"""(?<!\w)r"|["'#()\[\]{}\r]""")
_START = re.compile(r"(?<=\n)\w")
_OPENING = {")": "(", "]": "[", "}": "{"}


def scan(source: Source, start: int, end: int, *, inside: bool = False) -> Masked:
    """Mask `[start, end)`. Raises `Problem` for an unclosed text or bracket."""
    out: list[str] = []
    quoted: dict[int, Quoted] = {}
    brackets: list[int] = []
    at = start
    while mark := _MARK.search(source.text, at, end):
        here = mark.start()
        out.append(source.text[at:here])
        at = mark.end()
        match mark.group():
            case '"' | 'r"':
                text = _quoted(source, here, end, inside)
                quoted[here] = text
                at = text.end
                out.append(f'"{"~" * (at - here - 2)}"')
            case "#" if not inside:
                at = _line_end(source, here, end)
                out.append(" " * (at - here))
            case "'":
                raise _single_quote(source, here, end)
            case "\r":
                out.append(" " if source.text.startswith("\n", at) else "\r")
            case sign:
                _bracket(source, here, brackets)
                out.append(sign)
    out.append(source.text[at:end])
    if brackets:
        raise _unclosed_bracket(source, brackets[-1], end)
    masked = "".join(out)
    return Masked(source, start, masked.replace("\n", " ") if inside else masked, quoted, inside)


def _bracket(source: Source, here: int, brackets: list[int]) -> None:
    """Open or close a bracket; `brackets` holds where the open ones are."""
    sign = source.text[here]
    if sign not in _OPENING:
        brackets.append(here)
        if len(brackets) > MAX_DEPTH:
            raise problem(
                source,
                (here, here + 1),
                "E0110",
                f"brackets nest more than {MAX_DEPTH} deep",
                label="one too many",
                help="give the inner parts names of their own",
            )
        return
    if not brackets:
        raise problem(source, (here, here + 1), "E0106", f"`{sign}` closes nothing")
    opened = brackets.pop()
    if source.text[opened] != _OPENING[sign]:
        raise problem(
            source,
            (here, here + 1),
            "E0106",
            f"`{sign}` does not close `{source.text[opened]}`",
            other=(opened, opened + 1, "opened here"),
        )


def _unclosed_bracket(source: Source, at: int, end: int) -> Problem:
    sign = source.text[at]
    closing = {value: key for key, value in _OPENING.items()}[sign]
    cut = _START.match(source.text, end) and not is_declaration(source.text, end)
    return problem(
        source,
        (at, at + 1),
        "E0106",
        f"`{sign}` is never closed",
        label="opened here",
        note="what begins in the first column is another declaration" if cut else "",
        help=f"add `{closing}` where it ends",
    )


def _single_quote(source: Source, at: int, end: int) -> Problem:
    line_end = _line_end(source, at, end)
    close = source.text.find("'", at + 1, line_end)
    place = (at, close + 1) if close >= 0 else (at, at + 1)
    inner = source.text[at + 1 : close] if close >= 0 else ""
    better = f'"{inner}"' if inner and '"' not in inner and "\\" not in inner else '"…"'
    return problem(
        source, place, "E0108", "a text stands in double quotes", help=f"write `{better}`"
    )


# --- texts ---

_LINE = re.compile(r'(?:[^"\\\n{]++|\\.|\{(?!\{)|\{\{[^"{}\n]*+\}\})*+')
_LINE_INSIDE = re.compile(r'(?:[^"\\\n]++|\\.)*+')
_RAW_LINE = re.compile(r'[^"\n]*+')
_QUOTES = re.compile(r'"++')
_IN_HOLE = re.compile(r'(?<!\w)r"[^"\n]*+"|"(?:[^"\\\n]++|\\.)*+"|["{}\n]')
_CONTENT = re.compile(r"^([ \t]*+)[^\s]", re.MULTILINE)
_CLOSING = re.compile(r'^[ \t]*+("{3,}+)([^\n]*+)', re.MULTILINE)


def hole_end(text: str, start: int, end: int, *, one_line: bool) -> int | None:
    """Where the hole that opens at `start` ends; None if not before `end`, or on its line."""
    depth = 0
    for mark in _IN_HOLE.finditer(text, start + 2, end):
        match mark.group():
            case "{":
                depth += 1
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


def _quoted(source: Source, start: int, end: int, inside: bool) -> Quoted:
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
    line_end = _line_end(source, opened, end)
    if source.text[opened:line_end].strip():
        raise problem(
            source,
            (opened, line_end),
            "E0202",
            "text follows the fence that opens a block",
            label="belongs on the next line",
            help='start the text on a line of its own, or use one pair of `"` for a single line',
        )
    almost: re.Match[str] | None = None
    for line in _CLOSING.finditer(source.text, line_end, end):
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
    line = source.text.rindex("\n", 0, start) + 1 if "\n" in source.text[:start] else 0
    before = source.text[line:start]
    column = len(before) - len(before.lstrip()) + bool(before.strip())
    for found in _CONTENT.finditer(source.text, opened, end):
        if len(found.group(1)) < column:
            return found.end(1)
    return end if end < len(source.text) else None


def left_of_margin(source: Source, at: int, opening: tuple[int, int, str]) -> Problem:
    """The text at `at` is inside the block that `opening` begins, but left of its margin."""
    stop = _line_end(source, at, len(source.text))
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
    stop = start + len(source.text[start : _line_end(source, start, end)].rstrip())
    return problem(
        source,
        (start, stop),
        "E0206",
        "this text is not closed on its line",
        label="opened here",
        note='a text of several lines stands between two lines of `"""`',
    )


def _line_end(source: Source, at: int, end: int) -> int:
    found = source.text.find("\n", at, end)
    return end if found < 0 else found
