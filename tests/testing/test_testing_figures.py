"""Comparing figures: what holds for every number that a figure may be, and what for none."""

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import parrotc
from parrotc.ir.source import Source, Span
from parrotc.ir.symbolic import Most, Symbolic, size
from parrotc.report import Figure
from parrotc.runtime.errors import Failed
from parrotc.runtime.trace import Trace
from parrotc.settings import Settings
from parrotc.syntax import tree
from parrotc.testing.figures import as_data, compare
from parrotc.testing.suite import Suite

HOLDS = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
COUNTS = st.integers(0, 4)
ranges = st.tuples(COUNTS, COUNTS).map(sorted)


def comparison(op: str) -> tree.Binary:
    source = Source("case.pfn", f"left {op} right")
    left = tree.Name(span=Span(source, 0, 4), id="left")
    right = tree.Name(span=Span(source, len(source.text) - 5, len(source.text)), id="right")
    span = Span(source, 0, len(source.text))
    return tree.Binary(span=span, op=op, left=left, right=right)


def figure(least: int, most: int | None) -> dict[str, object]:
    return {" least": least, " most": most, " formula": f"{least}…{most}"}


@given(op=st.sampled_from(list(HOLDS)), left=ranges, right=ranges)
def test_it_is_decided_where_every_number_gives_the_same(
    op: str, left: list[int], right: list[int]
) -> None:
    numbers = product(range(left[0], left[1] + 1), range(right[0], right[1] + 1))
    wanted = {HOLDS[op](a, b) for a, b in numbers}
    sides = figure(left[0], left[1]), figure(right[0], right[1])
    if len(wanted) == 1:
        assert compare(comparison(op), *sides) in wanted
        return
    with pytest.raises(Failed) as failed:
        compare(comparison(op), *sides)
    assert failed.value.code == "E0803" and failed.value.notes


@given(op=st.sampled_from(list(HOLDS)), least=COUNTS, number=COUNTS)
def test_what_has_no_limit_may_be_anything_from_its_least_on(
    op: str, least: int, number: int
) -> None:
    wanted = {HOLDS[op](a, number) for a in range(least, 100)}
    if len(wanted) == 1:
        assert compare(comparison(op), figure(least, None), number) in wanted
        return
    with pytest.raises(Failed):
        compare(comparison(op), figure(least, None), number)


def test_plain_numbers_are_compared_as_they_are() -> None:
    assert compare(comparison("<"), 2, 2.5) and not compare(comparison("=="), 2, 3)


@pytest.mark.parametrize(
    ("count", "limit", "is_certain", "least", "most"),
    [
        (size("xs"), size("xs"), True, 0, None),
        (size("xs") + 3, size("xs") + 3, True, 3, None),
        (size("xs") * 2 - 3, size("xs") * 2 - 3, True, 0, None),
        (size("xs") + 3, Symbolic() + 9, True, 3, 9),
        (Symbolic() + 5, Symbolic() + 5, False, 0, 5),
        (Symbolic() + 5, Symbolic() + 5, True, 5, 5),
        (Most((size("xs") + 2, size("ys") + 4)), size("xs") * 9, True, 4, None),
    ],
)
def test_what_a_figure_is_at_least_and_at_most(
    count: Symbolic | Most, limit: Symbolic, is_certain: bool, least: int, most: int | None
) -> None:
    data = as_data(Figure(count, limit, is_certain))
    assert (data[" least"], data[" most"]) == (least, most)


# --- what a run does ---

PROGRAM = """
pfunc note(text: str) -> str:
    user "{{text}}"
    assistant "{{gen max_tokens=4, temperature=0.5}}"

flow many(texts: list[str]) -> list[str]:
    return [note(t) for t in texts]

flow nested(texts: list[str], times: int) -> list[str]:
    return [note(t) for t in texts for i in range(times)]

flow chain(text: str, times: int) -> str:
    for i in range(times):
        text = note(text)
    return text

flow several(texts: list[str]) -> list[list[str]]:
    return [note(t) with (n=3) for t in texts]

flow branch(texts: list[str]) -> str:
    if len(texts) > 1:
        first = note(note(texts[0]))
    else:
        first = note("only one")
    return first

flow both(texts: list[str]) -> str:
    notes = many(texts)
    return branch(notes)
"""
RUNS: list[tuple[str, dict[str, Any]]] = [
    ("many", {"texts": []}),
    ("many", {"texts": ["a", "b", "c"]}),
    ("nested", {"texts": ["a", "b"], "times": 3}),
    ("nested", {"texts": ["a", "b"], "times": 0}),
    ("chain", {"text": "a", "times": 4}),
    ("several", {"texts": ["a", "b"]}),
    ("branch", {"texts": ["a"]}),
    ("branch", {"texts": ["a", "b"]}),
    ("both", {"texts": ["a", "b"]}),
]
UNDECIDED = ("both",)  # its condition asks for what only a run gives


def calls_of(flow: str, inputs: dict[str, Any]) -> int:
    """How many calls a run makes, as it is written."""
    with parrotc.compile(PROGRAM, engine="reference", level="O0") as program:
        trace = Trace()
        getattr(program, flow).plain(inputs, trace=trace)
    return trace.counters.calls_done


def is_true(condition: str, flow: str, inputs: dict[str, Any]) -> bool:
    """Whether a test passes that asserts this of the plan `p`."""
    args = ", ".join(f"{name}={json.dumps(value)}" for name, value in inputs.items())
    test = f'test "t":\n    p = plan({flow}, {args})\n    assert {condition}\n'
    with Suite(Source("case.pfn", f"{PROGRAM}\n{test}"), Settings()) as suite:
        return suite.run(suite.tests[0]).passed


@pytest.mark.parametrize(("flow", "inputs"), RUNS, ids=lambda value: str(value)[:24])
def test_a_figure_is_what_a_run_does(flow: str, inputs: dict[str, Any]) -> None:
    count = calls_of(flow, inputs)
    assert is_true(f"p.calls == {count}", flow, inputs) == (flow not in UNDECIDED)
    assert not is_true(f"p.calls == {count + 1}", flow, inputs)
    assert is_true(f"p.calls <= {count} and p.calls_max == {count}", flow, inputs)
