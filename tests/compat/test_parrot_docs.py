"""What docs/parrot.md says can be done, done."""

import re
import shlex
from pathlib import Path

import pytest
from commands import parrotc
from pages import without_errors

from parrotc.compat.parrot import P

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "parrot.md").read_text("utf-8")
(PROGRAM,) = re.findall(r"^```python\n(.*?)^```$", without_errors(PAGE), re.M | re.S)
(COMMANDS,) = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.mark.parametrize("line", COMMANDS.splitlines())
def test_the_program_runs(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARROTC_ENGINE", "reference")
    (tmp_path / "app.py").write_text(PROGRAM, "utf-8")
    program, *args = shlex.split(line, comments=True)
    done = parrotc(*args)
    assert program == "parrotc" and done.code == 0 and done.out, done.err


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(?:with )?P\.(\w+)", PAGE))))
def test_a_name_is_there(name: str) -> None:
    assert hasattr(P, name)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(?:with |await )?vm\.(\w+)", PAGE))))
def test_a_method_of_a_machine_is_there(name: str) -> None:
    assert hasattr(P.VirtualMachine, name)
