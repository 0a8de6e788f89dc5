"""Every case of tests/cases/check and tests/cases/python: what is wrong, and how it is said.

The program is a section `pfn` or `py`. A section named like a file (`lib.pfn`, `notes.md`) is a
file beside it.
"""

from pathlib import Path

import pytest
from casefile import Case, compare, load

from parrotc.driver import findings
from parrotc.ir.source import Source


@pytest.mark.parametrize("case", [*load("check"), *load("python")], ids=str)
def test_case(case: Case, update: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = [name for name in case.sections if "." in name]
    for name in files:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(case[name], "utf-8")
    language = "py" if "py" in case else "pfn"
    found = findings(Source(f"case.{language}", case[language]))
    outputs = {"errors": "\n\n".join(finding.render() for finding in found)}
    compare(case, outputs, update, inputs={language, *files})
