"""Every case of tests/cases/check: what is wrong with a program, and how it is said.

A section named like a file (`lib.pfn`, `notes.md`) is a file beside the program.
"""

from pathlib import Path

import pytest
from casefile import Case, compare, load

from parrotc.driver import findings
from parrotc.ir.source import Source


@pytest.mark.parametrize("case", load("check"), ids=str)
def test_case(case: Case, update: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = [name for name in case.sections if "." in name]
    for name in files:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(case[name], "utf-8")
    found = findings(Source("case.pfn", case["pfn"]))
    outputs = {"errors": "\n\n".join(finding.render() for finding in found)}
    compare(case, outputs, update, inputs={"pfn", *files})
