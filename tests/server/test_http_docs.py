"""The lines of docs/http.md, run as they stand against a real server; and what it names exists."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fronted import core_on, threaded

from parrotc.runtime.server.app import ROUTES, make_app

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "http.md").read_text("utf-8")
LINES = "".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S))


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("jq"), reason="needs curl and jq")
def test_the_lines_run(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with threaded() as front:
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", LINES],
            cwd=tmp_path,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "CORE": front.url,
                "MODEL": "reference",
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("chat.completion", "[DONE]", "event: value", "event: done", '"state":"done"'):
        assert word in done.stdout, word


def test_every_route_is_there() -> None:
    """Named in the page, or by a pattern that the page explains."""
    routes = {route.path for route in make_app(core_on(None))[ROUTES]}
    for path in routes:
        fixed = re.sub(r"/?{\w+}.*", "", path)
        assert fixed in PAGE, path


def test_the_python_speaks_to_it() -> None:
    (script,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    pytest.importorskip("openai")
    with threaded() as front:
        script = script.replace("http://localhost:9000", front.url)
        show = "print(*[model.id for model in client.models.list()])"
        done = subprocess.run(
            [sys.executable, "-c", script + show], capture_output=True, text=True, timeout=60
        )
    assert done.stdout == "reference\n", done.stderr
