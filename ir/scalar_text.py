"""Conversions, methods of texts, and filters: see `ir/scalar.py`."""

import json as json_library
import math
from collections.abc import Sequence
from typing import Protocol

from parrotc.ir.scalar_checks import (
    ScalarError,
    bounded,
    integer,
    items_of,
    items_room,
    joined,
    kind,
    number,
    text_of,
    text_room,
)
from parrotc.ir.types import Json


class Encoder(Protocol):
    """The part of a tokenizer that `truncate` and `ids` need."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...


class Spoken(str):
    """A text with the ids it was generated as. All that is made of it is plain text again."""

    ids: tuple[int, ...] = ()

    @classmethod
    def of(cls, text: str, ids: Sequence[int]) -> "Spoken":
        spoken = cls(text)
        spoken.ids = tuple(ids)
        return spoken


# --- conversions ---


def show(value: Json) -> str:
    """The text a hole shows. A list needs a filter, and None is no text."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
    hint = "`join`, `bullets` or `numbered`" if isinstance(value, list) else "`json`"
    raise ScalarError(f"{kind(value)} cannot be shown as text; use {hint}")


def int_(value: Json) -> int:
    """An int from a decimal text, a float (cut towards zero) or a bool."""
    if not isinstance(value, int | float | str):
        raise ScalarError(f"{kind(value)} cannot become an int")
    if isinstance(value, str) and len(value) > 1_000:
        raise ScalarError("a text of more than 1,000 characters cannot become an int")
    try:
        return int(value)
    except ValueError:
        raise ScalarError(f"{_quoted(value)} is not an int") from None


def float_(value: Json) -> float:
    if not isinstance(value, int | float | str):
        raise ScalarError(f"{kind(value)} cannot become a float")
    try:
        result = float(value)
    except (ValueError, OverflowError):
        raise ScalarError(f"{_quoted(value)} is not a float") from None
    if not math.isfinite(result):
        raise ScalarError(f"{_quoted(value)} is not a finite float")
    return result


def _quoted(value: Json) -> str:
    text = json_library.dumps(value, ensure_ascii=False) if isinstance(value, str) else show(value)
    return text if len(text) <= 60 else text[:59] + "…"


def round_(value: Json, digits: Json = None) -> Json:
    """The nearest int, or the nearest number with `digits` decimals; ties to the even one."""
    given = number(value, "what `round` is given")
    if digits is None:
        return round(given)
    places = max(-400, min(400, integer(digits, "the digits of `round`")))
    try:
        return bounded(round(given, places))
    except OverflowError:
        raise ScalarError("the result is too large for a float") from None


def doc(member: Json, *, docs: Sequence[tuple[str, str]]) -> str:
    """The description of an enum's member; `docs` are pairs of member and description."""
    return dict(docs).get(text_of(member), "")


# --- texts and filters ---


def format_(*values: Json, texts: Sequence[str]) -> str:
    """`texts[0]`, the first value shown, `texts[1]`, …: one text more than values."""
    pieces = [texts[0]]
    for value, text in zip(values, texts[1:], strict=True):
        pieces += (show(value), text)
    return joined(pieces)


def json(value: Json) -> str:
    """The value as JSON text on one line."""
    pieces, size = [], 0
    for piece in json_library.JSONEncoder(ensure_ascii=False).iterencode(value):
        size += len(piece)
        text_room(size)
        pieces.append(piece)
    return "".join(pieces)


def upper(text: Json) -> str:
    return text_of(text).upper()


def lower(text: Json) -> str:
    return text_of(text).lower()


def strip(text: Json, characters: Json = None) -> str:
    """Without white space (or any of `characters`) at both ends."""
    return text_of(text).strip(_optional_text(characters))


def lstrip(text: Json) -> str:
    return text_of(text).lstrip()


def rstrip(text: Json) -> str:
    return text_of(text).rstrip()


def _optional_text(value: Json) -> str | None:
    return None if value is None else text_of(value, "the argument")


def split(text: Json, separator: Json = None) -> list[str]:
    """The texts between `separator`s, or between runs of white space."""
    if separator == "":
        raise ScalarError("the separator of `split` must not be empty")
    parts = text_of(text).split(_optional_text(separator))
    items_room(len(parts))
    return parts


def splitlines(text: Json) -> list[str]:
    parts = text_of(text).splitlines()
    items_room(len(parts))
    return parts


def startswith(text: Json, prefix: Json) -> bool:
    return text_of(text).startswith(text_of(prefix, "the prefix"))


def endswith(text: Json, suffix: Json) -> bool:
    return text_of(text).endswith(text_of(suffix, "the suffix"))


def replace(text: Json, old: Json, new: Json) -> str:
    whole, before, after = text_of(text), text_of(old, "the old text"), text_of(new, "the new text")
    text_room(len(whole) + whole.count(before) * (len(after) - len(before)))
    return whole.replace(before, after)


def join(items: Json, separator: Json = "") -> str:
    return joined(_shown(items), text_of(separator, "the separator"))


def bullets(items: Json) -> str:
    """One line `- item` for each item."""
    return joined([f"- {text}" for text in _shown(items)], "\n")


def numbered(items: Json) -> str:
    """One line `1. item` for each item, counting from 1."""
    return joined([f"{n}. {text}" for n, text in enumerate(_shown(items), 1)], "\n")


def _shown(items: Json) -> list[str]:
    return [show(item) for item in items_of(items)]


def indent(text: Json, width: Json = 4) -> str:
    """Every line that is not empty, moved `width` spaces to the right."""
    lines = text_of(text).split("\n")
    margin = max(integer(width, "the width of `indent`"), 0)
    text_room(len(text) + margin * len(lines))
    return "\n".join(" " * margin + line if line else line for line in lines)


def ids(text: Json, *, encoder: Encoder | None) -> list[int]:
    """The ids that a text was generated as; one that was not generated is tokenised by itself."""
    if isinstance(text, Spoken):
        return list(text.ids)
    if encoder is None:
        raise ScalarError("`ids` gives tokens, and this model has no tokenizer here")
    return encoder.encode(text_of(text))


def truncate(text: Json, tokens: Json, *, encoder: Encoder | None) -> str:
    """The longest start of `text` that is made of at most `tokens` of its first tokens.

    A token that holds part of a character is dropped with it.
    """
    whole, limit = text_of(text), max(integer(tokens, "the tokens of `truncate`"), 0)
    if encoder is None:
        raise ScalarError("`truncate` counts tokens, and this model has no tokenizer here")
    ids = encoder.encode(whole)
    if len(ids) <= limit:
        return whole
    start = encoder.decode(ids[:limit])
    while not whole.startswith(start):
        limit -= 1
        start = encoder.decode(ids[:limit])
    return start
