"""Checks that need no parser: what begins a declaration, what stands outside of all, tabs."""

import re
from difflib import get_close_matches

from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.source import Source, Span
from parrotc.syntax import words
from parrotc.syntax.problem import problem
from parrotc.syntax.scan import Masked
from parrotc.syntax.text import tab_indent

RUNS_ON = frozenset({"E0102", "E0106", "E0201", "E0202", "E0203", "E0208"})
"""After one of these, what follows in the first column may still belong to the broken declaration:
a body without indentation, arguments in a bracket, the text of an unclosed block."""

_WORD = re.compile(r"\w+")
_STRAY = re.compile(r"^\ufeff?+[ \t]*+(?!#)(\S[^\n]*)", re.MULTILINE)
_TAB = re.compile(r"^[ ]*+\t(?=[ \t]*+\S)", re.MULTILINE)


def nothing_declared(source: Source) -> Diagnostic:
    return Diagnostic(
        "E0116",
        "nothing is declared in this file",
        Span(source, 0, 0),
        help="declare a prompt with `pfunc`, and how prompts are used with `flow`",
    )


def outside(source: Source, end: int) -> Diagnostic | None:
    """The first thing before `end`, the first declaration, that is no comment."""
    found = _STRAY.search(source.text, 0, end)
    if found is None:
        return None
    return Diagnostic(
        "E0101",
        "this line is outside of any declaration",
        Span(source, found.start(1), found.start(1) + len(found.group(1).rstrip())),
        notes=(f"in the first column a declaration begins, with {words.one_of(words.HEADS)}",),
    )


def check_head(source: Source, start: int, head: int) -> None:
    """Raise `Problem` unless the line at `head`, after decorators, begins a declaration."""
    line = source.line(source.position(head)[0]).rstrip()
    found = _WORD.match(source.text, head)
    if found is None:
        raise problem(
            source,
            (head, head + len(line)),
            "E0118",
            "this decorator belongs to no declaration",
            help="put it on the line before `pfunc`, `flow` or another declaration",
        )
    word = found.group()
    if word not in words.HEADS:
        raise problem(
            source,
            found.span(),
            "E0101",
            f"`{word}` does not begin a declaration",
            help=_instead_of(word, line),
        )
    if start != head and word in words.UNDECORATED:
        raise problem(source, found.span(), "E0118", f"`{word}` takes no decorators")


def _instead_of(word: str, line: str) -> str:
    """What might have been meant by a line that starts with `word`."""
    if word in words.HEAD_HELP:
        return words.HEAD_HELP[word]
    if re.match(r"\w+\s*(:[^=]+)?=(?!=)", line):
        return f"write `const {line}`"
    near = get_close_matches(word, words.HEADS, n=1)
    return f"did you mean `{near[0]}`?" if near else f"begin with {words.one_of(words.HEADS)}"


def check_tabs(masked: Masked) -> None:
    """Raise `Problem` for a tab before the first character of a line."""
    found = _TAB.search(masked.text)
    if found:
        raise tab_indent(masked.source, masked.start + found.end() - 1)


def check_hole(masked: Masked) -> None:
    """Raise `Problem` for a hole with nothing in it."""
    if not masked.text.strip():
        raise problem(
            masked.source,
            (masked.start - 2, masked.start + len(masked.text) + 2),
            "E0205",
            "this hole is empty",
            help="write `{{gen}}` or `{{name}}`, or `\\{{` for two literal braces",
        )
