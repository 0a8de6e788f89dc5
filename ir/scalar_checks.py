"""What the functions of `ir/scalar.py` ask of their arguments, and how large results may be."""

import math
from collections.abc import Sequence

from parrotc.ir.types import Json

MAX_ITEMS = 1_000_000
MAX_TEXT = 64_000_000  # characters
MAX_BITS = 4_096  # of an integer


class ScalarError(Exception):
    """A function has no value for these arguments; the message says why."""


def kind(value: Json) -> str:
    """The kind of a value, for messages: `a list`, `an int`, …"""
    match value:
        case None:
            return "None"
        case bool():
            return "a bool"
        case int():
            return "an int"
        case float():
            return "a float"
        case str():
            return "a text"
        case list():
            return "a list"
    return "a record"


def number(value: Json, role: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ScalarError(f"{role} must be a number, not {kind(value)}")
    return value


def integer(value: Json, role: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ScalarError(f"{role} must be an int, not {kind(value)}")
    return value


def text_of(value: Json, role: str = "the value") -> str:
    if not isinstance(value, str):
        raise ScalarError(f"{role} must be a text, not {kind(value)}")
    return value


def items_of(value: Json, role: str = "the value") -> list[Json]:
    if not isinstance(value, list):
        raise ScalarError(f"{role} must be a list, not {kind(value)}")
    return value


def truth(value: Json, role: str = "the value") -> bool:
    if not isinstance(value, bool):
        raise ScalarError(f"{role} must be a bool, not {kind(value)}")
    return value


# --- bounds ---


def bounded(value: int | float) -> int | float:
    if isinstance(value, float) and not math.isfinite(value):
        raise ScalarError("the result is too large for a float")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ScalarError(f"the result is an int of more than {MAX_BITS:,} bits")
    return value


def _room(count: int, limit: int, unit: str) -> None:
    if count > limit:
        raise ScalarError(f"the result would have {count:,} {unit}; the most is {limit:,}")


def items_room(count: int) -> None:
    _room(count, MAX_ITEMS, "items")


def text_room(count: int) -> None:
    _room(count, MAX_TEXT, "characters")


def weight(value: Json) -> int:
    """How many values a value holds, itself included, counting shared parts every time."""
    if isinstance(value, list):
        return 1 + sum(map(weight, value))
    if isinstance(value, dict):
        return 1 + sum(map(weight, value.values()))
    return 1


def joined(pieces: Sequence[str], separator: str = "") -> str:
    text_room(sum(map(len, pieces)) + len(separator) * len(pieces))
    return separator.join(pieces)
