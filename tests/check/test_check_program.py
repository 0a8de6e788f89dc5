"""What the later stages rely on: the tables of a checked program."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from parrotc.check.check import check
from parrotc.check.loader import file_loader
from parrotc.check.program import (
    ConstSymbol,
    ExternSymbol,
    FlowSymbol,
    LocalSymbol,
    PfuncSymbol,
    Program,
)
from parrotc.ir.diagnostic import Level
from parrotc.ir.source import Source
from parrotc.ir.types import FLOAT, INT, STR, ListOf, Optional
from parrotc.syntax import tree
from parrotc.syntax.tree import walk

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.pfn"))

EXPRESSIONS = (
    tree.Name, tree.Literal, tree.CallExpr, tree.With, tree.Attribute, tree.Index,
    tree.Slice, tree.Unary, tree.Binary, tree.Conditional, tree.ListExpr, tree.TupleExpr,
    tree.RecordExpr, tree.Comprehension,
)  # fmt: skip


def checked(text: str) -> Program:
    program, found = check(Source("case.pfn", text), file_loader())
    assert [f.render() for f in found if f.level is Level.ERROR] == []
    return program


def nodes(program: Program) -> Iterator[tree.Node]:
    for item in program.root.items:
        yield from walk(item)


def named(program: Program, name: str) -> list[object]:
    """The meanings of every use of a name, in order."""
    found = [node for node in nodes(program) if isinstance(node, tree.Name) and node.id == name]
    return [program.names[node] for node in found if node in program.names]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_have_no_errors(path: Path) -> None:
    program, *_tests = path.read_text("utf-8").split("\ntest ")
    assert len(program.splitlines()) <= 60
    program, found = check(Source(str(path), path.read_text("utf-8")), file_loader())
    assert [f.render() for f in found if f.level is Level.ERROR] == []
    for item in program.root.items:
        if isinstance(item, tree.PfuncDecl | tree.FlowDecl):
            _assert_complete(program, item)


def _assert_complete(program: Program, item: tree.PfuncDecl | tree.FlowDecl) -> None:
    """Everything in a body that has a value has a type, and every name in it a meaning."""
    inside = [node for part in item.body for node in walk(part)]
    words = [
        node.value
        for node in inside
        if isinstance(node, tree.Arg) and node.name in ("model", "criteria")
    ]
    callees = [node.function for node in inside if isinstance(node, tree.CallExpr)]
    for node in inside:
        if isinstance(node, tree.Gen):
            assert node in program.gens
        if isinstance(node, EXPRESSIONS) and node not in words:
            assert node in program.types or node in callees, node.span.text()
            assert not isinstance(node, tree.Name) or node in program.names, node.span.text()


def test_a_name_is_a_new_symbol_for_each_binding() -> None:
    program = checked("""
flow f(x: int) -> float:
    y = x
    y = y + 0.5
    return y
""")
    first, second, read, last = named(program, "y")
    assert first is read and second is last and first is not second
    assert isinstance(first, LocalSymbol) and first.type == INT
    assert isinstance(last, LocalSymbol) and last.type == FLOAT


def test_a_carried_name_has_the_type_of_all_iterations() -> None:
    program = checked("""
flow f(xs: list[str]) -> list[list[str]]:
    beam = [[]]
    last = None
    for x in xs:
        beam = [b + [x] for b in beam]
        last = x
    return beam if last != None else []
""")
    uses = [symbol.type for symbol in named(program, "beam") if isinstance(symbol, LocalSymbol)]
    assert uses[1:] == [ListOf(ListOf(STR))] * 3
    assert named(program, "last")[-1].type == Optional(STR)  # type: ignore[attr-defined]


def test_members_and_modules_are_named() -> None:
    program = checked("""
import std.text

enum Topic:
    A
    B

flow f(doc: str) -> Topic:
    parts = std.text.chunk(doc)
    return Topic.B if len(parts) > 1 else "A"
