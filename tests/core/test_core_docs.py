"""docs/serving.md says what is true: every setting is in its table, and its program runs."""

import re
import subprocess
import sys
from pathlib import Path

from parrotc.runtime.core.config import CoreConfig
from parrotc.runtime.core.payloads import SamplingConfig
from parrotc.runtime.core.tenants import read_keys

PAGE = (Path(__file__).parent.parent.parent / "docs" / "serving.md").read_text("utf-8")


def test_every_setting_is_named_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.M)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(CoreConfig.model_fields)


def test_every_setting_of_an_output_is_named() -> None:
    paragraph = PAGE[PAGE.index("`sampling_config` of an output") :].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", paragraph)) - {"sampling_config"} == set(
        SamplingConfig.model_fields
    )


def test_its_keys_are_keys() -> None:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S)
    (text,) = (block for language, block in blocks if not language)
    assert sorted(read_keys("keys", text).values()) == ["alice", "alice", "bob"]


def test_its_program_runs() -> None:
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
