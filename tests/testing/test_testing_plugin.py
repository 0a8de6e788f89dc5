"""The pytest plugin, in a pytest of its own: nothing but what is named is loaded there."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PLUGIN = "parrotc.testing.plugin"
PROGRAM = """
pfunc rate(text: str) -> int(ge=1, le=10):
    user "Rate from 1 to 10: {{text}}"

test "right":
    mock rate -> 3
    assert rate("a") == 3

test "wrong":
    mock rate -> 3
    assert rate("a") == 4

test "warns":
    mock rate -> 3
    assert 1 == 1
"""
APP = '''
from enum import Enum
from typing import NamedTuple

from pydantic import BaseModel

from parrotc import Scored, flow, pfunc


class Topic(Enum):
    TECH = "errors"
    OTHER = "the rest"


class Doc(BaseModel):
    title: str
    pages: int


class Sorted(NamedTuple):
    reason: str
    topic: Scored[Topic]


@pfunc
def digest(part: str) -> str:
    """Summarise: {{part}}{{gen}}"""


@pfunc
def rate(note: str) -> int:
    """Rate: {{note}}{{gen}}"""


@pfunc
def classify(mail: str) -> Sorted:
    """{{mail}}: {{gen reason}}.{{gen topic}}"""


@pfunc
def read(page: str) -> Doc:
    """{{page}}{{gen}}"""


@flow
def best(parts: list[str]) -> int:
    notes = [digest(part) for part in parts]
    return max([rate(note) for note in notes])


@flow
def is_sure(mail: str) -> bool:
    return classify(mail).topic.p > 0.5


@flow
def catalogue(page: str) -> Doc:
    return read(page)
'''
TESTS = """
import re

import pytest
from app import Doc, Topic, best, catalogue, classify, digest, is_sure, rate, read

import parrotc


def test_answers_by_function(mock_engine):
    mock_engine.answer(digest, "a note")
    mock_engine.answer("rate", 3, 9)
    assert best(["x", "y"]) == 9
    assert [call.function for call in mock_engine.calls].count("digest") == 2
    assert {call.prompt for call in mock_engine.calls_of(digest)} == {
        "Summarise: x", "Summarise: y"
    }
    assert mock_engine.prompts[-1] == "Rate: a note"
    assert mock_engine.calls[-1].answer in ("3", "9")


async def test_answers_by_prompt(mock_engine):
    mock_engine.answer_prompt("Summarise", lambda prompt: prompt[-1] * 3)
    mock_engine.answer_prompt(re.compile("Rate: (x+)$"), 7)
    mock_engine.answer_prompt("Rate: y", 2)
    assert await best.acall(["x", "y"]) == 7


def test_a_later_answer_goes_first(mock_engine):
    mock_engine.answer_prompt("", 1)
    mock_engine.answer(rate, 5)
    assert best(["x"]) == 5


def test_several_outputs_and_probabilities(mock_engine):
    mock_engine.answer(classify, {"reason": "r", "topic": (Topic.OTHER, 0.4)})
    assert not is_sure("q")
    mock_engine.answer(classify, {"reason": "r", "topic": "TECH"})
    assert is_sure("q")
    assert [call.output for call in mock_engine.calls] == ["reason", "topic"] * 2


def test_records(mock_engine):
    mock_engine.answer(read, Doc(title="t", pages=3))
    assert catalogue("p") == Doc(title="t", pages=3)


def test_nothing_answers(mock_engine):
    mock_engine.answer(digest, "a")
    with pytest.raises(parrotc.RunError, match="nothing answers `rate`") as failed:
        best(["x"])
    assert "Rate: a" in str(failed.value)


def test_too_few_answers(mock_engine):
    mock_engine.answer(digest, "a")
    mock_engine.answer(rate, 1, 2)
    with pytest.raises(parrotc.RunError, match="call 3 of `rate`, for 2 answers"):
        best(["x", "y", "z"])


