"""Every fault that was found in Parrot has a test that it is not one of ours.

    C1 … C11   wrong results      R1 … R7   robustness      S1   security      P1   speed

A test says which one it guards by its name (`test_r4_…`) or the first words of its docstring.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

FAULTS = [*(f"C{n}" for n in range(1, 12)), *(f"R{n}" for n in range(1, 8)), "S1", "P1"]
_NAME = re.compile(r"test_([crsp]\d+)_")
_WORDS = re.compile(r"([CRSP]\d+)[.:]")


@cache
def guarded() -> frozenset[str]:
    """The faults that tests name."""
    found: set[str] = set()
    for path in Path(__file__).parent.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                by_name = _NAME.match(node.name)
                by_words = _WORDS.match(ast.get_docstring(node) or "")
                if node.name.startswith("test_"):
                    found |= {match[1].upper() for match in (by_name, by_words) if match}
    return frozenset(found)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_guarded(fault: str) -> None:
    assert fault in guarded()
