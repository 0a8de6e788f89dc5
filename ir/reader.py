"""Where a parser of IR text stands: skipping blanks and comments, names, words, JSON, errors."""

import json
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import NoReturn, TypeVar

from parrotc.ir.diagnostic import CompileError, Diagnostic
from parrotc.ir.source import Source, Span
from parrotc.ir.types import Json

T = TypeVar("T")

_BLANK = re.compile(r"(?:\s+|//[^\n]*)*")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.$/-]*")
_IDS = re.compile(r"[0-9,\s]*")
_TOKEN = re.compile(r"[%@]?[\w.$/-]+|\S|\Z")
_scan_json = json.JSONDecoder().raw_decode


class Reader:
    """A position in a source. Every `take` leaves it at the next thing that is not blank."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text = source.text
        self.at = 0
        self._skip()

    def _skip(self) -> None:
        found = _BLANK.match(self.text, self.at)
        assert found is not None  # it matches the empty text too
        self.at = found.end()

    def sees(self, sign: str) -> bool:
        return self.text.startswith(sign, self.at)

    def take(self, sign: str) -> bool:
        """Whether `sign` (punctuation) is next; if so, go past it."""
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        self._skip()
        return True

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            self.fail(f"expected `{sign}`")

    def peek_word(self) -> str:
        """The word that is next, or an empty text."""
        found = _WORD.match(self.text, self.at)
        return found.group() if found else ""

    def take_word(self, word: str) -> bool:
        if self.peek_word() != word:
            return False
        self.at += len(word)
        self._skip()
        return True

    def expect_word(self, word: str) -> None:
        if not self.take_word(word):
            self.fail(f"expected `{word}`")

    def word(self, what: str) -> str:
        """A plain word or, for a name that is not plain, a JSON text."""
        if self.sees('"'):
            return self.quoted()
        found = self.peek_word() or self.fail(f"expected {what}")
        self.at += len(found)
        self._skip()
        return found

    def name(self, sign: str, what: str) -> str:
        """A name after its sign: `%value`, `@model`."""
        if not self.sees(sign):
            self.fail(f"expected {what}")
        self.at += 1
        return self.word(what)

    def json(self) -> Json:
        """JSON data."""
        return self._json()[0]

    def json_text(self) -> str:
        """JSON data as it is written."""
        return self._json()[1]

    def _json(self) -> tuple[Json, str]:
        start = self.at
        try:
            data, end = _scan_json(self.text, start)
        except ValueError:
            self.fail("expected JSON data")
        self.at = end
        self._skip()
        return data, self.text[start:end]

    def quoted(self) -> str:
        start = self.at
        text = self.json() if self.sees('"') else None
        return text if isinstance(text, str) else self.fail("expected a text in quotes", start)

    def number(self, what: str) -> int:
        start = self.at
        number = self.json()
        if isinstance(number, bool) or not isinstance(number, int):
            self.fail(f"expected {what}", start)
        return number

    def ids(self) -> tuple[int, ...]:
        """Numbers between brackets."""
        self.expect("[")
        found = _IDS.match(self.text, self.at)
        inside = found.group() if found else ""
        try:
            ids = tuple(map(int, inside.split(","))) if inside.strip() else ()
        except ValueError:
            self.fail("expected token ids")
        self.at += len(inside)
        self.expect("]")
        return ids

    def several(self, item: Callable[[], T]) -> tuple[T, ...]:
        """One or more items with commas between them."""
        items = [item()]
        while self.take(","):
            items.append(item())
        return tuple(items)

    def between(self, opening: str, item: Callable[[], T], closing: str) -> tuple[T, ...]:
        """Any number of items with commas between them, in brackets."""
        self.expect(opening)
        items = () if self.sees(closing) else self.several(item)
        self.expect(closing)
        return items

    def span(self, start: int) -> Span:
        """From `start` to the end of what was read, without the blanks after it."""
        return Span(self.source, start, start + len(self.text[start : self.at].rstrip()))

    def fail(self, message: str, start: int | None = None, code: str = "E0190") -> NoReturn:
        """Raise a `CompileError` at `start`, or at what is next."""
        found = _TOKEN.match(self.text, self.at)
        span = Span(self.source, self.at, found.end() if found else self.at)
        if start is not None:
            span = self.span(start)
        raise CompileError([Diagnostic(code, message, span, "read here")])

    def unknown(self, message: str, name: str, known: Iterable[str], start: int) -> NoReturn:
        """Raise a `CompileError` for a name that means nothing, with the nearest one that does."""
        near = get_close_matches(name, list(known), n=1)
        hint = f"did you mean `{near[0]}`?" if near else ""
        finding = Diagnostic("E0191", message, self.span(start), "read here", help=hint)
        raise CompileError([finding])
