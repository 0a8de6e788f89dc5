"""`std.extract`: values are held against the text they are said to come from."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parrotc.stdlib.extract import Kind, Wanted, problem, tidy, unfounded

TEXT = "Dear Bob,\nyou owe us 1,250.50 dollars   since 3 May 2021, that is -7 % a year.\nAlice Öz"


@pytest.mark.parametrize(
    ("value", "kind", "wrong"),
    [
        ("ALICE öz", "text", ""),
        ("dollars since", "text", ""),
        ("Carol", "text", '"Carol" is not in the text'),
        ("", "text", "it is missing"),
        ("1,250.50", "number", ""),
        ("1,250.50 dollars", "number", ""),
        ("3 May 2021", "number", '"3 May 2021" is not one number'),
        ("dollars", "number", '"dollars" is not one number'),
        ("3 May 2021", "date", ""),
        ("4 May 2021", "date", '"4 May 2021" is not in the text'),
        ("31 June 2021", "date", '"31 June 2021" is not a date'),
        ("Yes", "yes or no", ""),
        ("perhaps", "yes or no", '"perhaps" is neither yes nor no'),
    ],
)
def test_what_is_wrong_with_a_value(value: str, kind: Kind, wrong: str) -> None:
    assert problem(value, Wanted("it", "it", kind), TEXT) == wrong


def test_what_need_not_be_there_may_be_missing() -> None:
    assert problem("", Wanted("it", "it", required=False), TEXT) == ""
    assert problem("Carol", Wanted("it", "it", required=False), TEXT) != ""


@pytest.mark.parametrize(
    "date", ["2021-05-03", "03.05.2021", "May 3rd, 2021", "3 May 2021", "1999"]
)
def test_dates(date: str) -> None:
    assert problem(date, Wanted("it", "it", "date"), f"on {date}") == ""


@pytest.mark.parametrize(
    ("value", "bare"),
    [
        ('"Alice."', "Alice"),
        (" `x` ", "x"),
        ("None.", ""),
        ("not mentioned", ""),
        ("none of it", "none of it"),
    ],
)
def test_tidy(value: str, bare: str) -> None:
    assert tidy(value) == bare


@given(text=st.text(max_size=30))
def test_a_tidy_value_stays_as_it_is(text: str) -> None:
    assert tidy(tidy(text)) == tidy(text) and tidy(text) in text


@given(start=st.integers(0, len(TEXT)), length=st.integers(0, 20))
def test_any_part_of_a_text_is_in_it(start: int, length: int) -> None:
    assert unfounded({"part": TEXT[start : start + length]}, TEXT) == []


@dataclass
class Letter:
    writer: str
    sums: list[float]


def test_the_places_of_what_is_not_in_the_text() -> None:
    assert unfounded(Letter("Alice Öz", [1250.5, 2021, -7, 7]), TEXT) == []
    assert unfounded({"a": {"b": ["Bob", "Carol"]}, "n": 8.0, "ok": True, "none": None}, TEXT) == [
        'a.b[1]: "Carol" is not in the text',
        "n: 8.0 is not in the text",
    ]
    assert unfounded("Carol", TEXT) == ['"Carol" is not in the text']
    assert unfounded(["", 250], TEXT) == ["[1]: 250 is not in the text"]
