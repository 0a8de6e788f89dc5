"""Functions of several files in one segment: each is its own, also where names are the same."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from parrotc import Graph, RunError

PROGRAM = '''
from parrotc import native, pfunc


@pfunc
def say(text: str) -> str:
    """WORD {{text}}:{{gen max_tokens=9}}"""


@native
def mark(text: str) -> str:
    return "WORD " + text


@native
def fail_WORD(text: str) -> str:
    raise KeyError(text)
'''


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PARROTC_ENGINE", "reference")
    names: list[str] = []

    def loaded(word: str) -> ModuleType:
        names.append(f"file_of_{word}")
        (tmp_path / f"{names[-1]}.py").write_text(PROGRAM.replace("WORD", word))
        importlib.invalidate_caches()
        return importlib.import_module(names[-1])

    yield loaded
    for name in names:
        del sys.modules[name]


def test_each_is_its_own(load: Callable[[str], ModuleType]) -> None:
    one, other = load("one"), load("other")
    with Graph(engine="reference") as graph:
        texts = [app.say("x") for app in (one, other)]
        marks = [app.mark(text) for app, text in zip((one, other), texts, strict=True)]
        got = [mark.get() for mark in marks]
    assert graph.segments == 1
    assert got == [
        f"{word} {app.say.compile()('x')}" for app, word in ((one, "one"), (other, "other"))
    ]
    assert got[0].removeprefix("one") != got[1].removeprefix("other")


def test_a_name_that_only_one_has_is_told_as_it_is(load: Callable[[str], ModuleType]) -> None:
    one, other = load("one"), load("other")
    with Graph(engine="reference"):
        failed = other.fail_other(one.say("x"))
        with pytest.raises(RunError, match="`fail_other` raised KeyError"):
            failed.get()
