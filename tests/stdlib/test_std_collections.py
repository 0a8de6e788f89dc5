"""`std.vote`, `std.list` and `std.chat`."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parrotc.stdlib.chat import Role, Turn, recent, said, transcript
from parrotc.stdlib.list import batches, best, first, flatten, reversed_, some, top_k, unique
from parrotc.stdlib.vote import agreement, majority, weighted

WORDS = st.lists(st.sampled_from(["a", "b", "c", " A ", "a  b"]), min_size=1, max_size=9)


@given(answers=WORDS)
def test_no_answer_has_more_votes_than_the_majority(answers: list[str]) -> None:
    counts = Counter(" ".join(answer.split()).casefold() for answer in answers)
    chosen = majority(answers)
    assert chosen in answers
    votes = counts[" ".join(chosen.split()).casefold()]
    assert votes == max(counts.values())
    assert agreement(answers) == votes / len(answers)


def test_the_first_of_equals_wins() -> None:
    assert majority(["b", "a", "a", "b"]) == "b"
    assert majority(["Yes", "no", "yes "]) == "Yes"
    assert majority([["x"], ["y"], ["y"]]) == ["y"]
    assert weighted(["a", "b", "A"], [0.3, 0.5, 0.3]) == "a"
    assert agreement([]) == 0.0


@given(marks=st.lists(st.integers(0, 3), max_size=9), k=st.integers(-1, 10))
def test_top_k_is_a_stable_sort(marks: list[int], k: int) -> None:
    items = list(range(len(marks)))
    expected = sorted(items, key=lambda at: (-marks[at], at))
    assert top_k(items, [float(mark) for mark in marks], k) == expected[: max(k, 0)]


def test_lists() -> None:
    assert best(["a", "b"], [0.1, 0.2]) == "b"
    assert first(["a", "b"]) == "a" and first([]) is None
    assert unique([{"x": 1}, {"x": 2}, {"x": 1}]) == [{"x": 1}, {"x": 2}]
    assert unique([1, True, 1.0]) == [1, True, 1.0]
    assert flatten([["a"], [], ["b", "c"]]) == ["a", "b", "c"]
    assert reversed_([1, 2]) == [2, 1]
    assert batches([1, 2, 3], 2) == [[1, 2], [3]]
    assert some(["a", None, ""]) == ["a", ""]


@pytest.mark.parametrize(
    "call",
    [
        lambda: majority([]),
        lambda: weighted(["a"], []),
        lambda: top_k(["a"], [], 1),
        lambda: best([], []),
        lambda: batches([1], 0),
    ],
)
def test_mistakes_are_said(call: object) -> None:
    with pytest.raises(ValueError):
        call()  # type: ignore[operator]


def turns(*texts: str) -> list[Turn]:
    roles: tuple[Role, Role] = ("user", "assistant")
    return [Turn(roles[at % 2], text) for at, text in enumerate(texts)]


def test_a_conversation_grows() -> None:
    assert said(turns("hi"), "assistant", "ho") == turns("hi", "ho")
    assert transcript(turns("hi", "ho")) == "User: hi\n\nAssistant: ho"


def test_recent_turns_begin_with_the_user() -> None:
    talk = turns("aaaa", "bbbb", "cccc", "dddd")
    assert recent(talk, 16) == talk
    assert recent(talk, 12) == talk[2:], "an answer does not stand without its question"
    assert recent(talk, 8) == talk[2:]
    assert recent(talk, 1) == talk[3:], "the last turn is kept, however long"
    assert recent([], 5) == []
