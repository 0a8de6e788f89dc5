"""Passes on modules that people can read: `tests/cases/passes/*.txt`.

A case has one module (`--- ir`) and what passes make of it: `--- after dce`, or `--- after
tokenize, dce` for several in a row. `--- remarks` are those of the first. What a model stands for
says `templates.target_of`.
"""

import pytest
from casefile import Case, compare, load
from templates import target_of

from parrotc.ir.diagnostic import CompileError
from parrotc.ir.parser import parse_module
from parrotc.ir.printer import print_module
from parrotc.ir.source import Source
from parrotc.passes.remark import Remark
from parrotc.passes.table import run


@pytest.mark.parametrize("case", load("passes"), ids=str)
def test_case(case: Case, update: bool) -> None:
    module = parse_module(Source("case", case["ir"]))
    outputs: dict[str, str] = {}
    for section in case.sections:
        if not section.startswith("after "):
            continue
        remarks: list[Remark] = []
        names = section.removeprefix("after ").split(", ")
        try:
            outputs[section] = print_module(run(module, target_of(module), names, remarks=remarks))
        except CompileError as error:
            outputs[section] = f"{error}\n"
        outputs.setdefault("remarks", "".join(f"{remark}\n" for remark in remarks))
    compare(case, outputs, update)
