"""Each code of the front end has a page: one program that gives the code, one that does not."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from parrotc.ir.diagnostic import Level
from parrotc.ir.source import Source
from parrotc.syntax.parse import parse

PAGES = Path(str(files("parrotc.check"))) / "explain"
SYNTAX = Path(str(files("parrotc.syntax")))
CODES = sorted(
    {
        code
        for path in SYNTAX.glob("*.py")
        for code in re.findall(r'"((?:E01|E02|W02)\d\d)"', path.read_text("utf-8"))
    }
)


def test_there_are_codes() -> None:
    assert len(CODES) > 20


@pytest.mark.parametrize("code", CODES)
def test_a_code_has_a_true_page(code: str) -> None:
    page = (PAGES / f"{code}.md").read_text("utf-8")
    assert page.startswith(f"# {code}: ")
    wrong, right = re.findall(r"```pfn\n(.*?\n)```", page, re.DOTALL)
    _, found = parse(Source("wrong.pfn", wrong))
    assert [finding.code for finding in found] == [code]
    _, found = parse(Source("right.pfn", right))
    assert code not in [finding.code for finding in found]
    assert [finding.code for finding in found if finding.level is Level.ERROR] == []
