"""Types as constraints, schemas and checks: three views that must agree."""

import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from parrotc.ir.hashvalue import value_ids
from parrotc.ir.schema import constraint_of, json_schema, problem, read, scored, with_defaults
from parrotc.ir.tokenhash import extend, start
from parrotc.ir.types import (
    BOOL,
    FLOAT,
    INT,
    NONE,
    STR,
    Choice,
    Enum,
    Field,
    Float,
    Int,
    ListOf,
    Member,
    Optional,
    Record,
    Scored,
    Str,
    Type,
)


class Bytes:
    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")


TOPIC = Enum("Topic", (Member("A", "first"), Member("B")))
DOC = Record("Doc", (Field("id", STR, "its name"), Field("n", Int(0, 9), "", 3, True)))
BOUNDS = st.tuples(st.integers(-300, 300), st.integers(-300, 300)).map(sorted)
TYPES: st.SearchStrategy[Type] = st.recursive(
    st.sampled_from(
        [STR, INT, FLOAT, BOOL, NONE, TOPIC, DOC, Choice(("yes", "no")), Str("[a-c]{1,3}|x+")]
    )
    | st.builds(Str, st.none(), st.integers(0, 4))
    | BOUNDS.map(lambda b: Int(*b))
    | BOUNDS.map(lambda b: Float(*map(float, b)))
    | st.builds(Int, st.integers(-9, 9), st.none()),
    lambda inner: (
        st.builds(ListOf, inner)
        | st.builds(Optional, inner)
        | st.builds(lambda a, b: Record("", (Field("x", a), Field("y", b))), inner, inner)
    ),
    max_leaves=4,
)
DATA: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-400, 400)
    | st.floats(-9, 9)
    | st.text("abcxyzAB", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "n", "x", "y"]), inner, max_size=3)
    ),
    max_leaves=5,
)


def drawn(type_: Type, number: int) -> str:
    wanted = constraint_of(type_)
    return value_ids(
        extend(start(), (number,)),
        Bytes(),
        max_tokens=10_000,
        choices=wanted.choices,
        regex=wanted.regex,
        json_schema=wanted.json_schema,
    ).text


@settings(max_examples=300)
@given(TYPES, st.integers(0, 99))
def test_what_the_reference_model_says_has_the_type(type_: Type, number: int) -> None:
    assume(type_ != NONE)
    text = drawn(type_, number)
    assert problem(type_, read(type_, text)) is None
    wanted = constraint_of(type_)
    if wanted.choices is not None:
        assert text in wanted.choices
    if wanted.regex is not None:
        assert re.fullmatch(wanted.regex, text)
    if wanted.json_schema is not None:
        jsonschema.validate(json.loads(text), json.loads(wanted.json_schema))


@settings(max_examples=400)
@given(TYPES, DATA)
def test_checking_a_value_agrees_with_the_schema(type_: Type, value: Any) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(type_))
    whole = with_defaults(type_, value)
    assume(not _has_whole_float(whole))  # 1.0 is an integer to JSON Schema, and no int to us
    assert (problem(type_, whole) is None) == validator.is_valid(whole)


def _has_whole_float(value: Any) -> bool:
    if isinstance(value, list | dict):
        return any(map(_has_whole_float, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and value == int(value)


def test_a_problem_says_where() -> None:
    assert problem(ListOf(DOC), [{"id": "a", "n": 3}, {"id": 5, "n": 1}]) == (
        "[1].id: an int where `str` was expected"
    )
    assert problem(DOC, {"id": "a"}) == ".n: the field is missing"
    assert problem(DOC, {"id": "a", "n": 1, "m": 2}) == ".m: no such field in `Doc`"
    assert problem(Int(1, 3), 4) == "4 is more than 3"
    assert problem(INT, True) == "a bool where `int` was expected"
    assert problem(FLOAT, 1) is None
    assert problem(TOPIC, "C") == '"C" is none of A, B'
    assert problem(Str("a+"), "b") == '"b" does not match "a+"'
    assert problem(Str(max_len=1), "ab") == "2 characters where at most 1 were expected"


def test_small_ranges_are_choices_and_large_ones_are_not() -> None:
    assert constraint_of(Int(1, 3)).choices == ("1", "2", "3")
    assert constraint_of(Int(0, 10**9)).choices is None
    assert constraint_of(BOOL).choices == ("true", "false")
    assert constraint_of(STR).choices is constraint_of(STR).json_schema is None


def test_a_field_with_a_default_may_be_left_out() -> None:
    assert json_schema(DOC)["required"] == ["id"]


def test_a_schema_keeps_the_authors_order_of_fields() -> None:
    type_ = Record("R", (Field("reason", STR), Field("answer", STR)))
    schema = constraint_of(type_).json_schema or ""
    assert schema.index("reason") < schema.index("answer")


def test_reading_what_is_no_value() -> None:
    for type_, text in [(INT, "x"), (INT, "1.5"), (DOC, "[]"), (TOPIC, "C"), (INT, "[" * 10**5)]:
        with pytest.raises(ValueError):
            read(type_, text)
    assert read(DOC, '{"id": "a"}') == {"id": "a", "n": 3}
    assert read(TOPIC, "A") == "A"
    assert read(BOOL, "true") is True


def test_a_scored_choice_has_its_probabilities() -> None:
    wanted = constraint_of(Scored(TOPIC))
    assert wanted.scored and wanted.choices == ("A", "B")
    one = value_ids(start(5), Bytes(), choices=wanted.choices, scored=True)
    value = scored(one.text, one.scores)
    assert problem(Scored(TOPIC), value) is None
    assert value["p"] == max(value["dist"].values())
    assert sum(value["dist"].values()) == pytest.approx(1)
