"""Facts from a text, checked against the text (`std.extract`).

That an answer has the shape of its type is certain: the model is held to it. What can still be
wrong is its content, and most of that is a value which the text does not contain. Texts are
compared without regard to case and white space, numbers as numbers.
"""

import dataclasses
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from parrotc.python.decorators import native
from parrotc.python.standard import standard

_AROUND = re.compile(r"""^[\s"'`“”‘’]+|[\s"'`“”‘’.]+$""")
_NOTHING = {"", "none", "n/a", "unknown", "not mentioned", "not stated", "not specified"}
Kind = Literal["text", "number", "date", "yes or no"]

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:[,'\u2009\u202f]\d{3})*(?:\.\d+)?(?![\d])")
_DATES = (
    "%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y",
    "%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%B %Y", "%Y",
)  # fmt: skip
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")


@dataclass(frozen=True)
class Wanted:
    """A fact to look for. One that is not `required` may be missing from the text."""

    name: str
    about: str
    kind: Kind = "text"
    required: bool = True


@dataclass(frozen=True)
class Fact:
    """A value as the text says it. `problem` is what is wrong with it, empty if nothing is."""

    name: str
    value: str
    problem: str


@native
def problem(value: str, fact: Wanted, text: str) -> str:
    """What is wrong with a value, in words that a model is to be told; empty if nothing is.

    It is missing and required, or no number or date, or not in the text. An answer of yes or no
    is all that need not stand there.
    """
    if not value:
        return "it is missing" if fact.required else ""
    if fact.kind == "yes or no":
        return "" if _plain(value) in ("yes", "no") else f'"{value}" is neither yes nor no'
    if fact.kind == "number" and len(_numbers(value)) != 1:
        return f'"{value}" is not one number'
    if fact.kind == "date" and not _is_date(value):
        return f'"{value}" is not a date'
    if _plain(value) not in _plain(text):
        return f'"{value}" is not in the text'
    return ""


def tidy(value: str) -> str:
    """A value without quotes, full stops at its end, or words that say there is none."""
    bare = _AROUND.sub("", value)
    return "" if _plain(bare) in _NOTHING else bare


def unfounded(value: object, text: str) -> list[str]:
    """The texts and numbers of a record that `text` does not contain, a line for each.

    Empty texts, bools and None pass. A choice is a text too, so leave out what the model chooses.
    """
    plain, numbers = _plain(text), {abs(number) for number in _numbers(text)}  # a - may be a dash
    found = []
    for path, leaf in _leaves(value, ""):
        known = _plain(leaf) in plain if isinstance(leaf, str) else abs(leaf) in numbers
        if not known:
            shown = json.dumps(leaf, ensure_ascii=False)
            found.append(
                f"{path}: {shown} is not in the text" if path else f"{shown} is not in the text"
            )
    return found


@standard
def find(text: str, fact: Wanted, wrong: str = "") -> str:
    """One fact as the model reads it. `wrong` is what was wrong with its last answer."""


@standard
def extract(text: str, wanted: list[Wanted], rounds: int = 3) -> list[Fact]:
    """The wanted facts, all asked for at the same time, at most 60 tokens each.

    Those that do not hold are asked for again, with what is wrong, at most `rounds` times in all.
    """


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _numbers(text: str) -> list[float]:
    return [float(re.sub(r"[^\d.-]", "", number)) for number in _NUMBER.findall(text)]


def _is_date(text: str) -> bool:
    plain = _ORDINAL.sub("", " ".join(text.split()))
    return any(_is_of(plain, form) for form in _DATES)


def _is_of(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _leaves(value: object, path: str) -> Iterator[tuple[str, str | float]]:
    """The texts and numbers in a value, each with the fields that lead to it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    match value:
        case bool():
            return
        case str() if value.strip():
            yield path, value
        case int() | float():
            yield path, value
        case dict():
            for name, inner in value.items():
                yield from _leaves(inner, f"{path}.{name}" if path else str(name))
        case list() | tuple():
            for at, inner in enumerate(value):
                yield from _leaves(inner, f"{path}[{at}]")