""")
    attributes = {
        node.span.text(): program.names.get(node)
        for node in nodes(program)
        if isinstance(node, tree.Attribute)
    }
    member, native = attributes["Topic.B"], attributes["std.text.chunk"]
    assert isinstance(member, ConstSymbol) and member.value == "B"
    assert isinstance(native, ExternSymbol) and native.name == "std.text.chunk"


def test_a_generic_native_has_an_instance_for_each_type() -> None:
    program = checked("""
from std.list import unique

flow f(a: list[str], b: list[list[str]]) -> int:
    return len(unique(a)) + len(unique(b)) + len(unique(a))
""")
    first, second, third = named(program, "unique")
    assert isinstance(first, ExternSymbol) and isinstance(second, ExternSymbol)
    assert first is third and first.name == "std.list.unique.str"
    assert second.name == "std.list.unique.list_str"
    assert second.params[0].type == ListOf(ListOf(STR)) == second.result
    assert second.type_args == (ListOf(STR),)


def test_generations() -> None:
    program = checked("""
pfunc plain(x: str) -> str:
    user "{{x}}"

pfunc many(x: str) -> (a: str, b: list[str]):
    "{{x}}{{gen a, stop="."}}{{gen c: int, temperature=1}}{{gen b}}"
""")
    (implied,) = program.implicit_gens.values()
    assert (implied.output, implied.sampling) == ("", {"max_tokens": 512})
    a, c, b = program.gens.values()
    assert (a.output, c.output, b.output) == ("a", None, "b")
    assert a.sampling == {"max_tokens": 512, "stop": ["."]}
    assert c.sampling == {"max_tokens": 512, "temperature": 1.0}
    assert b.sampling == {"max_tokens": 1024}


def test_policies_say_only_what_is_written() -> None:
    program = checked("""
model m = builtin("x")

@model(m)
@deadline(2s)
flow f(x: str) -> list[str]:
    return g(x) with (n=len(x), criteria=latency, cache=1h)

@retry(2)
pfunc g(x: str) -> str:
    "{{x}}{{gen temperature=1}}"
""")
    flow, function = program.exports["f"], program.exports["g"]
    assert isinstance(flow, FlowSymbol) and isinstance(function, PfuncSymbol)
    assert flow.policy.model is not None and flow.policy.model.target == "x"
    assert (flow.policy.deadline, function.policy.retry) == (2.0, 2)
    (policy,) = program.policies.values()
    assert (policy.model, policy.criteria, policy.cache_ttl) == (None, "latency", 3600.0)
    assert isinstance(policy.count, tree.CallExpr)


def test_embedded_files_are_recorded(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes("Ä\r\nb\n".encode())
    source = Source(
        str(tmp_path / "case.pfn"), 'const A = embed("a.md")\n\nflow f() -> str:\n    return A\n'
    )
    program, found = check(source, file_loader())
    assert found == ()
    (meaning,) = named(program, "A")
    assert isinstance(meaning, ConstSymbol) and meaning.value == "Ä\nb\n"
    ((name, digest),) = program.embedded
    assert name == "a.md" and len(digest) == 64


def test_names_of_imports_are_unique(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.pfn").write_text("from ..b import B\nclass A:\n    b: B\n")
    (tmp_path / "b.pfn").write_text("class B:\n    x: int\n")
    text = "from lib.a import A\nfrom b import B\n\nflow f(a: A) -> B:\n    return a.b\n"
    program, found = check(Source(str(tmp_path / "case.pfn"), text), file_loader())
    assert found == ()
    flow = program.exports["f"]
    assert isinstance(flow, FlowSymbol)
    assert [str(flow.params[0].type), str(flow.result)] == ["lib.a.A", "b.B"]
    assert [Path(source.name).name for source in program.sources()] == [
        "b.pfn",
        "a.pfn",
        "case.pfn",
    ]


def test_a_file_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    (tmp_path / "lib.pfn").write_bytes(b"\xff")
    (tmp_path / "notes.md").write_bytes(b"ab\xff")
    text = 'from lib import a\nconst N = embed("notes.md")\n'
    _, found = check(Source(str(tmp_path / "case.pfn"), text), file_loader())
    assert [finding.code for finding in found] == ["E0303", "E0341"]
    assert "not UTF-8" in found[0].message and "byte 2" in found[1].message
