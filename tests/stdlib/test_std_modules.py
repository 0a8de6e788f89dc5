"""The two halves of each module agree: what the `.pfn` file declares, Python has, typed alike."""

import importlib
import inspect
import json
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

import pytest

import parrotc
from parrotc import Scored
from parrotc.driver import read_source
from parrotc.python.standard import Standard
from parrotc.syntax import tree
from parrotc.syntax.parse import parse

ROOT = Path(__file__).parent.parent.parent
FILES = sorted((ROOT / "stdlib").glob("*.pfn"))
PLAIN = {"str": str, "int": int, "float": float, "bool": bool}


def declarations(path: Path) -> Iterator[tree.Decl]:
    parsed, findings = parse(read_source(path))
    assert not findings
    return (item for item in parsed.items if isinstance(item, tree.Decl))


FUNCTIONS = [
    pytest.param(path.stem, decl, id=f"{path.stem}.{decl.name}")
    for path in FILES
    for decl in declarations(path)
    if isinstance(decl, tree.ExternDecl | tree.PfuncDecl | tree.FlowDecl)
]
CLASSES = [
    pytest.param(path.stem, decl, id=f"{path.stem}.{decl.name}")
    for path in FILES
    for decl in declarations(path)
    if isinstance(decl, tree.ClassDecl)
]


def module(name: str) -> ModuleType:
    return importlib.import_module(f"parrotc.stdlib.{name}")


def in_python(type_: tree.TypeExpr, held: ModuleType) -> Any:
    """The annotation for a type. Limits are left out: they say what a model may generate."""
    match type_:
        case tree.LiteralType(value=value):
            return Literal[value]
        case tree.UnionType(options=options):
            return Literal[tuple(o.value for o in options if isinstance(o, tree.LiteralType))]
        case tree.OptionalType(item=item):
            return in_python(item, held) | None
        case tree.NamedType(name="list", params=[item]):
            return list[in_python(item, held)]  # type: ignore[misc]
        case tree.NamedType(name="scored", params=[item]):
            return Scored[in_python(item, held)]  # type: ignore[misc]
        case tree.NamedType(name=name):
            return PLAIN.get(name) or getattr(held, name, None) or TypeVar(name)
    raise TypeError(type_)


def plain(annotation: Any) -> str:
    """An annotation as a text in which a `Sequence` is a list, and a type parameter any object."""
    text = typing._type_repr(annotation)  # type: ignore[attr-defined]
    for word, other in (("collections.abc.Sequence", "list"), ("~T", "object")):
        text = text.replace(word, other)
    return str(text)


def hints(name: str, function: Any) -> dict[str, Any]:
    return typing.get_type_hints(inspect.unwrap(function), {**vars(module(name)), "Scored": Scored})


def attribute(decl: tree.Decl) -> str:
    if isinstance(decl, tree.ExternDecl):
        return decl.target.partition(":")[2]
    return decl.name


@pytest.mark.parametrize(("name", "decl"), FUNCTIONS)
def test_a_function_has_the_same_signature(
    name: str, decl: tree.ExternDecl | tree.PfuncDecl | tree.FlowDecl
) -> None:
    function = getattr(module(name), attribute(decl))
    assert isinstance(function, Standard) == (not isinstance(decl, tree.ExternDecl))
    types, held = hints(name, function), module(name)
    signature = inspect.signature(function).parameters
    public = [one for one in signature.values() if one.kind is not one.KEYWORD_ONLY]
    assert [one.name for one in public] == [param.name for param in decl.params]
    for one, param in zip(public, decl.params, strict=True):
        assert plain(types[one.name]) == plain(in_python(param.type, held))
        default = () if isinstance(param.default, tree.ListExpr) else one.empty
        if isinstance(param.default, tree.Literal):
            default = param.default.value
        assert one.default == default
    if isinstance(decl, tree.ExternDecl):
        assert plain(types["return"]) == plain(in_python(decl.result, held))
    elif not decl.outputs[0].name:
        assert plain(types["return"]) == plain(in_python(decl.outputs[0].type, held))
    else:
        fields = {output.name: in_python(output.type, held) for output in decl.outputs}
        assert typing.get_type_hints(types["return"]) == fields


