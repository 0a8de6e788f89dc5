"""`-k EXPR`: which tests a text with `and`, `or`, `not` and parentheses selects.

    summarise and not (slow or live)

A word stands for every test whose file or title has it in it, however it is written.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

Selected = Callable[[str], bool]  # of a test's id, `app.pfn::title`

_TOKEN = re.compile(r"\s*(\(|\)|[^\s()]+)")
_KEYWORDS = ("and", "or", "not", ")")


class ExpressionError(ValueError):
    """A text that selects nothing because it means nothing."""


def selection(text: str) -> Selected:
    """Raises `ExpressionError`."""
    tokens = _TOKEN.findall(text)
    selected, rest = _either(tokens)
    if rest:
        raise ExpressionError(f"`{rest[0]}` is not expected there")
    return selected


class _Read(NamedTuple):
    """What was read, and the tokens after it."""

    selected: Selected
    rest: list[str]


def _either(tokens: list[str]) -> _Read:
    return _joined(tokens, "or", _both, any)


def _both(tokens: list[str]) -> _Read:
    return _joined(tokens, "and", _one, all)


def _joined(
    tokens: list[str],
    word: str,
    read: Callable[[list[str]], _Read],
    holds: Callable[[Iterable[bool]], bool],
) -> _Read:
    """One or more parts with `word` between them."""
    first, rest = read(tokens)
    parts = [first]
    while rest[:1] == [word]:
        part, rest = read(rest[1:])
        parts.append(part)
    return _Read(lambda name: holds(part(name) for part in parts), rest)


def _one(tokens: list[str]) -> _Read:
    if not tokens:
        raise ExpressionError("something is missing at its end")
    first, rest = tokens[0], tokens[1:]
    if first == "not":
        inner, rest = _one(rest)
        return _Read(lambda name: not inner(name), rest)
    if first == "(":
        inner, rest = _either(rest)
        if not rest or rest[0] != ")":
            raise ExpressionError("a parenthesis is not closed")
        return _Read(inner, rest[1:])
    if first in _KEYWORDS:
        raise ExpressionError(f"`{first}` is not expected there")
    word = first.casefold()
    return _Read(lambda name: word in name.casefold(), rest)
