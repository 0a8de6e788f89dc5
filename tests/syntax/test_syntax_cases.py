"""Every case of tests/cases/syntax: what a text parses to, and what is said when it does not."""

import pytest
from casefile import Case, compare, load

from parrotc.ir.source import Source
from parrotc.syntax.dump import dump
from parrotc.syntax.parse import parse


@pytest.mark.parametrize("case", load("syntax"), ids=str)
def test_case(case: Case, update: bool) -> None:
    """A case shows its findings, and its tree too when it has a section for it."""
    tree, found = parse(Source("case", case["pfn"]))
    outputs = {"errors": "\n".join(finding.render() for finding in found)}
    if "ast" in case:
        outputs["ast"] = dump(tree)
    compare(case, outputs, update)
