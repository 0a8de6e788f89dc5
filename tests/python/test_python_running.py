"""Decorated functions as Python sees them: called, awaited, streamed, with typed results."""

import asyncio
import collections
import dataclasses
import enum
import importlib
import linecache
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from commands import parrotc

from parrotc import CompileError, RunError
from parrotc.ir.types import STR, Enum, Field, Member, Record
from parrotc.python.values import OwnTypes

PROGRAM = '''
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Literal, NamedTuple, TypedDict

from pydantic import BaseModel, Field

from parrotc import Scored, assistant, flow, native, pfunc, user


class Topic(Enum):
    TECH = "errors"
    OTHER = ""


class Doc(BaseModel):
    id: Annotated[str, Field(pattern="[a-z]{3}")]
    mark: Annotated[int, Field(ge=1, le=5)] = 3


class Verdict(NamedTuple):
    topic: Scored[Topic]
    tone: Literal["kind", "rude"]


class Note(TypedDict):
    text: str


@dataclass
class Box:
    docs: list[Doc]
    topic: Topic
    note: Note | None = None


@native(pure=True)
def pack(docs: list[Doc], topic: Topic) -> Box:
    assert all(isinstance(doc, Doc) for doc in docs) and isinstance(topic, Topic)
    return Box(docs, topic, {"text": "packed"})


@native
def broken(text: str) -> str:
    raise KeyError(text)


@pfunc
def judge(mail: str) -> Verdict:
    user("Judge {{mail}}")
    assistant("{{gen topic}} and {{gen tone}}")


@pfunc
def say(text: str = "hello", /, *, times: int = 2) -> str:
    """{{text}} {{times}}: {{gen max_tokens=8, temperature=0.9}}"""


@pfunc
def make(mail: str) -> Doc:
    user("Make {{mail}}")


@flow
def main(mail: str, k: int = 2) -> Box:
    """Documentation."""
    verdict = judge(mail)
    docs = [make(f"{mail} {i}") for i in range(k)]
    docs += [Doc(id="abc")]
    return pack(docs, verdict.topic.value)


@flow
def echo(box: Box) -> Box:
    return box


@flow
def fails(text: str) -> str:
    return broken(text)
'''


@pytest.fixture
def load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], ModuleType]]:
    """Import a file with the given text under the given name, on the reference engine."""
    monkeypatch.setenv("PARROTC_ENGINE", "reference")
    monkeypatch.syspath_prepend(str(tmp_path))
    names: list[str] = []

    def imported(name: str, text: str) -> ModuleType:
        (tmp_path / f"{name}.py").write_text(text)
        names.append(name)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield imported
    for name in names:
        sys.modules.pop(name, None)


def test_results_are_of_the_classes_of_the_program(load: Callable[..., ModuleType]) -> None:
    app = load("app_types", PROGRAM)
    box = app.main("hi", k=1)
    assert isinstance(box, app.Box) and isinstance(box.topic, app.Topic)
    assert [type(doc) for doc in box.docs] == [app.Doc, app.Doc]
    assert box.docs[1] == app.Doc(id="abc", mark=3) and box.note == {"text": "packed"}
    verdict = app.judge("hi").get()
    assert isinstance(verdict, app.Verdict) and verdict.tone in ("kind", "rude")
    assert verdict.topic.value in app.Topic and set(verdict.topic.dist) == set(app.Topic)
    assert verdict.topic.value == box.topic


def test_inputs_are_instances_of_them(load: Callable[..., ModuleType]) -> None:
    app = load("app_inputs", PROGRAM)
    box = app.Box([app.Doc(id="abc", mark=1)], app.Topic.TECH)
    assert app.echo(box) == box
    assert app.echo(box={"docs": [], "topic": "OTHER"}) == app.Box([], app.Topic.OTHER)
    with pytest.raises(RunError, match=r"docs\[0\]"):
        app.echo(box={"docs": [{"id": "ABC"}], "topic": "OTHER"})


def test_call_await_and_stream_agree(load: Callable[..., ModuleType]) -> None:
    app = load("app_ways", PROGRAM)

    async def ways() -> tuple[str, str]:
        awaited = await app.say.acall("x")
        return awaited, "".join([piece async for piece in app.say.stream("x")])

    say = app.say.compile()
    called = say("x")
    assert (called, called) == asyncio.run(ways())
    assert say("x", times=2, seed=0) == called
    assert say("x", seed=1) != called
    assert (say.__name__, repr(say).split("(")[0]) == ("say", "<flow say")


