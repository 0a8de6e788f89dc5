"""What to say where the parser stopped: the fact in the user's own words, and a way out.

Each question looks at the place and either knows the answer or passes; the last one only knows what
could have stood there. Token names never reach the user (words.py).
"""

import re
from dataclasses import dataclass

import lark
from lark.parsers.lalr_interactive_parser import InteractiveParser

from parrotc.syntax import words
from parrotc.syntax.problem import Problem, problem
from parrotc.syntax.scan import Masked


@dataclass(frozen=True, slots=True)
class Stop:
    """An unexpected token, at `[start, end)` of the masked text, and what could have stood there.

    `kind` is empty for a character that begins no token, and `_NL` at the end of a line or hole;
    `opens` is true where a `:` would begin a body.
    """

    masked: Masked
    start: int
    end: int
    kind: str
    expected: frozenset[str]
    opens: bool = False

    @property
    def found(self) -> str:
        """The user's own text."""
        base = self.masked.start
        return self.masked.source.text[base + self.start : base + self.end]

    @property
    def before(self) -> str:
        """The masked text of the line before the place."""
        return self.masked.text[: self.start].rpartition("\n")[2]

    @property
    def after(self) -> str:
        """The masked text of the line from the place on."""
        return self.masked.text[self.start :].partition("\n")[0].rstrip()

    def problem(
        self, code: str, message: str, *, label: str = "", note: str = "", help: str = ""
    ) -> Problem:
        base = self.masked.start
        place = (base + self.start, base + self.end)
        return problem(self.masked.source, place, code, message, label=label, note=note, help=help)


def explain(masked: Masked, mistake: lark.UnexpectedInput) -> Problem:
    """The problem that a failed parse of `masked` shows."""
    stop = _stop(masked, mistake)
    for question in _QUESTIONS:
        if answer := question(stop):
            return answer
    return _anything(stop)


def bad_dedent(masked: Masked, at: int) -> Problem:
    """The line at `at` goes back to a column where nothing began."""
    line = masked.text[at:].partition("\n")[0].rstrip()
    stop = Stop(masked, at, at + len(line), "_DEDENT", frozenset())
    return stop.problem(
        "E0102",
        "this line is indented like no line above it",
        help="indent it as far as the line it belongs with",
    )


def _stop(masked: Masked, mistake: lark.UnexpectedInput) -> Stop:
    expected = _accepted(mistake.interactive_parser)
    if isinstance(mistake, lark.UnexpectedCharacters):
        at = mistake.pos_in_stream or 0
        return Stop(masked, at, at + 1, "", expected)
    assert isinstance(mistake, lark.UnexpectedToken)
    token = mistake.token
    start, end = token.start_pos or 0, token.end_pos or 0
    match token.type:
        case "_NL" | "$END":
            at = len((masked.text[:start] if token.type == "_NL" else masked.text).rstrip())
            opens = "COLON" in expected and _opens(mistake.interactive_parser)
            return Stop(masked, at, at, "_NL", expected, opens)
        case "_INDENT" | "_DEDENT":
            line = masked.text[end:].partition("\n")[0].rstrip()
            return Stop(masked, end, end + len(line), token.type, expected)
        case kind:
            return Stop(masked, start, end, kind, expected)


def _accepted(state: InteractiveParser) -> frozenset[str]:
    return frozenset(state.accepts())  # type: ignore[no-untyped-call]


def _opens(state: InteractiveParser) -> bool:
    """Whether a `:` would be followed by the end of the line, and so by a body."""
    after = state.copy()  # type: ignore[no-untyped-call]
    after.feed_token(lark.Token("COLON", ":"))
    return _accepted(after) == {"_NL"}


# --- questions ---


def _word(stop: Stop) -> Problem | None:
    """A word of Python, at the start of the line, before the place or at it."""
    line = stop.before + stop.after
    if stop.masked.inside or not line.strip():
        return None
    first = re.match(r"\s+(\w+)\b(?!\s*[=.(\[,])", line)  # in the first column they are ours
    last = re.search(r"(\w+)\s*$", stop.before)
    at_line = stop.start - len(stop.before)
    places = [found.span(1) for found in (first, last) if found]
    for start, end in [(at_line + start, at_line + end) for start, end in places]:
        if stop.masked.text[start:end] in words.STATEMENT_HELP:
            return _no_word(Stop(stop.masked, start, end, "NAME", stop.expected))
    return _no_word(stop) if stop.found in words.STATEMENT_HELP else None


def _no_word(stop: Stop) -> Problem:
    help = words.STATEMENT_HELP[stop.found]
    return stop.problem("E0109", f"`{stop.found}` cannot stand here", help=help)


def _character(stop: Stop) -> Problem | None:
    if stop.kind:
        return None
    sign = stop.found
    if sign.isalpha():
        note = "a name has the letters a to z and A to Z, digits and `_`"
        return stop.problem("E0108", f"`{sign}` cannot stand in a name", note=note)
    help = next((h for signs, h in words.SIGN_HELP.items() if stop.after.startswith(signs)), "")
    shown = f"`{sign}`" if sign.isprintable() else f"the character U+{ord(sign):04X}"
    return stop.problem("E0108", f"{shown} cannot stand outside of a text", help=help)


