"""What a page of `docs/` shows in its part *Errors*: programs, commands, and what these print."""

import re
from dataclasses import dataclass

_PART = re.compile(r"^## Errors\n.*?(?=^## |\Z)", re.M | re.S)
_SHOWN = re.compile(
    r"^```(?:pfn|python)\n(?P<program>.*?)^```\n\n"
    r"```console\n\$ (?P<command>[^\n]*)\n(?P<said>.*?)^```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Shown:
    """A program that is wrong, the command that says so, and what it prints."""

    program: str
    command: str
    said: str


def errors(page: str) -> list[Shown]:
    """Those of a page. Raises `AssertionError` for a page that has none."""
    found = _PART.search(page)
    assert found, "the page has no part `Errors`"
    return [Shown(**one.groupdict()) for one in _SHOWN.finditer(found[0])]


def without_errors(page: str) -> str:
    """The page but for that part: its programs are right."""
    return _PART.sub("", page)
