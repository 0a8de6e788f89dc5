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
from parrotc.syntax.quoted import Quoted, line_end, read_quoted
from parrotc.syntax.words import is_declaration

MAX_DEPTH = 100
"""How deep brackets, blocks and expressions may nest: every later stage walks them recursively."""


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
                text = read_quoted(source, here, end, inside)
                quoted[here] = text
                at = text.end
                out.append(f'"{"~" * (at - here - 2)}"')
            case "#":
                at = at if inside else line_end(source, here, end)  # a hole has no comments
                out.append("#" if inside else " " * (at - here))
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
    close = source.text.find("'", at + 1, line_end(source, at, end))
    place = (at, close + 1) if close >= 0 else (at, at + 1)
    inner = source.text[at + 1 : close] if close >= 0 else ""
    better = f'"{inner}"' if inner and '"' not in inner and "\\" not in inner else '"…"'
    return problem(
        source, place, "E0108", "a text stands in double quotes", help=f"write `{better}`"
    )
