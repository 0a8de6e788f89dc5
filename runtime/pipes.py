"""A generated value flows into the prompt that reads it while it is still being generated.

    the prompt so far ┐ the value, as far as it is there ┐
    "Improve this:\\n"  "The first part of a long dra"      …

What of it is certain is filled early: of a text the ids that no continuation can change, of handed
tokens all of them. The value itself decides in the end: `fill` gives the prompt that it would have
given without, on top of what is filled, as far as the ids are those. A pipe that is closed, as when
its producer has failed, drops what it has filled.
"""

from collections.abc import Sequence

from parrotc.runtime.engines.protocol import Piece
from parrotc.runtime.prompts import EARLY, Part, Prompt, Special
from parrotc.runtime.trace import Trace

STEP = 64  # characters: how often a growing text is tokenised


class TextPipe:
    """Of a value that is read as text. Holds `base`, the prompt just before the value."""

    def __init__(self, base: Prompt, trace: Trace) -> None:
        self._base = base.take()
        self._grown = base.take()  # `base` and the text so far
        self._trace = trace
        self._waiting = ""
        self._is_open = True

    def tell(self, piece: Piece) -> None:
        """Some more of the value."""
        if not self._is_open:
            return
        self._waiting += piece.text
        if len(self._waiting) >= STEP:
            grown = self._grown.fill([self._waiting])
            self._grown.drop()
            self._grown, self._waiting = grown, ""
            grown.begin(self._trace, at_once=True)

    def fill(self, parts: Sequence[Part]) -> Prompt:
        """`base` after reading `parts`, the first of which is the whole value."""
        seeded = self._base.with_head_of(self._grown)
        prompt = seeded.fill(parts)
        seeded.drop()
        return prompt

    def close(self) -> None:
        self._is_open = False
        self._base.drop()
        self._grown.drop()


class TokenPipe:
    """Of a value whose ids are handed over, with a hard boundary before and after them."""

    def __init__(self, base: Prompt, trace: Trace) -> None:
        self._base = base.take()
        self._grown = base.take()  # `base` and the ids so far, as far as they are filled
        self._trace = trace
        self._done = 0
        self._ids: list[int] = []
        self._is_open = True

    def tell(self, piece: Piece) -> None:
        """Some more of the value."""
        if not self._is_open:
            return
        self._ids += piece.ids
        if len(self._ids) - self._done >= EARLY:
            grown = self._grown.fill([Special(tuple(self._ids[self._done :]))])
            self._grown.drop()
            self._grown, self._done = grown, len(self._ids)
            grown.begin(self._trace, at_once=True)

    def fill(self, parts: Sequence[Part]) -> Prompt:
        """`base` after reading `parts`, the first of which are the ids of the whole value."""
        first, *rest = parts
        assert isinstance(first, Special)
        if first.ids[: self._done] != tuple(self._ids[: self._done]):
            return self._base.fill(parts)
        return self._grown.fill([Special(first.ids[self._done :]), *rest])

    def close(self) -> None:
        self._is_open = False
        self._base.drop()
        self._grown.drop()


Pipe = TextPipe | TokenPipe
