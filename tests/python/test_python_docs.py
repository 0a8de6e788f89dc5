"""What docs/python.md says can be done, done."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from commands import parrotc
from pages import without_errors

from parrotc.driver import findings
from parrotc.ir.source import Source

PAGE = (Path(__file__).parent.parent.parent / "docs" / "python.md").read_text("utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", without_errors(PAGE), re.M | re.S)
COMMANDS = [
    line.split(" #")[0].strip()
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    for line in block.splitlines()
]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARROTC_ENGINE", "reference")
    (tmp_path / "app.py").write_text(PROGRAMS[0], "utf-8")
    return tmp_path / "app.py"


@pytest.mark.parametrize(
    "program", PROGRAMS, ids=["summaries", "eager", "chat", "types", "natives"]
)
def test_a_program_has_no_finding(program: str) -> None:
    assert findings(Source("app.py", program)) == ()


def test_the_program_runs_as_a_script(app: Path) -> None:
    done = subprocess.run([sys.executable, str(app)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.parametrize("number", [1, 2], ids=["eager", "chat"])
def test_a_chapter_runs_as_a_script(app: Path, number: int) -> None:
    app.write_text(PROGRAMS[number], "utf-8")
    done = subprocess.run([sys.executable, str(app)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and done.stdout and not done.stderr, done.stderr


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command(app: Path, line: str) -> None:
    program, *args = shlex.split(line)
    done = parrotc(*args)
    assert program == "parrotc" and done.code == 0, done.err
