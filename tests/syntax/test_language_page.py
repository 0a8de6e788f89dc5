"""The examples of docs/language.md are programs without errors or warnings."""

import re
import shlex
from pathlib import Path

import pytest
from commands import parrotc
from pages import without_errors

from parrotc.check.check import check
from parrotc.check.loader import file_loader
from parrotc.ir.source import Source

PAGE = (Path(__file__).parents[2] / "docs" / "language.md").read_text("utf-8")
SNIPPETS = re.findall(r"```pfn\n(.*?\n)```\n", without_errors(PAGE), re.DOTALL)

(COMMANDS,) = re.findall(r"```sh\n(.*?\n)```\n", PAGE, re.DOTALL)


def test_the_page_has_examples() -> None:
    assert len(SNIPPETS) >= 6


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: text.split("\n", 1)[0])
def test_an_example_checks(snippet: str) -> None:
    _, found = check(Source("language.pfn", snippet), file_loader())
    assert "\n".join(finding.render() for finding in found) == ""


@pytest.mark.parametrize("line", COMMANDS.splitlines())
def test_the_first_program_runs(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARROTC_ENGINE", "reference")
    (tmp_path / "app.pfn").write_text(SNIPPETS[0], "utf-8")
    program, *args = shlex.split(line, comments=True)
    done = parrotc(*args)
    assert program == "parrotc" and done.code == 0, done.err
