"""Test blocks and what comes of them, side by side in `tests/cases/testing/`."""

import pytest
from casefile import Case, compare, load

from parrotc.ir.source import Source
from parrotc.settings import Settings
from parrotc.testing.suite import Outcome, Suite


def outcomes(text: str) -> list[Outcome]:
    with Suite(Source("case.pfn", text), Settings()) as suite:
        return [suite.run(test) for test in suite.tests]


def told(outcome: Outcome) -> str:
    found = [one.render() for one in outcome.failures + outcome.warnings]
    head = f"{outcome.test.name}: {'passed' if outcome.passed else 'failed'}"
    return "\n".join([head, *found]) + "\n"


@pytest.mark.parametrize("case", load("testing"), ids=str)
def test_case(case: Case, update: bool) -> None:
    compare(case, {"outcomes": "\n".join(map(told, outcomes(case["pfn"])))}, update)


@pytest.mark.parametrize("case", load("testing"), ids=str)
def test_running_again_gives_the_same(case: Case) -> None:
    """Nothing of one run is left for the next, and the order of tests does not matter."""
    with Suite(Source("case.pfn", case["pfn"]), Settings()) as suite:
        forwards = [told(suite.run(test)) for test in suite.tests]
        backwards = [told(suite.run(test)) for test in reversed(suite.tests)]
    assert forwards == backwards[::-1]
