r"""Python's regular expressions in the words of another engine: same texts, other spelling.

    respelled(r"\w+[^\d]$")         [\p{L}\p{N}_]+[^\p{Nd}]$

A regex in a program means what `re.fullmatch` says, and grammars are compiled by a Rust library
whose `\w`, classes and escapes differ a little: a text that its `\w` allows may be none to Python.
So the standard library's own parser reads the pattern, and what it means is written out.

By `\d` people mean 0 to 9, and models write no other digits: that much is less than Python allows.
What is *no* digit is none of Python's.
"""

import re
from collections.abc import Iterable, Mapping
from re import _parser  # it has no public name
from typing import Any

_UNICODE = {
    "CATEGORY_DIGIT": "0-9",
    "CATEGORY_NOT_DIGIT": r"[^\p{Nd}]",
    "CATEGORY_WORD": r"\p{L}\p{N}_",
    "CATEGORY_NOT_WORD": r"[^\p{L}\p{N}_]",
    "CATEGORY_SPACE": r"\s\x1c-\x1f",
    "CATEGORY_NOT_SPACE": r"[^\s\x1c-\x1f]",
}
_EXCLUDED = _UNICODE | {"CATEGORY_DIGIT": r"\p{Nd}", "CATEGORY_NOT_DIGIT": "[^0-9]"}
_ASCII = {
    "CATEGORY_DIGIT": "0-9",
    "CATEGORY_NOT_DIGIT": "[^0-9]",
    "CATEGORY_WORD": "0-9A-Za-z_",
    "CATEGORY_NOT_WORD": "[^0-9A-Za-z_]",
    "CATEGORY_SPACE": r"\x20\t\n\r\x0b\x0c",
    "CATEGORY_NOT_SPACE": r"[^\x20\t\n\r\x0b\x0c]",
}
_ANCHORS = {
    "AT_BEGINNING": "^",
    "AT_BEGINNING_STRING": "^",
    "AT_END": "$",
    "AT_END_STRING": "$",
}
_REFUSED = {
    "ASSERT": "look-around",
    "ASSERT_NOT": "look-around",
    "GROUPREF": "a back-reference",
    "GROUPREF_EXISTS": "a back-reference",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive repeat",
    "AT": "a word boundary",
}


def respelled(pattern: str) -> str:
    """The pattern for Rust's `regex-syntax`, ASCII only and without `/`. Raises `ValueError` for
    one that is no regex, or that no automaton can check."""
    try:
        tree = _parser.parse(pattern)
        flags: int = tree.state.flags
        _check_flags(flags)
        text = _sequence(tree, flags)
    except (re.error, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    except RecursionError:
        raise ValueError("the regular expression is nested too deeply") from None
    return f"(?i:{text})" if flags & re.IGNORECASE else text


def literal(text: str) -> str:
    """A pattern that matches `text` alone. Raises `ValueError` for half of a surrogate pair."""
    return "".join(_character(ord(one)) for one in text)


def _character(code: int) -> str:
    if 0xD800 <= code < 0xE000:
        raise ValueError(f"U+{code:04X} alone is no character")
    one = chr(code)
    return one if one.isascii() and one.isalnum() else f"\\x{{{code:x}}}"


def _sequence(items: Iterable[Any], flags: int) -> str:
    return "".join(_item(str(kind), held, flags) for kind, held in items)


def _item(kind: str, held: Any, flags: int) -> str:
    """One node of the parsed pattern, under the `flags` that hold where it stands."""
    match kind:
        case "LITERAL":
            return _character(held)
        case "NOT_LITERAL":
            return f"[^{_character(held)}]"
        case "ANY":
            return "(?s:.)" if flags & re.DOTALL else r"[^\n]"
        case "IN":
            return _class(held, flags)
        case "BRANCH":
            return f"(?:{'|'.join(_sequence(option, flags) for option in held[1])})"
        case "SUBPATTERN":
            return _group(held, flags)
        case "MAX_REPEAT" | "MIN_REPEAT":  # of a whole text, lazy and greedy match the same
            least, most, inner = held
            end = "" if str(most) == "MAXREPEAT" else most
            return f"(?:{_sequence(inner, flags)}){{{least},{end}}}"
        case "AT" if flags & re.MULTILINE:
            raise ValueError("an automaton cannot check `^` and `$` of lines")
        case "AT" if str(held) in _ANCHORS:
            return _ANCHORS[str(held)]
    raise ValueError(f"an automaton cannot check {_REFUSED.get(kind, kind.lower())}")


def _group(held: Any, flags: int) -> str:
    _, added, removed, inner = held
    own = (flags | added) & ~removed
    _check_flags(own)
    text = _sequence(inner, own)
    if added & re.IGNORECASE:
        return f"(?i:{text})"
    return f"(?-i:{text})" if removed & re.IGNORECASE else f"(?:{text})"


def _check_flags(flags: int) -> None:
    if flags & re.ASCII and flags & re.IGNORECASE:  # the other side would let `k` be U+212A
        raise ValueError("an automaton cannot check `(?a)` together with `(?i)`")


def _class(members: Any, flags: int) -> str:
    """A character class; one that begins with `NEGATE` is of all but its members."""
    is_negated = str(members[0][0]) == "NEGATE"
    named = _ASCII if flags & re.ASCII else _EXCLUDED if is_negated else _UNICODE
    inside = (_member(str(kind), held, named) for kind, held in members[is_negated:])
    return f"[{'^' * is_negated}{''.join(inside)}]"


def _member(kind: str, held: Any, named: Mapping[str, str]) -> str:
    """One member of a character class; `named` are those that have a name."""
    match kind:
        case "LITERAL":
            return _character(held)
        case "RANGE":
            first, last = held
            return f"{_character(first)}-{_character(last)}"
    return named[str(held)]
