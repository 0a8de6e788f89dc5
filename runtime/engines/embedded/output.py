"""The text of one generation as its tokens arrive: what may be shown, where it stops, what stays.

    output = Output(tokenizer, stop=("END",))
    output.push(token)       → a piece of text that is certain to be part of the value
    output.finished("stop")  → the last piece; the value, and which tokens the new context keeps

A text that may be the beginning of a stop text is held back until it is known not to be one.
"""

from parrotc.runtime.engines.protocol import Finished, Piece, TokenLogprob
from parrotc.runtime.tokenizer import Decoder, Vocabulary

_INSIDE = -1  # a token that ends inside a character


class Output:
    """A stop text counts where it is complete with token number `min_tokens` or a later one."""

    def __init__(
        self, vocabulary: Vocabulary, stop: tuple[str, ...] = (), min_tokens: int = 0
    ) -> None:
        self.ids: list[int] = []
        self._min_tokens = min_tokens
        self._decoder = Decoder(vocabulary)
        self._stop = tuple(text for text in stop if text)
        self._text = ""
        self._shown = 0
        self._told = 0  # so many ids, whose text has been shown
        self._cut: int | None = None  # where a stop text begins
        self._ends: list[int] = []  # how many characters there are after each token

    @property
    def is_stopped(self) -> bool:
        return self._cut is not None

    def push(self, token: int) -> Piece:
        """What more there is to show, after one more token: maybe nothing."""
        before = len(self._text)
        self.ids.append(token)
        self._text += self._decoder.push(token)
        self._ends.append(len(self._text) if self._decoder.is_whole else _INSIDE)
        if len(self.ids) >= self._min_tokens:
            self._cut = self._first_stop(before)
        end = len(self._text) - self._held() if self._cut is None else self._cut
        return self._show(end)

    def finished(
        self, reason: str, logprobs: tuple[TokenLogprob, ...] = ()
    ) -> tuple[Piece, Finished]:
        """What is left to show, and the end. A character whose bytes never came is dropped."""
        text = self._text[: self._cut]
        kept = len(self.ids)
        while kept and not 0 <= self._ends[kept - 1] <= len(text):
            kept -= 1
        rest = text[self._ends[kept - 1] if kept else 0 :]
        more = self._show(len(text))
        return more, Finished(reason, text, tuple(self.ids), kept, rest, logprobs=logprobs)

    def _first_stop(self, before: int) -> int | None:
        """The first place of a stop text that ends after the first `before` characters."""
        found = [self._text.find(stop, max(0, before - len(stop) + 1)) for stop in self._stop]
        return min((at for at in found if at >= 0), default=None)

    def _held(self) -> int:
        """The length of the longest end of the text that a stop text begins with."""
        longest = max(map(len, self._stop), default=1) - 1
        for length in range(min(longest, len(self._text)), 0, -1):
            if any(stop.startswith(self._text[-length:]) for stop in self._stop):
                return length
        return 0

    def _show(self, end: int) -> Piece:
        text = self._text[self._shown : end]
        self._shown = max(self._shown, end)
        told = self._told
        if text:
            for count in range(told + 1, len(self.ids) + 1):
                if 0 <= self._ends[count - 1] <= self._shown:
                    self._told = count
        return Piece(text, tuple(self.ids[told : self._told]))
