"""Constant expressions: their type tells their value, and folding agrees with running them.

Random expressions are written as text. Many are wrong in some way, and then say so; the others must
fold to a value of the type that the checker gave them, and a flow that returns the same expression
must return the same value.
"""

import re
from bisect import bisect_right
from dataclasses import replace

from hypothesis import event, given, settings
from hypothesis import strategies as st

from parrotc.check.check import check
from parrotc.check.loader import file_loader
from parrotc.check.program import ConstSymbol, Program
from parrotc.ir.diagnostic import Level
from parrotc.ir.evaluate import evaluate
from parrotc.ir.scalar import apply
from parrotc.ir.source import Source
from parrotc.ir.types import (
    Bool,
    Choice,
    Enum,
    Float,
    Int,
    Json,
    ListOf,
    Nothing,
    Optional,
    Record,
    Str,
    Type,
)
from parrotc.lower import lower
from parrotc.passes.target import Target

HEAD = """
enum Topic:
    A "first"
    B

class Point:
    x: int
    y: float = 2

const N = 3
const P: Point = {x: 1}

"""

# What an expression of each kind can be: {kind} is a part of that kind, and the rest is text. In
# "loop" the name `i` is a number.
ATOMS = {
    "number": ["0", "-2", "N", "1.5", "P.x", "P.y"],
    "loop": ["i", "i", "N"],
    "text": ['""', '"ab c"', '"N:{{N}}"', "Topic.A.doc", '"7"'],
    "bool": ["True", "False", "N > 2", "Topic.A == Topic.B"],
    "numbers": ["[3, 1]", "range(3)", "[0.5]", "[1][1:]"],
    "texts": ['["b", "a"]', '"a b".split()', "[t.doc for t in Topic]"],
    "rows": ["[[1], [2, 3]]", "[[]] + [[1]]", "[range(N)]"],
    "point": ["P", "{x: 1, y: 2}"],
    "topics": ["Topic", "[Topic.A]", "[None, Topic.B]", "[t for t in Topic[1:] if t != Topic.A]"],
}
FORMS = {
    "number": [
        "({number} + {number})", "({number} - {number})", "({number} * {number})", "-{number}",
        "({number} / {number})", "({number} % {number})", "len({text})", "len({numbers})",
        "sum({numbers})", "round({number})", "round({number}, 1)", "sum([{number}, 0.5])",
        "max({number}, {number})", "min({numbers})",
        "int({number})", "float({text})", "{numbers}[0]", "{numbers}[-1]", "{point}.y",
    ],
    "loop": [
        "(i * {number})", "max(i, {number})", "({number} if i > 1 else i)",
        "(sum([i for i in {numbers}]) + i)",
    ],
    "text": [
        "({text} + {text})", "{text} * 2", "str({number})", "{text}.upper()", "{text}.strip()",
        '{text}.replace("a", "b")', "{text}[1:]", "{text}[:N]", "{texts}[0]", "{text}[{number}]",
    ],
    "bool": [
        "({number} < {number})", "({number} == {number})", "({text} >= {text})", "not {bool}",
        "({bool} and {bool})", "({bool} or {bool})", "({number} in {numbers})", "any([{bool}])",
        "({text} not in {texts})", "{text}.startswith({text})", "({numbers} != {numbers})",
    ],
    "numbers": [
        "[{number}, {number}]", "({numbers} + {numbers})", "sorted({numbers})", "{numbers}[1:]",
        "[{loop} for i in {numbers}]", "[{loop} for i in {numbers} if {bool}]",
        "[i for row in {rows} for i in row if i != 1]",
        "[i * a for i, a in zip({numbers}, {numbers})]",
        "[i for i, a in enumerate({texts})]", "[{loop} for i in range({number})]",
    ],
    "texts": [
        "[{text}]", "({texts} + {texts})", "{text}.splitlines()", "sorted({texts})",
        "[str({loop}) for i in {numbers}]", "[t.doc for t in {topics} if t != None]",
    ],
    "rows": ["[{numbers}]", "[{numbers}, []]", "({rows} + {rows})"],
    "point": ["{x: {number}, y: {number}}", "{x: N, y: {number}}"],
    "topics": ["{topics}[{number}:]"],
}  # fmt: skip
STRAY = ["i", "a", "None", "[]", "Topic", "(1, 2)", "P", '"ab"', "0"]


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """An expression that is right more often than not."""

    def part(kind: str, depth: int) -> str:
        if draw(st.integers(0, 39)) == 39:
            return draw(st.sampled_from(STRAY))
        if depth > 0 and draw(st.integers(0, 7)) == 7:
            test = part("bool", depth - 1)
            return f"({part(kind, depth - 1)} if {test} else {part(kind, depth - 1)})"
        form = draw(st.sampled_from(ATOMS[kind] if depth <= 0 else FORMS[kind]))
        return _HOLE.sub(lambda hole: part(hole[1], depth - 1), form)

    return part(draw(st.sampled_from(sorted({*ATOMS} - {"loop"}))), draw(st.integers(0, 4)))