@pytest.mark.parametrize(("name", "decl"), CLASSES)
def test_a_class_has_the_same_fields(name: str, decl: tree.ClassDecl) -> None:
    held = module(name)
    fields = {field.name: plain(in_python(field.type, held)) for field in decl.fields}
    own = typing.get_type_hints(getattr(held, decl.name))
    assert {field: plain(type_) for field, type_ in own.items()} == fields


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_everything_has_a_comment(path: Path) -> None:
    """Above each function in the `.pfn` file; in Python a docstring, unless types say it all."""
    text = path.read_text("utf-8")
    lines = text.splitlines()
    assert lines[0].startswith("# ") and not lines[0].endswith(":")
    for decl in declarations(path):
        if isinstance(decl, tree.ExternDecl | tree.PfuncDecl | tree.FlowDecl):
            head = text[: decl.name_span.start].count("\n")
            above = lines[head - 2] if lines[head - 1] == "@pure" else lines[head - 1]
            assert above.startswith("# ") and above.endswith((".", ")")), decl.name
            if not isinstance(decl, tree.ExternDecl):
                assert inspect.getdoc(getattr(module(path.stem), decl.name))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_generation_is_bounded(path: Path) -> None:
    """Every text that the library generates says how long it may be; a choice needs no limit."""
    for decl in declarations(path):
        if not isinstance(decl, tree.PfuncDecl):
            continue
        texts = [gen for gen in tree.walk(decl) if isinstance(gen, tree.Gen)]
        assert texts
        types = [output.type for output in decl.outputs]
        is_choice = any(
            isinstance(t, tree.NamedType) and t.name in ("scored", "bool") for t in types
        )
        assert all(is_choice or any(o.name == "max_tokens" for o in gen.args) for gen in texts)


@pytest.mark.parametrize(("name", "decl"), FUNCTIONS)
def test_every_parameter_is_read(
    name: str, decl: tree.ExternDecl | tree.PfuncDecl | tree.FlowDecl
) -> None:
    read = {node.id for node in tree.walk(decl) if isinstance(node, tree.Name)}
    unread = {param.name for param in decl.params} - read
    assert isinstance(decl, tree.ExternDecl) or not unread, name


def test_a_reply_reads_what_was_just_said() -> None:
    program = """
from std.chat import Turn, recent, reply, respond, said

flow answered(turns: list[Turn], text: str) -> str:
    return respond(turns, text, size=9)[2].text

flow expected(turns: list[Turn], text: str) -> str:
    return reply(recent(said(turns, "user", text), 9))
"""
    with parrotc.compile(program, engine="reference") as loaded:
        turns = [{"role": "user", "text": "aaaaa"}]
        given = {"turns": turns, "text": "cc"}
        assert loaded.answered.plain(given) == loaded.expected.plain(given)


def test_python_and_pfn_have_the_same_modules() -> None:
    python = {path.stem for path in (ROOT / "stdlib").glob("*.py")} - {"__init__"}
    assert python == {path.stem for path in FILES}


PROGRAM = """
import json
from parrotc import flow
from parrotc.stdlib import qa, text
from parrotc.stdlib.chat import Turn, respond
from parrotc.stdlib.qa import Cited


@flow
def found(doc: str) -> Cited:
    passages = [qa.Passage(id=part[:4], text=part) for part in text.chunk(doc, 40)]
    return qa.ask("Where is the boat?", passages, k=1)


@flow
def talk(first: str) -> list[Turn]:
    return respond([], first)


if __name__ == "__main__":
    given = found("The boat is here. The cat is there.")
    turn = respond([Turn("user", "Hi"), Turn("assistant", "Ho")], "And you?")[-1]
    print(json.dumps([type(given).__name__, type(turn).__name__, turn.role, talk("Hi")[0].text]))
    print(len(text.chunk_tokens("one two three " * 40, 20)))
"""


def test_a_python_program_with_the_library(tmp_path: Path) -> None:
    """Modules and names are imported, flows run in flows and by themselves, classes are ours."""
    path = tmp_path / "app.py"
    path.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(path)],
        capture_output=True,
        text=True,
        env={"PARROTC_ENGINE": "reference"},
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert json.loads(first) == ["Cited", "Turn", "assistant", "Hi"]
    assert int(second) > 5


def test_type_checkers_see_the_types(tmp_path: Path) -> None:
    path = tmp_path / "typed.py"
    path.write_text(
        "from parrotc.stdlib import code, list as lists, qa, vote\n"
        "reveal_type(code.write('x'))\n"
        "reveal_type(lists.best(['a'], [1.0]))\n"
        "reveal_type(qa.ask('x', []).passages[0].id)\n"
        "reveal_type(vote.judge('x', 'y').value)\n"
        "vote.consistent(3)\n"
    )
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run([*mypy, str(path)], capture_output=True, text=True)
    revealed = [line.split('"')[1] for line in done.stdout.splitlines() if "Revealed" in line]
    assert [text.rpartition("stdlib.")[2] for text in revealed] == [
        "code.File]", "str", "str", "Literal['yes'] | Literal['no']",
    ]  # fmt: skip
    assert 'Argument 1 to "__call__" of "Compiled" has incompatible type "int"' in done.stdout
