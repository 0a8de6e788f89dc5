"""What a quoted text says: its margin taken off, its escapes resolved, its holes cut out.

A block's margin is the column of its closing fence. It comes off the raw source, before escapes and
long before values, so that a value of several lines never changes it. A block is raw but for `\\{{`
(two braces) and a single `\\` at the end of a line (join); a one-line text has the usual escapes.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from parrotc.ir.source import Source, Span
from parrotc.syntax.problem import Problem, problem
from parrotc.syntax.quoted import Quoted, hole_end, left_of_margin, unclosed_hole
from parrotc.syntax.tree import Gen, Show, TextPart

Part = TextPart | Show | Gen


@dataclass(frozen=True, slots=True)
class Content:
    """The parts of a text, and whether it ends in a `\\` that joins it to the next piece."""

    parts: tuple[Part, ...]
    joined: bool = False


ParseHole = Callable[[int, int], Show | Gen]
"""Parses the inside `[start, end)` of a hole, braces not included."""

_Value = Callable[[re.Match[str]], tuple[str, int]]
"""What a special sequence stands for, and where to read on."""


def read_text(source: Source, quoted: Quoted, parse_hole: ParseHole | None) -> Content:
    """The content of a quoted text; without `parse_hole` braces are text like any other."""
    if quoted.is_block:
        return _read_block(source, quoted, None if quoted.raw else parse_hole)
    start, end = quoted.start + quoted.raw + 1, quoted.end - 1
    if quoted.raw:
        return Content(_text_part(source, start, end, source.text[start:end]))
    special = _ESCAPE_OR_HOLE if parse_hole else _ESCAPE
    parts = cut_at_holes(
        source, (start, end), special, lambda found: _escape(source, found), parse_hole
    )
    return Content(tuple(parts))


def cut_at_holes(
    source: Source,
    place: tuple[int, int],
    special: re.Pattern[str],
    value: _Value,
    parse_hole: ParseHole | None,
) -> Iterator[Part]:
    """The text of `place` with each `special` sequence replaced by its value, cut at the holes."""
    at, end = place
    begin, pending = at, [""]
    while found := special.search(source.text, at, end):
        pending.append(source.text[at : found.start()])
        if found.group() != "{{" or parse_hole is None:
            text, at = value(found)
            pending.append(text)
            continue
        yield from _text_part(source, begin, found.start(), "".join(pending))
        close = hole_end(source.text, found.start(), end, one_line=False)
        if close is None:
            raise unclosed_hole(source, found.start())
        yield parse_hole(found.end(), close - 2)
        begin, at, pending = close, close, []
    pending.append(source.text[at:end])
    yield from _text_part(source, begin, end, "".join(pending))


def _text_part(source: Source, start: int, end: int, text: str) -> tuple[TextPart, ...]:
    return (TextPart(span=Span(source, start, end), text=text),) if text else ()


# --- one-line texts ---

_ESCAPE = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\{\{|.)",
)
_ESCAPE_OR_HOLE = re.compile(_ESCAPE.pattern + r"|\{\{")
_ESCAPES = {
    '"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t", "0": "\0", "{{": "{{",
}  # fmt: skip


def _escape(source: Source, found: re.Match[str]) -> tuple[str, int]:
    name = found.group()[1:]
    if name in _ESCAPES:
        return _ESCAPES[name], found.end()
    code = int(name[1:], 16) if len(name) > 1 else -1
    # A lone surrogate is no character: it could not be written out as UTF-8 again.
    if 0 <= code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF:
        return chr(code), found.end()
    raise problem(
        source,
        found.span(),
        "E0207",
        f"`{found.group()}` is not an escape",
        note='the escapes are \\n \\r \\t \\0 \\" \\\\ \\{{ \\xFF \\uFFFF \\UFFFFFFFF',
        help=f'write `\\{found.group()}`, or r"…" for a text without escapes',
    )


# --- blocks ---

_JOIN = r"(?<!\\)\\\r?\n"
_BLOCK = re.compile(rf"{_JOIN}|\r?\n|(?<!\\)\\\{{\{{|\{{\{{")
_RAW_BLOCK = re.compile(r"\r?\n")


def _read_block(source: Source, quoted: Quoted, parse_hole: ParseHole | None) -> Content:
    text = source.text
    first = text.index("\n", quoted.start) + 1
    closing = text.rindex("\n", 0, quoted.end) + 1
    margin = quoted.end - quoted.fence - closing
    _check_margin(source, quoted, first, closing, margin)
    last = closing - 1
    if first <= last and text.startswith("\r", last - 1):
        last -= 1
    joined = not quoted.raw and ends_in_join(text[first:last])

    def value(found: re.Match[str]) -> tuple[str, int]:
        match found.group():
            case "\\{{" | "{{":
                return "{{", found.end()
            case newline:
                goes_on = after_margin(text, found.end(), margin, last)
                return "" if newline[0] == "\\" else "\n", goes_on

    if first > last:
        return Content((), joined)
    special = _RAW_BLOCK if quoted.raw else _BLOCK
    place = (after_margin(text, first, margin, last), last - joined)
    return Content(tuple(cut_at_holes(source, place, special, value, parse_hole)), joined)


def after_margin(text: str, at: int, margin: int, end: int) -> int:
    """Where a line that starts at `at` goes on; a blank line may be shorter than the margin."""
    stop = min(at + margin, end)
    newline = text.find("\n", at, stop)
    return stop if newline < 0 else newline


def ends_in_join(text: str) -> bool:
    """Whether a single `\\` at the end joins a text to what follows it."""
    return text.endswith("\\") and not text.endswith("\\\\")


def _check_margin(source: Source, quoted: Quoted, first: int, closing: int, margin: int) -> None:
    """Nothing but blanks stands left of the closing fence, and the fence is indented."""
    fence = (closing + margin, quoted.end)
    if margin == 0:
        raise problem(
            source,
            fence,
            "E0208",
            "the fence that closes a block stands at the start of the line",
            note="its column is the left margin of the text, and column 1 begins a declaration",
            help="indent the fence as far as the text",
        )
    opening = (quoted.start, quoted.start + quoted.raw + quoted.fence, "the block opens here")
    at = first
    while at <= closing:
        stop = source.text.find("\n", at)
        stop = len(source.text) if stop < 0 else stop
        left = source.text[at : min(at + margin, stop)]
        if "\t" in left and source.text[at:stop].strip():
            raise tab_indent(source, at + left.index("\t"))
        if left.strip():
            raise left_of_margin(source, at + len(left) - len(left.lstrip()), opening)
        at = stop + 1


def tab_indent(source: Source, at: int) -> Problem:
    return problem(
        source,
        (at, at + 1),
        "E0103",
        "a tab stands in the indentation",
        label="a tab",
        note="how wide a tab is depends on the reader, so only spaces indent",
        help="replace it by spaces",
    )
