"""What a `.pfn` text says, its Python says too: the trees are equal, node for node.

Every program of the case files, the examples and the standard library is written down in Python
(`inpython.py`), read again and compared.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from casefile import load
from inpython import NoPython, in_python

from parrotc.ir.source import Source
from parrotc.python.translate import translate
from parrotc.syntax import tree
from parrotc.syntax.dump import dump
from parrotc.syntax.parse import parse

ROOT = Path(__file__).parent.parent.parent
SYNTHETIC = """
pfunc f(x: str) -> (a: str, b: int(ge=1, le=3)):
    "A \\"quoted\\" text with {single} and \\{{double}} braces, 'both' \\n\\t\\\\"
    if x == "":
        pass
    else:
        "{{x | upper}}{{gen a, stop=["\\n", "'"]}}"
    "{{gen b}}"

@cache(ttl=5m)
@latency(ttft=300ms, tpot=20ms)
flow g(x: str, n: int = 3, deep: bool = not False) -> list[str]:
    y: list[str] = []
    for i, (k) in enumerate([1, -2, 3]):
        break if i > n and not k in [1] or k not in [2]
        y = y + ["{{i}}: {{x}} {braces}", x[1:], x[:n - 1], x[-1]]
    a, b = 1.5, None
    match n:
        case 1 | -2:
            pass
        case None:
            pass
        case _:
            z = f(x) with (n=2, deadline=2s, criteria=throughput, on_error=None)
    w = {a: [p for p in y if p != "" for q in p.split(", ")], b: a if n < 2 else 0.5}
    return w.a
"""


def programs() -> Iterator[tuple[str, str]]:
    for folder in ("syntax", "check", "lower", "passes"):
        for case in load(folder):
            if "pfn" in case and "error[" not in case.sections.get("errors", ""):
                # a module of the program is called `types`, and there is no file here to tell
                yield str(case), case["pfn"].replace("from types", "from our_types")
    for path in [*(ROOT / "examples").glob("*.pfn"), *(ROOT / "stdlib").glob("*.pfn")]:
        yield path.stem, path.read_text("utf-8")
    yield "synthetic", SYNTHETIC


PROGRAMS = dict(programs())
ROOTS = (tree.PfuncDecl, tree.FlowDecl, tree.ExternDecl, tree.ModelDecl)


def sayable(parsed: tree.Tree) -> list[tree.Import | tree.Decl]:
    """The imports and declarations of a program that Python can say."""
    kept = []
    for item in parsed.items:
        try:
            in_python(tree.Tree(source=parsed.source, items=(item,)))
        except NoPython:
            continue
        if not isinstance(item, tree.TestDecl):
            kept.append(item)
    return kept


def shown(item: tree.Decl | None) -> str:
    return dump(tree.Tree(source=Source("", ""), items=(item,) if item else ()))


@pytest.mark.parametrize("title", PROGRAMS)
def test_a_program_is_the_same(title: str) -> None:
    """Functions and models are there in any case, types and constants if something names them."""
    parsed, _ = parse(Source("case.pfn", PROGRAMS[title]))
    items = sayable(parsed)
    text = in_python(tree.Tree(source=parsed.source, items=tuple(items)))
    python, _ = translate(Source("case.py", text))
    again = {item.name: item for item in python.items if isinstance(item, tree.Decl)}
    mine = {item.name: item for item in items if isinstance(item, tree.Decl)}
    roots = {name for name, item in mine.items() if isinstance(item, ROOTS)}
    assert roots <= again.keys() <= mine.keys()
    assert list(again) == [name for name in mine if name in again], "in source order"
    for name, item in again.items():
        assert shown(item) == shown(mine[name])


def test_most_can_be_said() -> None:
    """The comparison is worth what it compares."""
    parsed = [parse(Source("case.pfn", written))[0] for written in PROGRAMS.values()]
    said = sum(isinstance(item, ROOTS) for one in parsed for item in sayable(one))
    there = sum(isinstance(item, ROOTS) for one in parsed for item in one.items)
    assert said > 0.9 * there and said > 150


EXPRESSIONS = [
    "a and b and c",
    "a or b and not c or d",
    "-a + b - c * d / 2 % e",
    "a if b else c if d else e",
    *(f"a {sign} b" for sign in ("==", "!=", "<", "<=", ">", ">=", "in", "not in")),
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_binds_the_same(expression: str) -> None:
    python, _ = translate(
        Source(
            "case.py",
            f"from parrotc import flow\n@flow\ndef f() -> str:\n    return {expression}\n",
        )
    )
    written, _ = parse(Source("case.pfn", f"flow f() -> str:\n    return {expression}\n"))
    assert dump(python) == dump(written)
