"""`std.text`: nothing is lost by cutting, and nothing is longer than asked."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parrotc.stdlib.text import chunk, dedent, paragraphs, sentences, shorten, windows, words

TEXTS = st.text(alphabet="ab. !\n\tÄ\"'", max_size=120) | st.text(max_size=60)


def solid(text: str) -> str:
    return re.sub(r"\s", "", text)


@given(doc=TEXTS, size=st.integers(1, 40))
def test_chunks_hold_every_character_in_order(doc: str, size: int) -> None:
    parts = chunk(doc, size)
    assert solid("".join(parts)) == solid(doc)
    assert all(0 < len(part) <= size and part == part.strip() for part in parts)


@given(doc=TEXTS, size=st.integers(1, 40))
def test_neighbouring_chunks_do_not_fit_together(doc: str, size: int) -> None:
    """No more parts than needed, where the parts are whole units: paragraphs here."""
    parts = chunk(doc, size)
    if all(len(paragraph) <= size for paragraph in paragraphs(doc)):
        at = 0
        for first, second in pairwise(parts):
            start = doc.index(first, at)
            unit = paragraphs(doc[doc.index(second, start + len(first)) :])[0]
            at = doc.index(second, start + len(first))
            assert at + len(unit) - start > size


@given(doc=TEXTS)
def test_sentences_and_paragraphs_hold_every_character(doc: str) -> None:
    for cut in (sentences, paragraphs, words):
        assert solid("".join(cut(doc))) == solid(doc)


@given(lengths=st.lists(st.integers(1, 9), max_size=20), size=st.integers(12, 40), data=st.data())
def test_windows_overlap_and_cover(lengths: list[int], size: int, data: st.DataObject) -> None:
    """Every word is a number and so occurs once: where a window lies is beyond doubt."""
    overlap = data.draw(st.integers(0, size - 1))
    doc = " ".join(f"{at}{'x' * length}" for at, length in enumerate(lengths))
    found = windows(doc, size, overlap)
    ends = [0]
    for part in found:
        start = doc.index(part)
        assert len(part) <= size and doc[start - 1 : start] in ("", " ")
        if ends[-1]:
            assert ends[-1] - overlap <= start <= ends[-1] + 1, "a gap, or more overlap than asked"
        ends.append(start + len(part))
    assert ends[-1] == len(doc) and ends == sorted(set(ends)), "each window reaches further"


def test_chunk_prefers_the_coarsest_boundary() -> None:
    doc = "One. Two.\n\nThree is longer. Four.\n\nFive."
    assert chunk(doc, 100) == [doc]
    assert chunk(doc, 25) == ["One. Two.", "Three is longer. Four.", "Five."]
    assert chunk(doc, 16) == ["One. Two.", "Three is longer.", "Four.\n\nFive."]
    assert chunk("unbreakable", 4) == ["unbr", "eaka", "ble"]
    assert chunk(" \n ", 5) == [] == chunk("", 5)


def test_sentences_know_abbreviations_and_initials() -> None:
    text = 'Mr. Rayburn met J. F. Kennedy. "Was it good?" He said no. It cost 3.50 or so.'
    assert sentences(text) == [
        "Mr. Rayburn met J. F. Kennedy.",
        '"Was it good?"',
        "He said no.",
        "It cost 3.50 or so.",
    ]


def test_windows_repeat_the_overlap() -> None:
    assert windows("one two three four five", 13, 6) == ["one two three", "three four", "four five"]


def test_shorten_ends_after_a_word() -> None:
    assert shorten("a short text", 20) == "a short text"
    assert shorten("a longer text", 9) == "a longer…"
    assert shorten("a longer text", 8) == "a…"
    assert shorten("unbreakable", 5, "..") == "unb.."


def test_dedent() -> None:
    assert dedent("    a\n      b\n") == "a\n  b\n"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chunk("a", 0), "at least 1 character, not 0"),
        (lambda: windows("a", 5, 5), "less than the size 5"),
        (lambda: shorten("abc", 1, ".."), "no room for the mark"),
    ],
)
def test_mistakes_are_said(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
