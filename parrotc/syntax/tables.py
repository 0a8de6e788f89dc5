"""The LALR tables of grammar.lark: built once, then read from the user's cache as JSON.

Building takes half a second and reading some hundredths, which every command pays. The cache holds
plain data (Lark's own cache is a pickle, which runs what it reads) in a folder of the user's own,
under a name that changes with the grammar, with Lark and with Python. It is only a cache: when it
cannot be read or written, the tables are built.
"""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import lark
from lark.grammar import Rule
from lark.lark import PostLex
from lark.lexer import TerminalDef

STARTS = ("item", "hole")


class BadDedent(Exception):
    """A line goes back to a column that no line around it has. `at` is an offset in the text."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class Layout(PostLex):
    """Turns the indentation after each newline into tokens; inside brackets lines do not count.

    It is Lark's `Indenter` without state of its own, so that one parser serves many threads, and
    with the place of a wrong dedent. Brackets are balanced: scan.py has seen to that.
    """

    always_accept = ("_NL",)

    def process(self, stream: Iterator[lark.Token]) -> Iterator[lark.Token]:
        depth = 0
        levels = [0]
        for token in stream:
            if token.type != "_NL":
                depth += (token.type in _OPEN) - (token.type in _CLOSE)
                yield token
            elif not depth:
                yield token
                yield from _indent(token, levels)


_OPEN = {"LPAR", "LSQB", "LBRACE"}
_CLOSE = {"RPAR", "RSQB", "RBRACE"}


def _indent(newline: lark.Token, levels: list[int]) -> Iterator[lark.Token]:
    column = len(newline) - newline.rindex("\n") - 1
    if column > levels[-1]:
        levels.append(column)
        yield lark.Token.new_borrow_pos("_INDENT", "", newline)
    while column < levels[-1]:
        levels.pop()
        yield lark.Token.new_borrow_pos("_DEDENT", "", newline)
    if column != levels[-1]:
        assert newline.end_pos is not None
        raise BadDedent(newline.end_pos)


@cache
def parser() -> lark.Lark:
    """The parser of the grammar; `parse(text, start=…)` with one of `STARTS`."""
    grammar = grammar_text()
    path = cache_path(grammar)
    built = load(path)
    if built is None:
        built = build(grammar)
        store(path, built)
    _shorten(built)
    return built


def _shorten(built: lark.Lark) -> None:
    """Let rules like `?sum: product` give their only child at once.

    An expression goes through a dozen of them for each level that binds more tightly. Lark works
    out the child's place anew in each, which is the one it has: a third of the time of a parse.
    """
    callbacks: dict[Any, Any] = built.parser.parser.parser.callbacks
    for rule in callbacks:
        if isinstance(rule, Rule) and _gives_its_child(rule):
            callbacks[rule] = _first


def _gives_its_child(rule: Rule) -> bool:
    if not rule.options.expand1 or rule.alias or len(rule.expansion) != 1:
        return False
    (symbol,) = rule.expansion
    is_left_out = getattr(symbol, "filter_out", False) or symbol.name.startswith("_")
    return not is_left_out and not any(rule.options.empty_indices or ())


def _first(children: list[Any]) -> Any:
    return children[0]


def grammar_text() -> str:
    return files("parrotc.syntax").joinpath("grammar.lark").read_text("utf-8")


def build(grammar: str, **options: Any) -> lark.Lark:
    """Build the tables; `strict=True` makes any conflict or collision an error."""
    return lark.Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        start=list(STARTS),
        postlex=Layout(),
        propagate_positions=True,
        maybe_placeholders=True,
        **options,
    )


def cache_path(grammar: str) -> Path:
    """The file in the user's cache that belongs to this grammar, this Lark and this Python."""
    key = "\0".join((grammar, lark.__version__, sys.version, *STARTS))
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "parrotc", f"grammar-{digest}.json")


def load(path: Path) -> lark.Lark | None:
    """The tables in a cache file, or None when it is not there or not whole."""
    try:
        held = json.loads(path.read_bytes())
        data, memo = held["data"], _int_keys(held["memo"])
        table = data["parser"]["parser"]
        table["tokens"] = _int_keys(table["tokens"])
        table["states"] = {int(state): _int_keys(row) for state, row in table["states"].items()}
        loaded: lark.Lark = lark.Lark._load_from_dict(  # type: ignore[no-untyped-call]
            data, memo, postlex=Layout(), propagate_positions=True
        )
        return loaded
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _int_keys(held: dict[str, Any]) -> dict[int, Any]:
    """JSON turns the numbers that are keys into texts."""
    return {int(key): value for key, value in held.items()}


def store(path: Path, built: lark.Lark) -> None:
    """Write the tables to a cache file, if the folder allows."""
    data, memo = built.memo_serialize([TerminalDef, Rule])
    data["options"] = {
        name: value
        for name, value in data["options"].items()
        if isinstance(value, str | bool | list | None) and name != "strict"
    }
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"data": data, "memo": memo}, file)
        os.replace(name, path)  # whoever reads meanwhile sees the old file or the whole new one
