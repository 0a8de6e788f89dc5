"""Each code of the Python front end has a page, whose programs are what it says, and a case."""

import re
from pathlib import Path

import pytest
from casefile import load
from commands import parrotc as command

import parrotc.check
import parrotc.python
from parrotc.driver import findings
from parrotc.ir.source import Source

PAGES = Path(parrotc.check.__file__).parent / "explain"
CODES = sorted(
    {
        code
        for path in Path(parrotc.python.__file__).parent.glob("*.py")
        for code in re.findall(r'"(E012\d)"', path.read_text("utf-8"))
    }
)
AROUND = '''from dataclasses import dataclass
from parrotc import flow, native, pfunc

@pfunc
def shorten(text: str) -> str:
    """{{text}} in short:{{gen}}"""

'''


def test_codes_are_found() -> None:
    assert [f"E012{n}" for n in range(10)] == CODES


@pytest.mark.parametrize("code", CODES)
def test_a_page(code: str) -> None:
    """What is wrong on the page has the code and no other; what is right has no error."""
    page = (PAGES / f"{code}.md").read_text("utf-8")
    assert page.startswith(f"# {code}: ")
    wrong, right = re.findall(r"```python\n(.*?\n)```", page, re.DOTALL)
    assert {one.code for one in findings(Source("page.py", AROUND + wrong))} == {code}
    assert not findings(Source("page.py", AROUND + right))


@pytest.mark.parametrize("code", CODES)
def test_a_case(code: str) -> None:
    shown = "".join(case.sections.get("errors", "") for case in load("python"))
    assert f"[{code}]" in shown, "no case of tests/cases/python shows it"


def test_a_page_is_printed() -> None:
    done = command("explain", "E0125")
    assert done.code == 0 and "STYLE" in done.out