def test_an_output_that_is_left_out(mock_engine):
    mock_engine.answer(classify, {"reason": "r"})
    with pytest.raises(parrotc.RunError, match="leaves out `topic`"):
        is_sure("q")


def test_an_answer_that_is_no_option(mock_engine):
    mock_engine.answer(classify, {"reason": "r", "topic": "ART"})
    with pytest.raises(parrotc.RunError, match="`ART` is none of TECH, OTHER"):
        is_sure("q")


def test_nothing_is_left_of_other_tests(mock_engine):
    assert mock_engine.calls == []
    with pytest.raises(parrotc.RunError, match="nothing answers `digest`"):
        best(["x"])


def test_wrong_use(mock_engine):
    with pytest.raises(TypeError, match="at least one value"):
        mock_engine.answer(rate)
    with pytest.raises(TypeError, match="neither a @pfunc nor"):
        mock_engine.answer(3, 4)


def test_without_the_fixture_another_engine_runs(monkeypatch):
    monkeypatch.setenv("PARROTC_ENGINE", "reference")
    assert isinstance(best(["x"]), int)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.pfn").write_text(PROGRAM)
    (tmp_path / "plain.pfn").write_text(PROGRAM.split("test ")[0] + "\nnot a program")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    return tmp_path


def run(folder: Path, *args: str) -> tuple[int, str]:
    """The exit status and what pytest printed."""
    command = [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "pytest_asyncio.plugin"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *args],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "NO_COLOR": "1"},
    )
    return done.returncode, done.stdout + done.stderr


def test_a_program_is_collected(folder: Path) -> None:
    code, out = run(folder, "app.pfn", "-v")
    assert code == 1
    assert "app.pfn::right PASSED" in out and "app.pfn::wrong FAILED" in out
    assert "error[E0801]" in out and "app.pfn:11:12" in out and "3 == 4" in out
    assert "Traceback" not in out and "suite.py" not in out
    assert "ProgramWarning: warning[W0801]" in out
    assert "1 failed, 2 passed, 1 warning" in out


def test_pytest_chooses_and_lists(folder: Path) -> None:
    code, out = run(folder, "app.pfn::right", "-q")
    assert (code, "1 passed" in out) == (0, True)
    assert "2 passed, 1 deselected" in run(folder, "-k", "not wrong", "-q")[1]
    assert "app.pfn::warns" in run(folder, "--collect-only", "-q")[1]


def test_a_program_that_does_not_compile(folder: Path) -> None:
    (folder / "app.pfn").write_text('test "t":\n    assert nothing == 1\n')
    code, out = run(folder, "app.pfn")
    assert code == 2 and "error[E0301]" in out and "app.pfn:2:12" in out
    assert "Traceback" not in out


def test_a_program_without_tests_is_left_alone(folder: Path) -> None:
    code, out = run(folder, "plain.pfn")
    assert code == 5 and "no tests ran" in out


def test_answers_of_an_engine_are_recorded_and_replayed(folder: Path) -> None:
    (folder / "app.pfn").write_text(
        PROGRAM.split("test ")[0] + 'test "live":\n    assert rate("a") > 0\n'
    )
    live = ("app.pfn", "--parrotc-live", "reference:a", "--parrotc-record", "answers.jsonl")
    assert run(folder, *live)[0] == 0
    assert run(folder, "app.pfn", "--parrotc-replay", "answers.jsonl")[0] == 0


def test_the_mock_engine(folder: Path) -> None:
    (folder / "app.py").write_text(APP)
    (folder / "test_app.py").write_text(TESTS)
    code, out = run(folder, "test_app.py", "-q", "-p", "no:cacheprovider", "--import-mode=prepend")
    assert code == 0, out
    assert "12 passed" in out


def test_loading_the_plugin_loads_nothing_else() -> None:
    script = (
        "import pytest, sys; before = set(sys.modules); import parrotc.testing.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    out = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert out.split() == ["parrotc", "parrotc.testing", PLUGIN]


def test_an_installation_has_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"parrotc": PLUGIN}
