"""Grammars in llama.cpp's notation (GBNF), for servers that take nothing else.

choices_grammar(("yes", "no"))      root ::= "yes" | "no"
regex_grammar("[0-9]{2}|x")         root ::= [0-9]{2} | "x"
"""

import re
from collections.abc import Sequence
from typing import NoReturn

_CLASSES = {"d": "0-9", "w": "a-zA-Z0-9_", "s": r" \t\n\r\x0B\x0C"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_ANY = r"[^\x00]"
_COUNT = re.compile(r"[*+?]|\{\d*,?\d*\}")
_GROUP = re.compile(r"\(\?(?:P<\w+>|(s?):)|\((?!\?)")


def choices_grammar(choices: Sequence[str]) -> str:
    """Exactly one of these texts."""
    return "root ::= " + " | ".join(map(_literal, choices))


def regex_grammar(pattern: str) -> str:
    """A full match. Raises `ValueError` for what has no grammar: look-around, back-references and
    anchors in the middle."""
    try:
        re.compile(pattern)  # so that what follows meets no unclosed group or class
    except re.error as error:
        raise ValueError(f"`{pattern}` is no regular expression: {error}") from None
    reader = _Reader(pattern.removeprefix("^"))
    grammar = reader.alternatives()
    if reader.at < len(reader.pattern):
        reader.refuse()
    return f"root ::= {grammar}"


class _Reader:
    """Recursive descent: each method reads a part of the pattern and gives its grammar."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self._dot = r"[^\n]"

    def alternatives(self) -> str:
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        return " | ".join(options)

    def _sequence(self) -> str:
        parts = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            if self.pattern[self.at :] == "$":
                self.at += 1
                break
            parts.append(self._repeated())
        return " ".join(parts) or '""'

    def _repeated(self) -> str:
        atom = self._atom()
        count = _COUNT.match(self.pattern, self.at)
        if count is None:
            return atom
        self.at = count.end()
        self._take("?")  # lazy or not, the same texts match
        if self.pattern[self.at : self.at + 1] == "+":
            self.refuse()  # possessive
        counted = count[0]
        return atom + (counted.replace("{,", "{0,") if counted.startswith("{,") else counted)

    def _atom(self) -> str:
        group = _GROUP.match(self.pattern, self.at)
        if group is not None:
            return self._group(group)
        character = self._next()
        match character:
            case "[":
                return self._class()
            case ".":
                return self._dot
            case "\\":
                return self._escape()
            case "^" | "$" | "(" | ")" | "*" | "+" | "?":
                self.refuse()
        return _literal(character)

    def _group(self, group: re.Match[str]) -> str:
        self.at = group.end()
        outside = self._dot
        if group[1] == "s":
            self._dot = _ANY
        inside = self.alternatives()
        self._dot = outside
        if not self._take(")"):
            self.refuse()
        return f"({inside})"

    def _escape(self) -> str:
        letter = self._next()
        if letter in _CLASSES:
            return f"[{_CLASSES[letter]}]"
        if letter.lower() in _CLASSES:
            return f"[^{_CLASSES[letter.lower()]}]"
        return _literal(self._character(letter))

    def _character(self, letter: str) -> str:
        """The character that stands after a backslash."""
        if letter in "xuU":
            digits = {"x": 2, "u": 4, "U": 8}[letter]
            self.at += digits
            return chr(int(self.pattern[self.at - digits : self.at], 16))
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter.isalnum():
            self.refuse()  # an anchor, or a back-reference
        return letter

    def _class(self) -> str:
        negated = "^" if self._take("^") else ""
        items = ""
        while not (self.pattern[self.at] == "]" and items):
            items += self._item()
        self.at += 1
        return f"[{negated}{items}]"

    def _item(self) -> str:
        character = self._next()
        if character == "-":
            return r"\x2D"  # where it makes no range
        if character == "\\":
            letter = self._next()
            if letter in _CLASSES:
                return _CLASSES[letter]
            character = "\b" if letter == "b" else self._character(letter)
        start = _in_class(character)
        if self.pattern[self.at : self.at + 1] == "-" and self.pattern[self.at + 1] != "]":
            self.at += 1
            end = self._next()
            end = self._character(self._next()) if end == "\\" else end
            return f"{start}-{_in_class(end)}"
        return start

    def _next(self) -> str:
        self.at += 1
        return self.pattern[self.at - 1]

    def _take(self, character: str) -> bool:
        found = self.pattern.startswith(character, self.at)
        self.at += found
        return found

    def refuse(self) -> NoReturn:
        raise ValueError(f"`{self.pattern}` has no grammar: see `{self.pattern[self.at - 1 :]}`")


def _literal(text: str) -> str:
    return '"' + "".join(map(_in_literal, text)) + '"'


def _in_literal(character: str) -> str:
    return f"\\{character}" if character in '"\\' else _shown(character)


def _in_class(character: str) -> str:
    return f"\\{character}" if character in "]\\" else _escaped_if(character, "^-")


def _escaped_if(character: str, special: str) -> str:
    return f"\\x{ord(character):02X}" if character in special else _shown(character)


def _shown(character: str) -> str:
    return character if character.isprintable() else _coded(ord(character))


def _coded(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
