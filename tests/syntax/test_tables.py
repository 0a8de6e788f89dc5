"""The grammar has no conflicts, and the cached tables parse as the built ones do."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from lark import Tree
from lark.exceptions import GrammarError
from lark.lexer import Token

from parrotc.syntax import tables, words

TEXT = 'flow f(x: list[int]) -> (a: str, b: str?):\n    y, z = [p for p, in x if p not in "~~"]\n'


def test_the_grammar_is_clean_when_strict() -> None:
    """Without strict=True Lark settles conflicts in silence."""
    tables.build(tables.grammar_text(), strict=True)


def test_strict_would_notice_a_conflict() -> None:
    broken = tables.grammar_text().replace("?primary   : NAME", "?primary   : NAME -> other | NAME")
    with pytest.raises(GrammarError):
        tables.build(broken, strict=True)


def test_the_cache_gives_the_same_parser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fresh = tables.parser.__wrapped__()
    path = tables.cache_path(tables.grammar_text())
    assert path.parent == tmp_path / "parrotc"
    assert json.loads(path.read_text("utf-8")).keys() == {"data", "memo"}
    cached = tables.load(path)
    assert cached is not None
    assert cached.parse(TEXT, start="item") == fresh.parse(TEXT, start="item")


def test_rules_that_give_their_child_are_short_and_change_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick = tables.parser.__wrapped__()
    monkeypatch.setattr(tables, "_shorten", lambda built: None)
    plain = tables.parser.__wrapped__()
    callbacks = quick.parser.parser.parser.callbacks.values()
    assert sum(callback is tables._first for callback in callbacks) > 30
    assert _places(quick.parse(TEXT, start="item")) == _places(plain.parse(TEXT, start="item"))


def _places(parsed: Tree[Token]) -> list[tuple[str, int, int]]:
    """Every rule with its range, outer before inner."""
    inner = [
        place for child in parsed.children if isinstance(child, Tree) for place in _places(child)
    ]
    if parsed.meta.empty:
        return inner
    return [(parsed.data, parsed.meta.start_pos, parsed.meta.end_pos), *inner]


def test_only_its_owner_can_write_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tables.parser.__wrapped__()
    path = tables.cache_path(tables.grammar_text())
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"data": {}, "memo": {"a": 1}}', "\0"])
def test_a_damaged_cache_is_built_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tables.cache_path(tables.grammar_text())
    path.parent.mkdir()
    path.write_text(content, "utf-8")
    assert tables.parser.__wrapped__().parse(TEXT, start="item").data == "flow_decl"
    assert tables.load(path) is not None


def test_a_cache_that_cannot_be_written_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert tables.parser.__wrapped__().parse(TEXT, start="item").data == "flow_decl"


def test_every_token_has_a_name_for_people() -> None:
    """A terminal is in the table, or is a keyword whose name is the keyword."""
    for terminal in tables.build(tables.grammar_text()).terminals:
        if terminal.name in words.TOKENS or terminal.name.startswith("__IGNORE"):
            continue
        assert terminal.pattern.value == rf"{terminal.name.strip('_').lower()}\b"


def test_reserved_words_are_those_of_the_grammar() -> None:
    name = next(t for t in tables.build(tables.grammar_text()).terminals if t.name == "NAME")
    inside = name.pattern.value.partition("(?!(?:")[2].partition(")")[0]
    assert set(inside.split("|")) == words.RESERVED


def test_layout_ignores_lines_in_brackets() -> None:
    tokens = [Token("LPAR", "("), Token("_NL", "\n   "), Token("RPAR", ")"), Token("_NL", "\n")]
    shown = [token.type for token in tables.Layout().process(iter(tokens))]
    assert shown == ["LPAR", "RPAR", "_NL"]


def test_the_package_is_light_until_something_is_parsed() -> None:
    code = "import parrotc, sys; print('lark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
