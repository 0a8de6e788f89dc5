"""The errors that the pages of the styles show are what is printed, to the letter."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pages import Shown, errors

DOCS = Path(__file__).parent.parent / "docs"
MAIN = "from parrotc.cli.main import main; main()"
STYLES = ("language", "python", "parrot")
SHOWN = [
    pytest.param(shown, id=f"{style} {number}")
    for style in STYLES
    for number, shown in enumerate(errors((DOCS / f"{style}.md").read_text("utf-8")))
]


@pytest.mark.parametrize("style", STYLES)
def test_a_page_shows_mistakes_and_failures(style: str) -> None:
    shown = errors((DOCS / f"{style}.md").read_text("utf-8"))
    codes = set(re.findall(r"^error\[(E\d+)\]", "".join(one.said for one in shown), re.M))
    assert len(codes) > 1 and codes & {"E0601", "E0606"}, "and one of them of a run"


@pytest.mark.parametrize("shown", SHOWN)
def test_it_is_what_is_printed(shown: Shown, tmp_path: Path) -> None:
    program, *args = shlex.split(shown.command)
    (file,) = (one for one in args if one.endswith((".py", ".pfn")))
    (tmp_path / file).write_text(shown.program, "utf-8")
    command = [sys.executable, *(() if program == "python" else ("-c", MAIN)), *args]
    env = {**os.environ, "PARROTC_ENGINE": "reference"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == (0 if program == "python" else 1)
    said = (done.stderr + done.stdout).replace(f"{tmp_path}/", "")
    assert said.strip("\n") == shown.said.strip("\n")
