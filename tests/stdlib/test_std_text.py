"""`std.text`: nothing is lost by cutting, and nothing is longer than asked."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parrotc.stdlib.text import (
    chunk,
    chunk_paragraphs,
    chunk_sentences,
    chunk_tokens,
    dedent,
    estimated_tokens,
    join,
    paragraphs,
    sentences,
    shorten,
    tokens,
    windows,
    words,
)

TEXTS = st.text(alphabet="ab. !\r\n\tÄ日\"'", max_size=120) | st.text(max_size=60)
PIECES = [
    "A cat sat.",
    "Mr. X ran!",
    "Ü?",
    "a\nb",
    "\n\n",
    "\r\n \r\n",
    " ",
    "no end",
    "日本。",
    "\u2028",
]
DOCS = st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join)


def odd_tokens(text: str) -> int:
    """A tokenizer with what real ones have: merges across spaces, and costly characters."""
    return len(re.findall(r"[a-z. ]{1,3}|[^a-z. ]", text)) + text.count("日")


def solid(text: str) -> str:
    return re.sub(r"\s", "", text)


@given(doc=DOCS | TEXTS, size=st.integers(1, 40))
def test_chunks_hold_every_character_in_order(doc: str, size: int) -> None:
    parts = chunk(doc, size)
    assert solid("".join(parts)) == solid(doc)
    assert all(0 < len(part) <= size and part == part.strip() for part in parts)


@given(doc=DOCS | TEXTS, size=st.integers(1, 40))
def test_chunks_of_tokens_hold_every_character_in_order(doc: str, size: int) -> None:
    parts = chunk_tokens(doc, size, counts={"m": odd_tokens})
    assert solid("".join(parts)) == solid(doc)
    assert all(odd_tokens(part) <= size or len(part) == 1 for part in parts)
    assert all(part and part == part.strip() for part in parts)


@given(doc=DOCS | TEXTS, size=st.integers(2, 40))
def test_a_chunk_of_tokens_ends_where_the_next_word_does_not_fit(doc: str, size: int) -> None:
    parts = chunk_tokens(doc, size, counts={"m": odd_tokens})
    at = 0
    for first, second in pairwise(parts):
        start = doc.index(first, at)
        at = doc.index(second, start + len(first))
        unit = paragraphs(doc[at:])[0]
        assert odd_tokens(doc[start : at + len(unit)]) > size


@given(doc=DOCS | TEXTS, count=st.integers(1, 4))
def test_chunks_of_units_are_neighbours(doc: str, count: int) -> None:
    for cut, units in ((chunk_sentences, sentences), (chunk_paragraphs, paragraphs)):
        parts, whole = cut(doc, count), units(doc)
        assert len(parts) == -(-len(whole) // count)
        assert solid("".join(parts)) == solid(doc)
        for at, part in enumerate(parts):
            held = whole[at * count : (at + 1) * count]
            assert part.startswith(held[0]) and part.endswith(held[-1])
            assert solid(part) == solid("".join(held)) and part in doc


@given(
    parts=st.lists(st.text(max_size=5), max_size=5), separator=st.sampled_from(["", ", ", "\n\n"])
)
def test_join_puts_the_separator_between(parts: list[str], separator: str) -> None:
    text = join(parts, separator)
    assert len(text) == sum(map(len, parts)) + len(separator) * max(len(parts) - 1, 0)
    if parts and separator == "\n\n" and "\n" not in "".join(parts):
        assert text.split(separator) == parts


def test_windows_line_ends_part_paragraphs_too() -> None:
    assert paragraphs("a\r\nb\r\n\r\nc\r\n") == ["a\r\nb", "c"]
    assert chunk("a b\r\n\r\nc", 4) == ["a b", "c"]


@given(length=st.integers(0, 40), size=st.integers(1, 9))
def test_a_word_is_cut_into_full_chunks(length: int, size: int) -> None:
    whole, rest = divmod(length, size)
    expected = [size] * whole + [rest] * (rest > 0)
    assert [len(part) for part in chunk("x" * length, size)] == expected
    assert [len(part) for part in chunk_tokens("x" * length, size, counts={"m": len})] == expected


def test_whose_tokens_are_counted() -> None:
    counts = {"a": len, "b": lambda text: 2 * len(text)}
    assert tokens("xyz", counts={"a": len}) == 3 == tokens("xyz", "a", counts=counts)
    assert tokens("xyz", "b", counts=counts) == 6
    assert tokens("one two", counts={}) == estimated_tokens("one two") == tokens("one two")
    with pytest.raises(ValueError, match="several models: a, b"):
        tokens("xyz", counts=counts)
    with pytest.raises(ValueError, match="no model called 'c'; it has a, b"):
        tokens("xyz", "c", counts=counts)


def test_the_estimate_of_tokens() -> None:
    assert estimated_tokens("") == 0 == estimated_tokens(" \n")
    assert estimated_tokens("a sensible estimate, 2024") == 1 + 2 + 2 + 1 + 4
    assert estimated_tokens("日本") == 1 and estimated_tokens("日本語で書く") == 3


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


@given(doc=DOCS | TEXTS)
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
        (lambda: chunk_tokens("a", 0), "at least 1 token, not 0"),
        (lambda: chunk_sentences("a", 0), "at least 1 unit, not 0"),
        (lambda: chunk_paragraphs("a", -1), "at least 1 unit, not -1"),
        (lambda: windows("a", 5, 5), "less than the size 5"),
        (lambda: shorten("abc", 1, ".."), "no room for the mark"),
    ],
)
def test_mistakes_are_said(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
