"""What docs/testing.md says can be done, done; and the tests on other pages pass."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from commands import parrotc

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = (DOCS / "testing.md").read_text("utf-8")
SECONDS = re.compile(r"\d+\.\d\d s")


def blocks(language: str, page: str = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)


def elsewhere() -> list[str]:
    """The programs with tests of the other pages, and of the pages of diagnostics."""
    codes = DOCS.parent / "parrotc" / "check" / "explain"
    pages = [DOCS / "language.md", codes / "E0801.md"]
    found = [block for page in pages for block in blocks("pfn", page.read_text("utf-8"))]
    return [block for block in found if "\ntest " in block]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.pfn").write_text(blocks("pfn")[0])
    return tmp_path


def test_the_commands() -> None:
    (output,) = (text for text in blocks("text") if "passed" in text)
    for block in blocks("sh"):
        for line in block.splitlines():
            program, *args = shlex.split(line)
            done = parrotc(*args)
            assert program == "parrotc" and done.code == 0, done.err
            assert SECONDS.sub("", done.out) == SECONDS.sub("", output), line


def test_the_failure_that_is_shown(folder: Path) -> None:
    """It is what the first test says where the last part is the best."""
    (shown,) = (text for text in blocks("text") if "E0801" in text)
    program = (folder / "app.pfn").read_text().replace("mark == max(marks)", "mark == -1")
    (folder / "app.pfn").write_text(program)
    assert shown.rstrip() in parrotc("test", "app.pfn").err


@pytest.mark.parametrize("program", elsewhere(), ids=lambda text: text.split("\n", 1)[0])
def test_the_tests_of_other_pages_pass(program: str, folder: Path) -> None:
    (folder / "other.pfn").write_text(program)
    done = parrotc("test", "other.pfn")
    assert done.code == 0, done.err


def test_the_page_of_undecided_figures(folder: Path) -> None:
    page = (DOCS.parent / "parrotc" / "check" / "explain" / "E0803.md").read_text("utf-8")
    wrong, right = blocks("pfn", page)
    (folder / "wrong.pfn").write_text(wrong)
    (folder / "right.pfn").write_text(right)
    assert "error[E0803]" in parrotc("test", "wrong.pfn").err
    assert parrotc("test", "right.pfn").code == 0


def test_the_python(folder: Path) -> None:
    for text in blocks("python"):
        name = text.split("\n", 1)[0].removeprefix("# ")
        (folder / name).write_text(text)
    plugins = ["-p", "parrotc.testing.plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "test_app.py", "app.pfn"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout
