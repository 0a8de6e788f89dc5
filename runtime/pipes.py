"""A generated value flows into the prompt that reads it while it is still being generated.

    the prompt so far ┐ the value, as far as it is there ┐
    "Improve this:\\n"  "The first part of a long dra"      …

What of it is certain is filled early: of a text the ids that no continuation can change, of handed
tokens all of them. The value itself decides in the end: `fill` gives the prompt that it would have
given without, on top of what is filled, as far as the ids are those. A pipe that is closed, as when
its producer has failed, drops what it has filled.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from parrotc.runtime.contexts import Outlook
from parrotc.runtime.engines.protocol import Piece
from parrotc.runtime.prompts import EARLY, Part, Prompt, Special
from parrotc.runtime.trace import Trace

STEP = 64  # characters: how often a growing text is tokenised


class Pipe(ABC):
    """Holds `base`, the prompt just before the value, and how far it has grown since."""

    def __init__(self, base: Prompt, trace: Trace) -> None:
        self._base = base.take()
        self._grown = base.take()
        self._trace = trace
        self._is_open = True

    @abstractmethod
    def tell(self, piece: Piece) -> None:
        """Some more of the value."""

    @abstractmethod
    def fill(self, parts: Sequence[Part], outlook: Outlook) -> Prompt:
        """`base` after reading `parts`, the first of which is the whole value."""

    def close(self) -> None:
        self._is_open = False
        self._base.drop()
        self._grown.drop()

    def _begin_anew(self) -> None:
        """The value is another one than it seemed: drop what was filled of that."""
        self._grown.drop()
        self._grown = self._base.take()

    def _grow(self, part: Part) -> None:
        grown = self._grown.fill([part])
        self._grown.drop()
        self._grown = grown
        grown.begin(self._trace, at_once=True)


class TextPipe(Pipe):
    """Of a value that is read as text."""

    def __init__(self, base: Prompt, trace: Trace) -> None:
        super().__init__(base, trace)
        self._waiting = ""

    def tell(self, piece: Piece) -> None:
        if not self._is_open:
            return
        if piece.restart:
            self._begin_anew()
            self._waiting = ""
        self._waiting += piece.text
        if len(self._waiting) >= STEP:
            text, self._waiting = self._waiting, ""
            self._grow(text)

    def fill(self, parts: Sequence[Part], outlook: Outlook) -> Prompt:
        seeded = self._base.with_head_of(self._grown)
        prompt = seeded.fill(parts, outlook)
        seeded.drop()
        return prompt


class TokenPipe(Pipe):
    """Of a value whose ids are handed over, with a hard boundary before and after them."""

    def __init__(self, base: Prompt, trace: Trace) -> None:
        super().__init__(base, trace)
        self._ids: list[int] = []
        self._done = 0  # so many of them are filled

    def tell(self, piece: Piece) -> None:
        if not self._is_open:
            return
        if piece.restart:
            self._begin_anew()
            self._ids, self._done = [], 0
        self._ids += piece.ids
        if len(self._ids) - self._done >= EARLY:
            fresh, self._done = self._ids[self._done :], len(self._ids)
            self._grow(Special(tuple(fresh)))

    def fill(self, parts: Sequence[Part], outlook: Outlook) -> Prompt:
        first, *rest = parts
        assert isinstance(first, Special)
        if first.ids[: self._done] != tuple(self._ids[: self._done]):
            return self._base.fill(parts, outlook)
        return self._grown.fill([Special(first.ids[self._done :]), *rest], outlook)