def _indent(stop: Stop) -> Problem | None:
    if stop.expected == {"_INDENT"}:
        at_end = stop.kind == "_NL"
        return stop.problem(
            "E0102",
            f"the body {'of this declaration' if at_end else 'before this line'} is missing",
            label="expected an indented line",
            help="indent the body, or write `pass` for an empty one",
        )
    if stop.kind == "_INDENT":
        return stop.problem(
            "E0102",
            "this line is indented deeper than the line before it",
            help="indent it like the lines around it, or end the line before with `:`",
        )
    return None


def _colon(stop: Stop) -> Problem | None:
    if not stop.opens:
        return None
    return stop.problem(
        "E0104",
        "a `:` is missing at the end of this line",
        label="expected `:`",
        note="the indented body follows the `:`",
    )


def _untyped(stop: Stop) -> Problem | None:
    """A parameter, an output or a field without a type."""
    name = re.search(r"\w+$", stop.before)
    if stop.expected != {"COLON"} or stop.opens or name is None:
        return None
    return stop.problem(
        "E0111",
        f"`{name.group()}` has no type",
        label="expected `:` and a type",
        help=f"write `{name.group()}: str`, or another type",
    )


def _arrow(stop: Stop) -> Problem | None:
    if stop.expected != {"ARROW"}:
        return None
    return stop.problem(
        "E0105",
        "the result type is missing",
        label="expected `->`",
        help="write `-> str`, or `-> (name: type, …)` for several results",
    )


def _equals(stop: Stop) -> Problem | None:
    if stop.kind != "EQUAL":
        return None
    if re.match(r"\s*(if|elif|assert|break|return|match)\b|.*\bif\b", stop.before):
        return stop.problem(
            "E0107", "`=` does not compare", help="write `==` to ask whether two values are equal"
        )
    return None


def _chain(stop: Stop) -> Problem | None:
    if stop.kind != "COMPARE":
        return None
    return stop.problem(
        "E0112",
        "comparisons do not chain",
        label="a second comparison",
        help="write `a < b and b < c`",
    )


def _reserved(stop: Stop) -> Problem | None:
    if stop.found not in words.RESERVED or "NAME" not in stop.expected or "INT" in stop.expected:
        return None
    return stop.problem(
        "E0111",
        f"`{stop.found}` is a reserved word",
        label="expected a name",
        help=f"write `{stop.found}_`, or another name",
    )


def _message(stop: Stop) -> Problem | None:
    """A message in a flow."""
    role = stop.before.strip().rstrip(":")
    if role not in words.ROLES or stop.kind not in ("TEXT", "_NL"):
        return None
    start = stop.start - len(stop.before.lstrip())
    place = Stop(stop.masked, start, start + len(role), "NAME", stop.expected)
    return place.problem(
        "E0109", f"`{role}` cannot stand here", help="messages belong in the body of a `pfunc`"
    )


def _piece(stop: Stop) -> Problem | None:
    """A statement in a semantic function."""
    if not {"TEXT", "ROLE", "_PASS"} <= stop.expected:
        return None
    return stop.problem(
        "E0111",
        f"`{_short(stop.found)}` cannot stand here",
        label=f"expected {words.describe(stop.expected)}",
        note="the body of a `pfunc` is a prompt; statements belong in a `flow`",
    )


def _quotes(stop: Stop) -> Problem | None:
    """What follows a text on its line, as in `"He said "hi""`."""
    after_text = stop.before.rstrip().endswith('"') and stop.kind in ("NAME", "TEXT")
    inside = stop.kind == "TEXT" and stop.before[-1:].isalnum()
    if not after_text and not inside:
        return None
    apart = stop.before.endswith(" ") and stop.kind == "TEXT"
    return stop.problem(
        "E0111",
        f"`{_short(stop.found)}` cannot stand here",
        label="the text has ended before this",
        help="join texts with `+`" if apart else 'write `\\"` for a quote inside a text',
    )


_QUESTIONS = (
    _word, _character, _indent, _colon, _untyped, _arrow, _equals, _chain, _reserved, _message,
    _piece, _quotes,
)  # fmt: skip


def _anything(stop: Stop) -> Problem:
    expected = words.describe(stop.expected)
    label = f"expected {expected}" if expected else ""
    if stop.kind == "_NL":
        what = "hole" if stop.masked.inside else "line"
        return stop.problem("E0111", f"this {what} ends too early", label=label)
    return stop.problem("E0111", f"`{_short(stop.found)}` cannot stand here", label=label)


def _short(text: str) -> str:
    """A text as it fits into a message."""
    first = text.strip().split("\n", 1)[0].rstrip()
    return first if first == text.strip() and len(first) <= 30 else f"{first[:30].rstrip()}…"
