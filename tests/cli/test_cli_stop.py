"""A run that is stopped, by a time limit or by its user: what was finished is kept."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import parrotc

from parrotc.ir.ops import Module
from parrotc.passes.remark import Remarks
from parrotc.passes.table import PASSES, PassInfo
from parrotc.passes.target import Target

PROGRAM = """extern def quick(n: int) -> int = "actions:quick"
extern def slow(n: int) -> int = "actions:slow"

flow main() -> int:
    first = quick(20)
    second = slow(first)
    return second
"""
ACTIONS = """
import pathlib, time

def quick(n):
    return n + 1

def slow(n):
    pathlib.Path(__file__).with_name("begun").touch()
    time.sleep(60)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "actions.py").write_text(ACTIONS)
    path = tmp_path / "app.pfn"
    path.write_text(PROGRAM)
    return path


def test_a_time_limit_says_so_and_keeps_what_is_done(program: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    done = parrotc("run", str(program), "--timeout", "3", "--keep", str(kept))
    assert done.code == 1
    assert "E0612" in done.err and "no result after 3 s" in done.err
    assert list(json.loads(kept.read_text())["finished"].values()) == [21]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_an_interrupt_ends_the_run_and_keeps_what_is_done(program: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    command = [sys.executable, "-m", "parrotc.cli.main", "run", str(program), "--keep", str(kept)]
    run = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    for _ in range(300):
        if (tmp_path / "begun").exists():
            break
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "stopped" in err and "Traceback" not in err
    assert json.loads(kept.read_text()) == {
        "failed": "it was interrupted",
        "finished": {"first": 21},
    }


def test_a_bug_in_a_pass_leaves_what_replays_it(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(module: Module, target: Target, remarks: Remarks) -> Module:
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(PASSES, "dce", PassInfo(broken, "Breaks."))
    done = parrotc("compile", str(program))
    assert done.code == 2 and "ZeroDivisionError" in done.err
    report = Path(re.search(r"the report is in (\S+)", done.err)[1]).read_text("utf-8")
    replay = re.search(r"replay: parrotc opt (\S+) --pass dce", report)
    assert replay is not None
    monkeypatch.undo()
    assert parrotc("opt", replay[1], "--pass", "dce").code == 0
