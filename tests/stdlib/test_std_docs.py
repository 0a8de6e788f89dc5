"""docs/stdlib.md has every function as it is declared, and its programs do what they say."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parrotc.driver import checked, read_source
from parrotc.ir.source import Source
from parrotc.settings import Settings
from parrotc.syntax import tree
from parrotc.syntax.parse import parse
from parrotc.testing.suite import Suite

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "stdlib.md").read_text("utf-8")
FILES = sorted((ROOT / "stdlib").glob("*.pfn"))
MARKS = {tree.ExternDecl: "", tree.PfuncDecl: "asks", tree.FlowDecl: "flow"}


def programs(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


def rows(path: Path) -> Iterator[str]:
    """The row of each function: its signature, its mark, and the comment above it."""
    source = read_source(path)
    lines = source.text.splitlines()
    for decl in parse(source)[0].items:
        if not isinstance(decl, tree.ExternDecl | tree.PfuncDecl | tree.FlowDecl):
            continue
        head = source.text[decl.name_span.start :]
        end = head.index(' = "parrotc.' if isinstance(decl, tree.ExternDecl) else ":\n")
        shown = head[:end].replace("|", "\\|")
        at = source.text[: decl.name_span.start].count("\n") - 1
        comment = lines[at - 1] if lines[at].startswith("@") else lines[at]
        yield f"| `{shown}` | {MARKS[type(decl)]} | {comment.removeprefix('# ')} |"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_function_is_on_the_page(path: Path) -> None:
    section = PAGE.split(f"## std.{path.stem}\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("| `")]
    assert table == list(rows(path))


@pytest.mark.parametrize("number", range(len(programs("pfn"))))
def test_a_program_does_what_it_says(number: int) -> None:
    source = Source("page.pfn", programs("pfn")[number])
    assert checked(source)[1] == ()
    with Suite(source, Settings()) as suite:
        assert suite.tests or number == 0
        for test in suite.tests:
            outcome = suite.run(test)
            assert outcome.passed, "\n".join(found.render() for found in outcome.failures)


def test_the_python_of_the_page(tmp_path: Path) -> None:
    (program,) = programs("python")
    (tmp_path / "app.py").write_text(program)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "app.py")],
        capture_output=True,
        text=True,
        env={"PARROTC_ENGINE": "reference"},
    )
    assert done.returncode == 0, done.stderr
    assert [line.split("(")[0] for line in done.stdout.splitlines()[:2]] == ["Cited", "Cited"]
    assert done.stdout.splitlines()[2] == "['One.', 'Two.']"