_HOLE = re.compile(rf"(?<!{{){{({'|'.join(ATOMS)})}}")


def holds(value: Json, type_: Type) -> bool:
    """Whether a value is one of a type's, limits aside."""
    match type_:
        case Str():
            return isinstance(value, str)
        case Enum(members=members):
            return value in [member.name for member in members]
        case Choice(options=options):
            return value in options
        case Bool():
            return isinstance(value, bool)
        case Int():
            return isinstance(value, int) and not isinstance(value, bool)
        case Float():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Nothing():
            return value is None
        case Optional(item=item):
            return value is None or holds(value, item)
        case ListOf(item=item):
            return isinstance(value, list) and all(holds(one, item) for one in value)
        case Record(fields=fields):
            names = [field.name for field in fields]
            return sorted(value) == sorted(names) and all(
                holds(value[field.name], field.type) for field in fields
            )
    raise AssertionError(f"no type of a constant: {type_}")


def checked(declarations: list[str]) -> tuple[Program, dict[int, list[str]]]:
    """A program of these declarations, and the codes of the errors in each, by its place."""
    text = HEAD
    starts = []
    for declaration in declarations:
        starts.append(len(text))
        text += declaration + "\n"
    program, found = check(Source("case.pfn", text), file_loader())
    codes: dict[int, list[str]] = {}
    for finding in found:
        if finding.level is Level.ERROR and finding.span is not None:
            place = bisect_right(starts, finding.span.start) - 1
            codes.setdefault(place, []).append(finding.code)
    return program, codes


@settings(max_examples=150, deadline=None)
@given(held=st.lists(expressions(), min_size=1, max_size=12))
def test_folding_is_running_ahead_of_time(held: list[str]) -> None:
    show = 'return "{{x | json}}"\n'
    consts = [f"const X{at} = {text}" for at, text in enumerate(held)]
    readers = [f"flow f{at}() -> str:\n    x = X{at}\n    {show}" for at in range(len(held))]
    flows = [f"flow f{at}() -> str:\n    x = {text}\n    {show}" for at, text in enumerate(held)]
    folding, told = checked(consts + readers)
    running, found = checked(flows)
    values = {s.name: s for s in folding.names.values() if isinstance(s, ConstSymbol)}
    for at in range(len(held)):
        has_value = at not in told
        event("has a value" if has_value else f"has none: {told[at][0]}")
        assert has_value or told[at] == ["E0340"] or told[at] == found[at]
        if at in found:
            continue
        result = evaluate_flow(running, f"f{at}")
        assert (result is not None) == has_value
        if has_value:
            value, type_ = values[f"X{at}"].value, values[f"X{at}"].type
            assert holds(value, type_), f"{value!r} is no {type_}"
            assert result == apply("json", [value], {}, {})


def evaluate_flow(program: Program, name: str) -> str | None:
    """What a flow gives; None if it fails."""
    flow = program.exports[name]
    alone = replace(program, exports={name: flow})  # the others may have errors
    run = evaluate(lower(alone), name, {}, target=Target(), natives={})
    assert run.failure is None or run.failure.code == "E0606", run.failure
    return None if run.failure else str(run.result)
