"""The examples of docs/language.md are programs without errors or warnings."""

import re
from pathlib import Path

import pytest

from parrotc.check.check import check
from parrotc.check.loader import file_loader
from parrotc.ir.source import Source

PAGE = (Path(__file__).parents[2] / "docs" / "language.md").read_text("utf-8")
SNIPPETS = re.findall(r"```pfn\n(.*?\n)```\n", PAGE, re.DOTALL)


def test_the_page_has_examples() -> None:
    assert len(SNIPPETS) >= 6


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: text.split("\n", 1)[0])
def test_an_example_checks(snippet: str) -> None:
    _, found = check(Source("language.pfn", snippet), file_loader())
    assert "\n".join(finding.render() for finding in found) == ""
