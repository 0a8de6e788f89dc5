"""Programs and the flow-level modules they become, side by side in `tests/cases/lower/`."""

import pytest
from casefile import Case, compare, load

from parrotc.check.check import check
from parrotc.check.loader import file_loader
from parrotc.ir.diagnostic import Level
from parrotc.ir.ops import Module, walk
from parrotc.ir.printer import print_module
from parrotc.ir.source import Source
from parrotc.ir.verify import verify
from parrotc.lower import lower


def lowered(text: str, name: str = "case.pfn") -> Module:
    program, diagnostics = check(Source(name, text), file_loader())
    errors = [d.render() for d in diagnostics if d.level is Level.ERROR]
    assert not errors, "\n".join(errors)
    return lower(program)


@pytest.mark.parametrize("case", load("lower"), ids=str)
def test_case(case: Case, update: bool) -> None:
    module = lowered(case["pfn"])
    verify(module)
    compare(case, {"ir": print_module(module)}, update)


@pytest.mark.parametrize("case", load("lower"), ids=str)
def test_every_op_knows_its_place(case: Case) -> None:
    module = lowered(case["pfn"])
    for owner in [*module.functions, *module.flows]:
        assert owner.span is not None
        for op in walk(owner.body):
            assert op.span is not None and op.span.text(), op