def test_functions_of_a_file_share_a_program(load: Callable[..., ModuleType]) -> None:
    app = load("app_shared", PROGRAM)
    results: list[object] = []
    say = app.say.compile()
    threads = [threading.Thread(target=lambda: results.append(say("x"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1 and len(results) == 4
    assert app.say.compile() is app.say.compile()
    assert app.say.compile(level="O0") is not app.say.compile()
    assert app.say.compile(level="O0")("x") == app.say.compile()("x")


def test_a_failure_is_told_at_the_line_of_the_call(load: Callable[..., ModuleType]) -> None:
    app = load("app_fails", PROGRAM)
    with pytest.raises(RunError, match="KeyError") as failure:
        app.fails("x")
    assert "return broken(text)" in str(failure.value)


def test_a_mistake_is_told_when_it_is_first_called(load: Callable[..., ModuleType]) -> None:
    text = PROGRAM.replace("mail: str) -> Doc", "mail: dict) -> Doc").replace("{{times}}", "{{x}}")
    app = load("app_wrong", text)
    with pytest.raises(CompileError) as mistakes:
        app.say("x")
    codes = [one.code for one in mistakes.value.diagnostics]
    assert codes == ["E0301", "W0208", "E0128"]
    for one in mistakes.value.diagnostics:
        assert one.span is not None and one.span.source.name == app.__file__
        assert one.span.start < len(text)


def test_a_function_inside_another_cannot_be_compiled(load: Callable[..., ModuleType]) -> None:
    text = (
        "from parrotc import flow\n\n\ndef make():\n"
        "    @flow\n    def f(x: str) -> str:\n        return x\n\n    return f\n"
    )
    with pytest.raises(CompileError, match="top of its file"):
        load("app_nested", text).make()("x")


def test_a_file_that_is_gone(load: Callable[..., ModuleType], tmp_path: Path) -> None:
    app = load("app_gone", PROGRAM)
    (tmp_path / "app_gone.py").unlink()
    linecache.clearcache()
    with pytest.raises(CompileError, match="cannot be read"):
        app.say("x")


def test_words_of_prompts_stand_nowhere_else() -> None:
    from parrotc import env, model, user

    with pytest.raises(TypeError, match="only there"):
        user("hello")
    with pytest.raises(TypeError, match="only there"), user:
        pass
    small = model.openai("small", api_key=env("KEY"))
    assert (small.kind, small.target, small.options["api_key"].name) == ("openai", "small", "KEY")


def test_policies_of_one_call_stand_in_a_flow(load: Callable[..., ModuleType]) -> None:
    app = load("app_with", PROGRAM)
    with pytest.raises(TypeError, match="in a @flow"):
        app.main.with_(retry=2)


def test_a_native_function_is_one_in_python_too(load: Callable[..., ModuleType]) -> None:
    app = load("app_native", PROGRAM)
    assert app.pack([app.Doc(id="abc")], topic="TECH").topic is app.Topic.TECH
    far = load(
        "app_far",
        "from parrotc import native\n"
        '@native("json:dumps", pure=True)\ndef to_json(x: str) -> str: ...\n',
    )
    assert far.to_json("a") == '"a"' and far.to_json.__name__ == "to_json"


def test_compiling_runs_nothing_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(
        "raise SystemExit('the file was run')\nimport parrotc\n\n\n"
        "@parrotc.flow\ndef main(x: str) -> str:\n    return x\n"
    )
    done = parrotc("run", f"{file}:main", "x=hello", "--engine", "reference")
    assert (done.code, done.out) == (0, "hello\n"), done.err


def test_a_pfn_file_uses_a_python_file(tmp_path: Path) -> None:
    """Its types, constants and functions; its natives run where the program is."""
    (tmp_path / "lib.py").write_text(
        "from dataclasses import dataclass\nfrom parrotc import native, pfunc\n\nWORD = 'hi'\n\n\n"
        "@dataclass\nclass Doc:\n    text: str\n\n\n"
        "@native(pure=True)\ndef size(doc: Doc) -> int:\n    return len(doc.text)\n"
    )
    (tmp_path / "app.pfn").write_text(
        "from lib import Doc, WORD, size\n\nflow main(doc: Doc) -> int:\n"
        "    return size(doc) + len(WORD)\n"
    )
    done = parrotc(
        "run", str(tmp_path / "app.pfn"), 'doc={"text": "four"}', "--engine", "reference"
    )
    assert (done.code, done.out) == (0, "6\n"), done.err


def test_a_program_of_several_files(load: Callable[..., ModuleType]) -> None:
    """Types and functions of another file are those of that file."""
    load("far_types", PROGRAM)
    app = load(
        "app_far_types",
        "from far_types import Doc, Topic, make, pack\n"
        "from parrotc import flow\n\n\n"
        "@flow\ndef main(doc: Doc, topic: Topic) -> Doc:\n"
        "    box = pack([doc, make(doc.id)], topic)\n"
        "    return box.docs[0]\n",
    )
    doc = app.Doc(id="abc")
    assert app.main(doc, app.Topic.TECH) == doc


def test_decorating_loads_nothing_heavy() -> None:
    code = """
import sys
from parrotc import Scored, assistant, embed, env, flow, model, native, pfunc, system, tool, user
@pfunc
def f(x: str) -> str:
    "{{gen}}"
@flow(criteria="latency")
def g(x: str) -> str:
    return f(x)
@native
def h(x: str) -> str:
    return x
print(h("a"))
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    out, modules = done.stdout.splitlines()
    heavy = {"torch", "lark", "pydantic", "rich", "click", "tokenizers", "jinja2", "networkx"}
    assert out == "a" and heavy.isdisjoint(modules.split())


def test_a_compiled_function_says_what_it_is(load: Callable[..., ModuleType]) -> None:
    app = load("app_says", PROGRAM)
    assert (repr(app.main), repr(app.say)) == ("<flow main>", "<pfunc say>")
    assert app.main.__doc__ == "Documentation." and app.main.__name__ == "main"


def test_a_class_that_only_has_the_name_is_not_taken() -> None:
    """What the module calls by that name now may be something else than was compiled."""
    topic = Enum("Topic", (Member("TECH"), Member("OTHER")))
    doc = Record("Doc", (Field("id", STR),))
    pair = Record("", (Field("a", STR), Field("b", STR)))
    own = {
        "Topic": enum.Enum("Topic", ["TECH"]),
        "Doc": dataclasses.make_dataclass("Doc", [("id", str), ("n", int)]),
        "Pair": collections.namedtuple("Pair", ["b", "a"]),
    }
    types = OwnTypes(own)
    assert types.build(topic, "OTHER").name == "OTHER"
    assert types.build(doc, {"id": "x"}).id == "x"
    assert not isinstance(types.build(pair, {"a": "x", "b": "y"}), own["Pair"])
    right = OwnTypes({"Pair": collections.namedtuple("Pair", ["a", "b"])})
    assert right.build(pair, {"a": "x", "b": "y"}) == ("x", "y")
