"""What a caller hears of a generation that several engines had to say."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parrotc.runtime.core.told import Told
from parrotc.runtime.engines.protocol import EngineError, Finished, Piece


class Caller:
    """Puts together what it hears."""

    def __init__(self) -> None:
        self.text, self.ids, self.restarts = "", (), 0

    def hear(self, piece: Piece | None) -> None:
        if piece is None:
            return
        if piece.restart:
            self.text, self.ids = "", ()
            self.restarts += 1
        self.text += piece.text
        self.ids += piece.ids


def said(words: Sequence[str], *, tells_ids: bool) -> tuple[list[Piece], Finished]:
    """A text of words, each a token."""
    ids = tuple(int.from_bytes(word.encode()) for word in words)
    pieces = [Piece(w, (i,) if tells_ids else ()) for w, i in zip(words, ids, strict=True)]
    return pieces, Finished("end", "".join(words), ids, len(ids))


texts = st.lists(st.sampled_from(["a", "b", "ab", "ba", "é"]), max_size=6)


@given(st.lists(st.tuples(texts, st.integers(0, 6), st.booleans()), max_size=4), texts)
def test_the_caller_has_what_the_last_engine_said(
    engines: list[tuple[list[str], int, bool]], last: list[str]
) -> None:
    """Whatever those before said, and as far as they came."""
    told, caller = Told(), Caller()
    for words, count, tells_ids in engines:
        for piece in said(words, tells_ids=tells_ids)[0][:count]:
            caller.hear(told.read(piece))
        told.begin_again()
    pieces, end = said(last, tells_ids=True)
    for piece in pieces:
        caller.hear(told.read(piece))
    caller.hear(told.end(end))
    assert caller.text == end.text
    assert caller.ids == end.ids[: len(caller.ids)]
    assert told.restarts == caller.restarts


@given(texts, st.lists(st.integers(0, 6), max_size=4), st.booleans())
def test_nobody_hears_of_engines_that_say_the_same(
    words: list[str], counts: list[int], tells_ids: bool
) -> None:
    told, caller = Told(), Caller()
    pieces, end = said(words, tells_ids=tells_ids)
    heard: list[Piece] = []
    for count in (*counts, len(pieces)):
        for piece in pieces[:count]:
            more = told.read(piece)
            heard += [more] if more is not None else []
        told.begin_again()
    for piece in pieces:
        assert told.read(piece) is None, "it was told before"
    assert told.end(end) is None
    assert not any(piece.restart for piece in heard)
    assert "".join(piece.text for piece in heard) == end.text
    for piece in heard:
        caller.hear(piece)
    assert caller.ids == (end.ids if tells_ids else ())


def test_another_text_begins_anew_and_is_told_whole() -> None:
    told = Told()
    told.read(Piece("The ", (1,)))
    told.read(Piece("quick ", (2,)))
    told.begin_again()
    assert told.read(Piece("The ", (1,))) is None
    assert told.read(Piece("slow ", (3,))) == Piece("The slow ", (1, 3), restart=True)
    assert told.read(Piece("fox", (4,))) == Piece("fox", (4,))
    assert told.end(Finished("end", "The slow fox", (1, 3, 4), 3)) is None


def test_the_same_text_of_other_tokens_begins_anew() -> None:
    """Whoever reads ids has others now."""
    told = Told()
    told.read(Piece("ab", (1, 2)))
    told.begin_again()
    assert told.read(Piece("ab", (3,))) == Piece("ab", (3,), restart=True)
    told.begin_again()
    assert told.read(Piece("ab")) is None
    assert told.end(Finished("end", "ab", (4,), 1)) == Piece("ab", (), restart=True)


def test_a_shorter_text_begins_anew() -> None:
    told = Told()
    told.read(Piece("The quick"))
    told.begin_again()
    told.read(Piece("The "))
    assert told.end(Finished("end", "The ", (1,), 1)) == Piece("The ", restart=True)


def test_an_engine_that_begins_anew_itself() -> None:
    told = Told()
    told.read(Piece("The quick ", (1,)))
    assert told.read(Piece("The slow ", (2,), restart=True)) == Piece("The slow ", (2,), True)
    assert told.read(Piece("fox")) == Piece("fox")
    told.begin_again()
    assert told.read(Piece("The slow fox", (2,), restart=True)) is None


@pytest.mark.parametrize(
    "end",
    [
        Finished("end", "The slow fox", (1, 2), 2),
        Finished("end", "The", (1,), 1),
        Finished("end", "The quick", (9, 2), 2),
    ],
)
def test_an_end_that_contradicts_what_was_said(end: Finished) -> None:
    told = Told()
    told.read(Piece("The quick", (1,)))
    with pytest.raises(EngineError, match="not what was told"):
        told.end(end)
    assert told.is_doubtful


def test_what_was_not_told_comes_before_the_end() -> None:
    told = Told()
    told.read(Piece("The "))
    assert told.end(Finished("end", "The fox", (1, 2), 2)) == Piece("fox")
