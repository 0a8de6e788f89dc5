"""Tokens are those of the program's model while it runs, and an estimate before."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import parrotc as command

import parrotc
from parrotc.ir.types import Json
from parrotc.program import LoadedProgram
from parrotc.runtime.errors import RunError

PROGRAM = """
from std.text import chunk_tokens, tokens

model one = builtin("smollm2-135m-instruct")
model two = builtin("smollm2-135m-instruct")

@model(one)
pfunc ask(text: str) -> str:
    user "{{text}}"
    assistant "{{gen max_tokens=4}}"

flow parts(doc: str, size: int, model: str = "one") -> list[str]:
    return chunk_tokens(doc, size, model)

flow count(doc: str, model: str = "") -> int:
    return tokens(doc, model)

flow asked(doc: str) -> list[str]:
    return [ask(part) for part in chunk_tokens(doc, 4, "one")]
"""
BOTH = (
    PROGRAM
    + """
flow other(doc: str) -> str:
    return ask(doc) with (model=two)
"""
)


@pytest.fixture
def program() -> Iterator[LoadedProgram]:
    with parrotc.compile(PROGRAM, engine="reference") as loaded:
        yield loaded


def result(program: LoadedProgram, flow: str, **inputs: Json) -> Json:
    return getattr(program, flow).plain(inputs)


def test_the_tokenizer_of_the_model_counts(program: LoadedProgram) -> None:
    """That of the reference engine makes a token of every byte; an estimate would not."""
    assert result(program, "count", doc="hé, wörld") == 11
    assert result(program, "parts", doc="one two thréé four", size=7) == [
        "one two",
        "thréé",
        "four",
    ]
    assert len(result(program, "asked", doc="ab cd ef gh")) == 4


def test_a_model_that_is_not_there(program: LoadedProgram) -> None:
    with pytest.raises(RunError, match="no model called 'three'; it has one"):
        result(program, "count", doc="x", model="three")


def test_with_several_models_one_is_named() -> None:
    with parrotc.compile(BOTH, engine="reference") as program:
        assert result(program, "count", doc="xyz", model="two") == 3
        with pytest.raises(RunError, match="several models: one, two"):
            result(program, "count", doc="xyz")


def test_a_plan_is_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six short words are two chunks of four tokens by the estimate, and seven by bytes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.pfn").write_text(PROGRAM)
    doc = "doc=one two three four five six"
    done = command("plan", "app.pfn:asked", doc, "--engine", "reference")
    assert done.code == 0, done.err
    assert re.search(r"^calls +2$", done.out, re.M)
