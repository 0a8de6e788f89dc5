"""Text as it arrives token by token: against cutting the whole text afterwards."""

from collections.abc import Sequence
from itertools import pairwise

import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parrotc.runtime.engines.embedded.output import Output
from parrotc.runtime.tokenizer import Tokenizer


class Vocabulary:
    """A token for each of a few runs of bytes, some of which are parts of characters."""

    def __init__(self, pieces: Sequence[bytes] = ()) -> None:
        self.pieces = pieces or self.usual

    usual = (b"a", b"ab", b"b", b"\n", b"\n\n", b"END", b"E", b"ND", b"\xc3", b"\xa9", b"\xc3\xa9",
              b"\xe6\x97", b"\xa5", b"x\xe6", b"\xff", b"N", b"D")  # fmt: skip

    def token_bytes(self, token: int) -> bytes:
        return self.pieces[token]


TOKENS = st.lists(st.integers(0, len(Vocabulary.usual) - 1), max_size=12)
OPEN = (b"\xe6\x97", b"\xe6\xa5", b"\xe6\xa9", b"\xe6", b"\xc3")  # ends inside a character
LEAST = st.sampled_from([0, 0, 0, 1, 3, 6])
STOPS = st.lists(st.sampled_from(["END", "\n\n", "ab", "b", "é", "Ea", "aaa"]), max_size=3)


@settings(deadline=None)
@given(tokens=TOKENS, stops=STOPS, least=LEAST)
@example(tokens=[6, 7], stops=["END"], least=0)
@example(tokens=[0, 6, 0, 6, 7, 0], stops=["END", "Ea"], least=0)
@example(tokens=[8, 9, 1], stops=["b"], least=0)
@example(tokens=[0, 11], stops=[], least=0)
@example(tokens=[6, 15, 16], stops=["END"], least=0)
@example(tokens=[2, 6, 15, 16], stops=["END", "b"], least=4)
def test_the_value_and_what_is_kept(tokens: list[int], stops: list[str], least: int) -> None:
    vocabulary = Vocabulary()
    output = Output(vocabulary, tuple(stops), least)
    shown, told = "", ()
    before = 0  # characters in which no stop text may end
    for token in tokens:
        piece = output.push(token)
        shown, told = shown + piece.text, told + piece.ids
        _check_told(vocabulary, told, output.ids, shown)
        said = _whole(b"".join(map(vocabulary.token_bytes, output.ids)))
        if len(output.ids) < least:
            before = len(said)
        assert output.is_stopped == bool(_starts(said, stops, before))
        if output.is_stopped:
            break
    last, finished = output.finished("stop" if output.is_stopped else "end")
    told += last.ids
    assert told == finished.ids[: len(told)]
    if shown + last.text:
        assert len(told) <= finished.kept

    raw = b"".join(map(vocabulary.token_bytes, output.ids))
    whole = _whole(raw)
    starts = _starts(whole, stops, before)
    text = whole[: min(starts)] if starts else whole
    assert finished.text == shown + last.text == text
    kept = [vocabulary.token_bytes(token) for token in output.ids[: finished.kept]]
    assert b"".join(kept).decode("utf-8", "replace") + finished.rest == text
    for count in range(finished.kept + 1, len(output.ids) + 1):  # no longer run fits
        run = b"".join(map(vocabulary.token_bytes, output.ids[:count]))
        assert _whole(run).encode() != run or not text.startswith(_whole(run)) or b"\xff" in run


def _starts(text: str, stops: list[str], before: int) -> list[int]:
    """Where a stop text begins that ends after the first `before` characters."""
    found = []
    for stop in stops:
        places = range(max(0, before - len(stop) + 1), len(text))
        found += [at for at in places if text.startswith(stop, at)][:1]
    return found


def _check_told(vocabulary: Vocabulary, told: tuple[int, ...], ids: list[int], shown: str) -> None:
    """The ids that are told are the longest run whose text has been shown, to its last byte."""
    fitting = [0]
    for count in range(1, len(ids) + 1):
        raw = b"".join(map(vocabulary.token_bytes, ids[:count]))
        if not raw.endswith(OPEN) and len(_whole(raw)) <= len(shown):
            fitting.append(count)
    assert told == tuple(ids[: max(fitting)])


def _whole(raw: bytes) -> str:
    """The text of `raw` without a last character whose bytes are not all there."""
    for open_end in OPEN:
        if raw.endswith(open_end):
            return raw.removesuffix(open_end).decode("utf-8", "replace")
    return raw.decode("utf-8", "replace")


def test_what_may_be_a_stop_is_held_back() -> None:
    output = Output(Vocabulary(), ("END",))
    assert [output.push(token).text for token in (0, 6, 7)] == ["a", "", ""]
    assert output.is_stopped
    output = Output(Vocabulary(), ("END",))
    assert [output.push(token).text for token in (0, 6, 0)] == ["a", "", "Ea"]


# --- characters ---

TEXT = st.text(st.sampled_from("aé日本語🙂👩\u200d🚀🇩🇪\U0010ffff\u0301"), max_size=12)


@settings(deadline=None)
@given(text=TEXT, cuts=st.lists(st.integers(1, 40), max_size=20), stop=st.sampled_from(["", "本a"]))
def test_characters_come_whole_and_as_soon_as_they_are(
    text: str, cuts: list[int], stop: str
) -> None:
    """Tokens cut the text anywhere in its bytes, as byte fallback and byte-level BPE do."""
    raw = text.encode()
    places = [0, *sorted({cut for cut in cuts if cut < len(raw)}), len(raw)]
    pieces = [raw[a:b] for a, b in pairwise(places)]
    output = Output(Vocabulary(pieces), (stop,))
    shown = ""
    for token, end in enumerate(places[1:]):
        shown += output.push(token).text
        if output.is_stopped:
            assert shown == text[: text.index(stop)]
            return
        ready = raw[:end].decode("utf-8", "ignore")
        held = 1 if stop and ready.endswith(stop[0]) else 0
        assert shown == ready[: len(ready) - held]
    assert shown + output.finished("end")[0].text == text


def test_a_character_that_never_ends_is_not_said() -> None:
    output = Output(Vocabulary(["🙂".encode()[:1], "🙂".encode()[1:3]]))
    assert [output.push(0).text, output.push(1).text] == ["", ""]
    piece, finished = output.finished("length")
    assert (piece.text, finished.text, finished.ids, finished.kept) == ("", "", (0, 1), 0)


def test_byte_fallback_tokens_join_to_characters() -> None:
    """A tokenizer of whole words that spells what it does not know byte by byte."""
    words = ["<unk>", "▁hi", "🚀"] + [f"<0x{byte:02X}>" for byte in "🙂é".encode()]
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab={word: n for n, word in enumerate(words)},
            merges=[],
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    backend.decoder = tokenizers.decoders.ByteFallback()
    output = Output(Tokenizer(backend.to_str()))
    shown = [output.push(token).text for token in range(1, len(words))]
    assert shown == [" hi", "🚀", "", "", "", "🙂", "", "é"]
