"""Text as it arrives token by token: against cutting the whole text afterwards."""

from hypothesis import example, given
from hypothesis import strategies as st

from parrotc.runtime.engines.embedded.output import Output


class Vocabulary:
    """A token for each of a few runs of bytes, some of which are parts of characters."""

    pieces = (b"a", b"ab", b"b", b"\n", b"\n\n", b"END", b"E", b"ND", b"\xc3", b"\xa9", b"\xc3\xa9",
              b"\xe6\x97", b"\xa5", b"x\xe6", b"\xff", b"N", b"D")  # fmt: skip

    def token_bytes(self, token: int) -> bytes:
        return self.pieces[token]


TOKENS = st.lists(st.integers(0, len(Vocabulary.pieces) - 1), max_size=12)
STOPS = st.lists(st.sampled_from(["END", "\n\n", "ab", "b", "é", "Ea", "aaa"]), max_size=3)


@given(tokens=TOKENS, stops=STOPS)
@example(tokens=[6, 7], stops=["END"])
@example(tokens=[0, 6, 0, 6, 7, 0], stops=["END", "Ea"])
@example(tokens=[8, 9, 1], stops=["b"])
@example(tokens=[0, 11], stops=[])
@example(tokens=[6, 15, 16], stops=["END"])
def test_the_value_and_what_is_kept(tokens: list[int], stops: list[str]) -> None:
    vocabulary = Vocabulary()
    output = Output(vocabulary, tuple(stops))
    shown = ""
    for token in tokens:
        shown += output.push(token)
        said = _whole(b"".join(map(vocabulary.token_bytes, output.ids)))
        assert output.is_stopped == any(stop in said for stop in stops)
        if output.is_stopped:
            break
    more, finished = output.finished("stop" if output.is_stopped else "end")

    raw = b"".join(map(vocabulary.token_bytes, output.ids))
    whole = _whole(raw)
    starts = [whole.find(stop) for stop in stops if stop in whole]
    text = whole[: min(starts)] if starts else whole
    assert finished.text == shown + more == text
    kept = [vocabulary.token_bytes(token) for token in output.ids[: finished.kept]]
    assert b"".join(kept).decode("utf-8", "replace") + finished.rest == text
    for count in range(finished.kept + 1, len(output.ids) + 1):  # no longer run fits
        run = b"".join(map(vocabulary.token_bytes, output.ids[:count]))
        assert _whole(run).encode() != run or not text.startswith(_whole(run)) or b"\xff" in run


def _whole(raw: bytes) -> str:
    """The text of `raw` without a last character whose bytes are not all there."""
    for open_end in (b"\xe6\x97", b"\xe6", b"\xc3"):
        if raw.endswith(open_end):
            return raw.removesuffix(open_end).decode("utf-8", "replace")
    return raw.decode("utf-8", "replace")


def test_what_may_be_a_stop_is_held_back() -> None:
    output = Output(Vocabulary(), ("END",))
    assert [output.push(token) for token in (0, 6, 7)] == ["a", "", ""]
    assert output.is_stopped
    output = Output(Vocabulary(), ("END",))
    assert [output.push(token) for token in (0, 6, 0)] == ["a", "", "Ea"]
