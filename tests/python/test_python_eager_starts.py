"""Segments that are compiled one by one share how their prompts begin, as one program does."""

from collections.abc import Callable
from pathlib import Path

import pytest
from templates import target_of

from parrotc import Graph
from parrotc.eager.library import Library
from parrotc.eager.service import Service
from parrotc.eager.starts import Starts
from parrotc.ir.ops import Model, Module
from parrotc.ir.source import Source
from parrotc.settings import Settings

MODELS = [
    Model(name, "reference", family) for name, family in (("small", "chatml"), ("old", "mistral"))
]
TARGET = target_of(Module("m", models=tuple(MODELS)))

PROGRAM = """pfunc plan(task: str) -> str:
    system "You plan ahead."
    user "Plan {{task}}"
    assistant "{{gen max_tokens=8}}"

pfunc check(task: str, n: int = 1) -> str:
    system "You plan and check."
    user "Check {{task}} {{n}} times"
    assistant "{{gen max_tokens=8}}"

pfunc answer() -> str:
    assistant "Yes?"
    user "Well."
    assistant "{{gen max_tokens=8}}"

pfunc varied(x: str, short: bool) -> str:
    if short:
        user "Be short."
        assistant "I am."
    user "Go on with {{x}}"
    assistant "{{gen max_tokens=8}}"

pfunc raw(x: str) -> str:
    "{{x}}{{gen max_tokens=8}}"
"""


@pytest.fixture
def library() -> Library:
    return Library.of(Source("app.pfn", PROGRAM), Path("."))


def test_what_functions_begin_with_on_each_model(library: Library) -> None:
    found = Starts().of([library], MODELS, TARGET)
    texts = {
        model: [TARGET.models[model].tokenizer.decode(list(ids)) for ids in starts]
        for model, starts in found.items()
    }
    system = "<|im_start|>system\n"
    assert [text.removeprefix(system) for text in texts["small"]] == [
        "You plan ahead.<|im_end|>\n<|im_start|>user\n",
        "You plan and check.<|im_end|>\n<|im_start|>user\n",
        "You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\nWell.<|im_end|>\n"
        "<|im_start|>assistant\n",
        "You are a helpful assistant",
    ]
    assert texts["old"] == ["<s>[INST]", "<s>[INST]", "<s>", "<s>"], "it takes no `answer`"


def test_they_are_worked_out_once_for_each_set_of_models(library: Library) -> None:
    starts = Starts()
    first = starts.of([library], MODELS, TARGET)
    assert starts.of([library], MODELS, TARGET) == first
    assert starts.of([library, library], MODELS, TARGET)["small"] == first["small"] * 2
    assert set(starts.of([library], MODELS[:1], TARGET)) == {"small"}


FUNCTIONS = """
from parrotc import assistant, pfunc, system, user

HANDBOOK = "Sails are set by hand. " * 20


@pfunc
def ask(question: str) -> str:
    system("{{HANDBOOK}}Answer from the handbook.")
    user("{{question}}")
    assistant("{{gen max_tokens=12}}")


@pfunc
def again(question: str, answer: str) -> str:
    system("{{HANDBOOK}}Say whether an answer is right.")
    user("{{question}} {{answer}}")
    assistant("{{gen max_tokens=12}}")


"""


def test_a_look_in_the_middle_costs_no_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sailing.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import sailing  # type: ignore[import-not-found]

    assert filled(lambda: sailing.again("who?", sailing.ask("who?").get()).get()) == filled(
        lambda: sailing.again("who?", sailing.ask("who?")).get()
    )


def filled(program: Callable[[], object]) -> int:
    service = Service(Settings(engine="reference"), {})
    try:
        with Graph(service=service):
            program()
        return sum(engine.filled_tokens for engine in service.engines())
    finally:
        service.close()
