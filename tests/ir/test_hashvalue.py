"""The reference model: the same state says the same, within its limits and constraints."""

import re
from collections.abc import Sequence

import pytest
from fakes import ByteTokens
from hypothesis import given, settings
from hypothesis import strategies as st
from templates import FAMILIES, tokenizer

from parrotc.ir.hashregex import sample_regex
from parrotc.ir.hashvalue import value_ids
from parrotc.ir.tokenhash import draw_key, extend, next_hash, start


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 2**64 - 1),
    st.sampled_from(FAMILIES),
    st.integers(1, 30),
    st.lists(st.sampled_from(["e", " the", "\n", ".", "é", "ing"]), max_size=2),
)
def test_free_text(state: int, family: str, limit: int, stop: Sequence[str]) -> None:
    vocabulary = tokenizer(family)
    drawn = value_ids(state, vocabulary, max_tokens=limit, stop=stop)
    assert drawn == value_ids(state, vocabulary, max_tokens=limit, stop=stop)
    assert 1 <= len(drawn.ids) <= limit
    assert not any(text in drawn.text for text in stop)
    whole = vocabulary.decode(drawn.ids)
    assert (drawn.reason == "stop") == any(text in whole for text in stop)
    assert whole.startswith(drawn.text)
    assert vocabulary.decode(drawn.ids[: drawn.kept]) + drawn.rest == drawn.text
    longer = vocabulary.decode(drawn.ids[: drawn.kept + 1])
    assert drawn.kept == len(drawn.ids) or not drawn.text.startswith(longer)


def test_free_text_uses_its_limits() -> None:
    reasons = {
        value_ids(start(n), ByteTokens(), max_tokens=6, stop=("e",)).reason for n in range(99)
    }
    assert reasons == {"stop", "length", "end"}
    assert any(value_ids(start(n), tokenizer("chatml"), stop=("e",)).rest for n in range(99))


def test_half_a_character_is_not_kept() -> None:
    """`é.` as two tokens that share the character: with the stop text goes the second token, and
    the first alone is no text."""

    class Split:
        def encode(self, text: str) -> list[int]:
            return [0, 1]

        def decode(self, ids: list[int]) -> str:
            return b"".join((b"\xc3", b"\xa9.")[n] for n in ids).decode("utf-8", "replace")

    drawn = value_ids(start(1), Split(), stop=(".",))
    assert (drawn.ids, drawn.text, drawn.kept, drawn.rest) == ((0, 1), "é", 0, "é")


@pytest.mark.parametrize(
    "pattern",
    [
        "", "abc", "[a-z_]+\\.py", "(foo|bar)+\\d{2,4}x?", "[^\\]a-z-]{3}", "[]a]\\w*", "a{3}",
        "(?:ab|c.)*?[\\d.]+", "(?s:.{0,5})", "\\x41\\u0042[+-]?", "(?P<year>\\d{4})-(\\d\\d)",
        "^start|end$", "a{,2}b{2,}", "[\\s\\S]*", "\\$\\d+(\\.\\d\\d)?",
    ],
)  # fmt: skip
def test_regexes(pattern: str) -> None:
    seen = set()
    for n in range(60):
        drawn = value_ids(start(n), ByteTokens(), regex=pattern)
        assert re.fullmatch(pattern, drawn.text)
        seen.add(drawn.text)
    assert len(seen) > 1 or pattern in ("", "abc", "a{3}")


@pytest.mark.parametrize("pattern", ["a(?=b)", "(a)\\1", "a(?!b)c", "\\bword"])
def test_a_regex_that_an_automaton_cannot_match_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="cannot sample the regex"):
        sample_regex(pattern, lambda limit: 0)


def test_a_broken_regex_is_an_error_of_its_own() -> None:
    with pytest.raises(re.error):
        sample_regex("[a", lambda limit: 0)


def test_choices_are_all_possible_and_written_as_they_are() -> None:
    options = ("yes", "no", "maybe so")
    drawn = [value_ids(start(n), ByteTokens(), choices=options) for n in range(60)]
    assert {one.text for one in drawn} == set(options)
    assert all(bytes(one.ids).decode() == one.text and one.rest == "" for one in drawn)
    cut = value_ids(start(1), ByteTokens(), choices=("yes",), max_tokens=2)
    assert (cut.reason, cut.text) == ("length", "ye")


@given(st.lists(st.integers(0, 50_000)), st.lists(st.integers(0, 50_000)), st.integers(0))
def test_the_hash_goes_on_where_it_stopped(a: list[int], b: list[int], key: int) -> None:
    assert extend(extend(start(key), a), b) == next_hash([*a, *b], key)


@given(st.lists(st.integers(0, 300), max_size=6), st.lists(st.integers(0, 300), max_size=6))
def test_the_hash_tells_sequences_apart(a: list[int], b: list[int]) -> None:
    assert (next_hash(a) == next_hash(b)) == (a == b)


def test_draw_keys_tell_places_apart() -> None:
    places = [
        (0, "a", ()),
        (1, "a", ()),
        (0, "b", ()),
        (0, "a", (0,)),
        (0, "a", (0, 1)),
        (0, "a", (1, 0)),
    ]
    assert len({draw_key(*place) for place in places}) == len(places)
