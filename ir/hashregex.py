"""A text that matches a regular expression, picked by numbers from the caller.

For the reference model (`ir/hashvalue.py`). Understands what an automaton for constrained output
understands: literals, `.`, classes, groups, alternatives and repeats; look-around,
back-references and anchors in the middle are refused.

    sample_regex("[a-c]{2}|x", pick)      "x", or two letters like "bc"
"""

import re
from collections.abc import Callable
from typing import NoReturn

Pick = Callable[[int], int]  # pick(n): a number from 0 to n - 1

_MORE = 3  # an open repeat runs at most this often beyond its least
_CLASSES = {
    "d": "0123456789",
    "w": "abcxyzABC019_",
    "s": " \t\n",
    "D": "ax -",
    "W": " .-",
    "S": "ax0.",
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_PRINTABLE = "".join(map(chr, range(32, 127)))


def sample_regex(pattern: str, pick: Pick) -> str:
    """A text that `re.fullmatch(pattern, text)` accepts. Raises `ValueError` for patterns it
    does not understand, `re.error` for those nobody does."""
    re.compile(pattern)  # so that what follows meets no unclosed group or class
    sampler = _Sampler(pattern, pick)
    text = sampler.alternatives()
    if sampler.at < len(pattern) or re.fullmatch(pattern, text) is None:
        sampler.refuse()
    return text


class _Sampler:
    """Recursive descent that gives a sample where a parser would give a tree.

    A part that repeats is read again from its start for each round, so a group's rounds differ.
    """

    def __init__(self, pattern: str, pick: Pick) -> None:
        self.pattern = pattern
        self.pick = pick
        self.at = 0

    def alternatives(self) -> str:
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        return options[self.pick(len(options))]

    def _sequence(self) -> str:
        pieces = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            pieces.append(self._repeated())
        return "".join(pieces)

    def _repeated(self) -> str:
        start = self.at
        samples = [self._atom()]
        least, most = self._bounds()
        end = self.at
        count = least + self.pick(most - least + 1)
        while len(samples) < count:
            self.at = start
            samples.append(self._atom())
        self.at = end
        return "".join(samples[:count])

    def _bounds(self) -> tuple[int, int]:
        least, most = 1, 1
        if self._take("*"):
            least, most = 0, _MORE
        elif self._take("+"):
            least, most = 1, 1 + _MORE
        elif self._take("?"):
            least, most = 0, 1
        elif found := re.compile(r"\{(\d*)(,?)(\d*)\}").match(self.pattern, self.at):
            self.at = found.end()
            least = int(found[1] or 0)
            most = int(found[3]) if found[3] else least + (_MORE if found[2] else 0)
            most = min(most, least + _MORE)
        self._take("?")  # lazy or not, the same texts match
        return least, most

    def _atom(self) -> str:
        sign = self.pattern[self.at]
        self.at += 1
        match sign:
            case "(":
                return self._group()
            case "[":
                return self._one_of(self._class())
            case ".":
                return self._one_of(_PRINTABLE)
            case "\\":
                return self._one_of(self._escape())
            case "^" | "$":
                return ""
        return sign

    def _group(self) -> str:
        if self._take("?"):
            named = re.compile(r"P?<\w+>|[a-zA-Z-]*:").match(self.pattern, self.at)
            self.at = named.end() if named else self.refuse()
        text = self.alternatives()
        self._take(")")
        return text

    def _class(self) -> str:
        negated = self._take("^")
        inside = self._range()  # a `]` that comes first is a member
        while not self._take("]"):
            inside += self._range()
        return "".join(c for c in _PRINTABLE if c not in inside) if negated else inside

    def _range(self) -> str:
        low = self._member()
        if self._ahead(0) != "-" or self._ahead(1) in ("]", ""):
            return low
        self.at += 1
        first, last = ord(low), ord(self._member())
        return "".join(map(chr, range(first, min(last, first + 500) + 1)))

    def _member(self) -> str:
        sign = self._ahead(0) or self.refuse()
        self.at += 1
        return self._escape() if sign == "\\" else sign

    def _escape(self) -> str:
        """The characters that the escape after a backslash may stand for."""
        sign = self._ahead(0)
        self.at += 1
        if sign in _CLASSES:
            return _CLASSES[sign]
        if sign in ("x", "u"):
            digits = 2 if sign == "x" else 4
            self.at += digits
            return chr(int(self.pattern[self.at - digits : self.at], 16))
        return _ESCAPES.get(sign, sign)

    def refuse(self) -> NoReturn:
        raise ValueError(f"the reference model cannot sample the regex {self.pattern!r}")

    def _ahead(self, distance: int) -> str:
        return self.pattern[self.at + distance : self.at + distance + 1]

    def _one_of(self, characters: str) -> str:
        return characters[self.pick(len(characters))] if characters else ""

    def _take(self, sign: str) -> bool:
        found = self.pattern.startswith(sign, self.at)
        self.at += found
        return found
