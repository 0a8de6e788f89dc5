"""What a failed test says: the line, the values on both sides, the values inside."""

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

from parrotc.check.plans import FIGURE
from parrotc.ir.diagnostic import Diagnostic, Label
from parrotc.ir.source import Source, Span
from parrotc.ir.types import Json
from parrotc.syntax import tree
from parrotc.testing.mocks import Mock
from parrotc.testing.stand import FalseAssertion

_SHORT, _LONG = 60, 300  # characters of a value: beside the line, in a note
_MOST_LINES = 20  # of a difference


def false_assertion(failed: FalseAssertion) -> Diagnostic:
    """The finding for an assertion that does not hold."""
    condition = failed.assertion.condition
    values = dict(zip(failed.assertion.parts, failed.values, strict=True))
    label = _label(condition, values)
    return Diagnostic(
        "E0801",
        failed.message or "the assertion is false",
        condition.span,
        label=label or "this is false",
        notes=(*_difference(condition, values), *_parts(condition, values, shown=bool(label))),
    )


def _label(condition: tree.Expr, values: dict[tree.Expr, Json]) -> str:
    """The comparison with both its values, if they are short and say more than the text does."""
    if not isinstance(condition, tree.Binary):
        return ""
    sides = [_shown(values[side]) for side in (condition.left, condition.right)]
    text = f" {condition.op} ".join(sides)
    is_short = all(len(side) <= _SHORT for side in sides)
    return text if is_short and text != condition.span.text() else ""


def _parts(condition: tree.Expr, values: dict[tree.Expr, Json], *, shown: bool) -> Iterator[str]:
    """The value of every part, outer ones first; not of both sides, where they are `shown`."""
    told = {condition.span.text()}
    if shown and isinstance(condition, tree.Binary):
        told |= {_text(condition.left), _text(condition.right)}
    for part in sorted(values, key=lambda part: (part.span.start, -part.span.end)):
        text, value = _text(part), _shown(values[part])
        if text not in told and text != value:
            told.add(text)
            yield f"`{text}` is {_brief(value)}"


def _text(node: tree.Expr) -> str:
    return " ".join(node.span.text().split())


def _difference(condition: tree.Expr, values: dict[tree.Expr, Json]) -> Iterator[str]:
    """Of what should be equal: line by line for texts of several lines, item by item for lists."""
    if not isinstance(condition, tree.Binary) or condition.op != "==":
        return
    left, right = (_lines(values[side]) for side in (condition.left, condition.right))
    if left is None or right is None or max(len(left), len(right)) < 2:
        return
    found = [line for line in difflib.ndiff(right, left) if line[0] in "+-"]
    if found:
        more = len(found) - _MOST_LINES
        shown = [_brief(line) for line in found[:_MOST_LINES]] + [f"… {more} more"] * (more > 0)
        yield "what was expected (-) and what there is (+):\n      " + "\n      ".join(shown)


def _lines(value: Json) -> list[str] | None:
    match value:
        case str():
            return value.splitlines()
        case list():
            return [_shown(item) for item in value]
    return None


def _shown(value: Json) -> str:
    """A value as it would be written in a program, or the formula of a figure."""
    if isinstance(value, dict) and FIGURE.fields[-1].name in value:
        return str(value[FIGURE.fields[-1].name])
    if isinstance(value, dict) and value.keys() == {"value", "p", "dist"}:
        return f"({_shown(value['value'])}, {value['p']:g})"
    if isinstance(value, dict):
        inner = (f"{name}: {_shown(one)}" for name, one in value.items() if name.strip() == name)
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if value is None or isinstance(value, bool):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _brief(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}… ({len(text):,} characters)"


def exhausted(diagnostic: Diagnostic, mock: Mock) -> Diagnostic:
    """The finding for a call too many, with the mock beside it."""
    label = Label(mock.statement.node.span, "its mock")
    return replace(diagnostic, labels=(*diagnostic.labels, label))


def never_called(mock: Mock) -> Diagnostic:
    """The warning for a mock that nothing asked."""
    name = mock.statement.node.function
    return Diagnostic(
        "W0801", f"the mock of `{name.id}` was never asked", name.span, label="nothing calls it"
    )


def at_home(diagnostic: Diagnostic, sources: Iterable[Source]) -> Diagnostic:
    """The finding in one of these sources: those of a plan are copies."""
    span = diagnostic.span
    for source in sources:
        if span is not None and span.source.name == source.name:
            return replace(diagnostic, span=Span(source, span.start, span.end))
    return diagnostic
