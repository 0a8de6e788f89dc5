"""`parrotc serve` and `parrotc launch`, from start to end, as processes."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from commands import parrotc

from parrotc.machine import read_machine
from parrotc.runtime.engines.configfile import ConfigError

ROOT = Path(__file__).parent.parent.parent
ENGINE = {"engine": "reference", "port": 0}


def begin(command: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "parrotc.cli.main", command, *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line.startswith("http://"), process.communicate()
    return line


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def written(folder: Path, config: Any) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return str(path)


def test_a_core_serves_until_it_is_told(tmp_path: Path) -> None:
    config = written(tmp_path, {"port": 0, "engines": [{"engine": "reference", "name": "one"}]})
    process = begin("serve", "--config", config, "--log_dir", str(tmp_path / "logs"))
    url = url_of(process)
    assert get(f"{url}/health") == {"status": "ok"}
    assert [one["id"] for one in get(f"{url}/v1/models")["data"]] == ["reference"]
    assert end(process)[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "logs" / "core.log").open()]
    assert any("one serves reference" in line["message"] for line in lines)


def test_what_a_core_cannot_use_is_told(tmp_path: Path) -> None:
    done = parrotc("serve", "--config", written(tmp_path, {"prot": 1}))
    assert done.code == 1 and "did you mean `port`?" in done.err
    done = parrotc("serve", "--config", written(tmp_path, {"keys_file": "/nowhere"}))
    assert done.code == 1 and "keys file" in done.err
    done = parrotc("serve", "--config", written(tmp_path, {"engines": [{"model": "/nowhere"}]}))
    assert done.code == 1 and "E0610" in done.err


def test_a_machine_starts_and_ends_together(tmp_path: Path) -> None:
    config = {"core": {"port": 0}, "engines": [{**ENGINE, "name": "a"}, {**ENGINE, "name": "b"}]}
    process = begin("launch", written(tmp_path, config))
    url = url_of(process)
    engines = get(f"{url}/v1/engines")["engines"]
    assert {(one["engine_id"], one["state"]) for one in engines} == {("a", "up"), ("b", "up")}
    children = children_of(process.pid)
    assert len(children) == 3
    code, err = end(process, signal.SIGINT)
    assert code == 0
    assert "reference" in err and "up" in err
    assert not any(is_running(child) for child in children)


def test_a_machine_on_which_something_cannot_start_is_taken_down(tmp_path: Path) -> None:
    bad = {"name": "bad", "model": "/nowhere", "port": 0}
    config = {"core": {"port": 0}, "engines": [{**ENGINE, "name": "good"}, bad]}
    process = begin("launch", written(tmp_path, config))
    children: set[int] = set()
    while process.poll() is None:
        children |= set(children_of(process.pid))
        time.sleep(0.02)
    _, err = process.communicate()
    assert process.returncode == 1
    assert "bad could not start" in err and "there is no model `/nowhere`" in err
    assert len(children) == 3 and not any(is_running(child) for child in children)


def children_of(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_the_example_machine_is_right() -> None:
    config, notes = read_machine(ROOT / "examples" / "configs" / "one_machine.json")
    assert (config.core.port, [one.name for one in config.engines], notes) == (9000, ["one"], [])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "needs `engines`"),
        ({"engines": [], "cores": {}}, "no setting `cores`"),
        ({"engines": [{"name": "a"}, {"name": "a"}]}, "a `name` of its own"),
        ({"engines": [{"name": "core"}]}, "none is called `core`"),
        ({"engines": [{"prot": 1}], "core": {"hots": 1}}, "`hots`"),
        ({"engines": [], "core": 3}, "`core` is an object"),
    ],
)
def test_what_is_wrong_with_a_machine_is_told(tmp_path: Path, config: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_machine(Path(written(tmp_path, config)))
