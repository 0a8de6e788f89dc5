"""Every code has a page and a case, and the programs on the page are what it says they are."""

import re
from pathlib import Path

import pytest
from casefile import load

import parrotc.check
from parrotc.driver import findings
from parrotc.ir.source import Source

ROOM = Path(parrotc.check.__file__).parent
CODES = sorted(
    {
        code
        for path in ROOM.glob("*.py")
        for code in re.findall(r'"([EW]0\d{3})"', path.read_text("utf-8"))
    }
)
_BLOCK = re.compile(r"^```\w+(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_codes_are_found() -> None:
    assert "E0301" in CODES and len(CODES) > 40


@pytest.mark.parametrize("code", CODES)
def test_page(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong on the page has the code, and nothing else; what is right has no finding."""
    text = (ROOM / "explain" / f"{code}.md").read_text("utf-8")
    assert text.startswith(f"# {code}: ")
    wrong, right = text.split("\nWrong:\n")[1].split("\nRight:\n")
    monkeypatch.chdir(tmp_path)
    assert set(_codes(wrong)) == {code}
    assert not _codes(right)


def _codes(section: str) -> list[str]:
    """The codes found in the program of a section, with the files beside it."""
    program = ""
    for name, text in _BLOCK.findall(section):
        if name:
            Path(name).write_text(text, "utf-8")
        else:
            program = text
    assert program
    return [finding.code for finding in findings(Source("page.pfn", program))]


@pytest.mark.parametrize("code", CODES)
def test_case(code: str) -> None:
    shown = "".join(case.sections.get("errors", "") for case in load("check"))
    assert f"[{code}]" in shown, "no case of tests/cases/check shows it"
