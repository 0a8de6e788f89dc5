"""Texts of prompts in Python: string literals with holes, dedented as docstrings are.

    '''                                       "Summarise this passage."
    Summarise this passage.         ==>       "" (an empty line)
                                              the hole {{part}}
    {{part}}
    '''

A literal is read from the source, not from its value: holes are written in the language of holes,
so `stop="\\n"` in one means the same with and without `r` before the quotes. Outside of holes the
escapes are Python's, and `\\{{` (in a text that is not raw also `\\\\{{`) is two literal braces.
A text between triple quotes over several lines has the margin of `inspect.cleandoc`: that of its
least indented line after the first, with blank lines at both ends left out. The margin comes off
before escapes, so what an escape or a value says never changes it.
"""

import ast
import io
import re
import tokenize
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from parrotc.ir.source import Source, Span
from parrotc.python.places import Places
from parrotc.syntax.parse import hole
from parrotc.syntax.problem import Problem
from parrotc.syntax.text import Part, after_margin, cut_at_holes, ends_in_join, tab_indent
from parrotc.syntax.tree import Template

_OPENING = re.compile(r"([A-Za-z]*)('''|\"\"\"|'|\")")
_ESCAPE = (
    r"\\\\\{\{|\\\{\{|\\(?:\r?\n|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}"
    r"|N\{[^}]*\}|[0-7]{1,3}|.)"
)
_TEXT = re.compile(rf"{_ESCAPE}|\n|\{{\{{")
_RAW = re.compile(r"\\\{\{|(?<!\\)\\\n|\n|\{\{")
_SIMPLE = {
    "\\": "\\", "'": "'", '"': '"', "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r",
    "t": "\t", "v": "\v",
}  # fmt: skip


@dataclass(frozen=True)
class Written:
    """One literal in the source: the range between its quotes."""

    start: int
    end: int
    raw: bool
    block: bool


def template(places: Places, node: ast.expr) -> Template:
    """The text of a string literal, which may be several side by side. Raises `Problem`."""
    if isinstance(node, ast.JoinedStr):
        raise places.problem(
            node,
            "E0122",
            "the text of a prompt is an f-string",
            note="Python would fill it when the file is loaded, before there are values",
            help="drop the `f` and write holes: `{{name}}`",
        )
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        raise places.problem(
            node,
            "E0122",
            "the text of a prompt is a string literal",
            note="the compiler must see it, so it is neither computed nor bytes",
            help='a constant goes into a hole: `"{{NAME}}"`',
        )
    places.check_text(node, node.value)
    span = places.span(node)
    parts: list[Part] = []
    joined = False
    for written in _literals(span):
        try:
            more, joined = _content(places.source, written)
        except Problem as mistake:
            raise _escaped_quote(places, node, written, mistake) from None
        parts += more
    return Template(span=span, parts=tuple(parts), joined=joined)


def _escaped_quote(places: Places, node: ast.expr, written: Written, mistake: Problem) -> Problem:
    """A hole is read as it is written, so a quote in it cannot be escaped for Python."""
    text = places.source.text[written.start : written.end]
    if mistake.diagnostic.code != "E0204" or not re.search(r"\{\{[^}]*\\['\"]", text):
        return mistake
    return places.problem(
        node,
        "E0122",
        "a quote in a hole is escaped",
        note="holes are read from the source, as they are written",
        help="put the literal between the other quotes: `'… {{gen stop=\".\"}}'`",
    )


def _literals(span: Span) -> Iterator[Written]:
    """The literals of a constant: Python joins those that stand side by side."""
    text = f"({span.text()})"
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.STRING:
            continue
        opening = _OPENING.match(token.string)
        assert opening is not None
        prefix, quote = opening.groups()
        at = span.start - 1 + starts[token.start[0] - 1] + token.start[1]
        yield Written(
            at + opening.end(),
            at + len(token.string) - len(quote),
            "r" in prefix.lower(),
            len(quote) == 3 and "\n" in token.string,
        )


def _content(source: Source, written: Written) -> tuple[tuple[Part, ...], bool]:
    """The parts of one literal, and whether it ends in a `\\` that joins it to what follows."""
    start, end, margin, joined = written.start, written.end, 0, False
    if written.block:
        start, end, margin = _layout(source, written)
        tail = source.text[start:end]
        joined = ends_in_join(tail)
        end -= joined

    def value(found: re.Match[str]) -> tuple[str, int]:
        matched = found.group()
        if matched.endswith("\n"):
            skipped = after_margin(source.text, found.end(), margin, end)
            return ("" if matched[0] == "\\" else "\n"), skipped
        return _escaped(matched), found.end()

    special = _RAW if written.raw else _TEXT
    parse_hole = lambda first, last: hole(source, first, last)  # noqa: E731
    return tuple(cut_at_holes(source, (start, end), special, value, parse_hole)), joined


def _escaped(matched: str) -> str:
    """What an escape stands for; one that Python does not know stays as it is written."""
    if matched.endswith("{{"):
        return "{{"
    name = matched[1:]
    if name in _SIMPLE:
        return _SIMPLE[name]
    if name[0] in "xuU" and len(name) > 1:
        return chr(int(name[1:], 16))
    if name[0] in "01234567":
        return chr(int(name, 8))
    if name.startswith("N{"):
        return unicodedata.lookup(name[2:-1])
    return matched


def _layout(source: Source, written: Written) -> tuple[int, int, int]:
    """Where the text of a block begins and ends, and how many columns its margin takes."""
    text = source.text
    lines: list[tuple[int, int]] = []
    at = written.start
    while at <= written.end:
        stop = text.find("\n", at, written.end)
        stop = written.end if stop < 0 else stop
        lines.append((at, stop))
        at = stop + 1
    filled = [(a, b) for a, b in lines if text[a:b].strip()]
    if not filled:
        return written.end, written.end, 0
    indents = [_indent(source, a, b) for a, b in filled if a != written.start]
    margin = min(indents, default=0)
    first, last = filled[0][0], filled[-1][1]
    if first == written.start:
        return first + len(text[first:last]) - len(text[first:last].lstrip()), last, margin
    return first + margin, last, margin


def _indent(source: Source, start: int, end: int) -> int:
    line = source.text[start:end]
    indent = len(line) - len(line.lstrip())
    if "\t" in line[:indent]:
        raise tab_indent(source, start + line.index("\t"))
    return indent
