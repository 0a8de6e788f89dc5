"""Compiled prompts are, to the id, what the whole conversation gives through the template.

The other side of the comparison knows no pass and no op: it renders the finished list of messages
and tokenises what lies between special tokens.
"""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from templates import FAMILIES, family

from parrotc.ir.evaluate import evaluate
from parrotc.ir.ops import Message, Module, walk
from parrotc.ir.parser import parse_module
from parrotc.ir.source import Source
from parrotc.ir.types import quote
from parrotc.passes.table import run
from parrotc.passes.target import ModelTarget, Target

EDGES = st.sampled_from(("", " ", "\n", "\t \n"))
WORDS = st.sampled_from(("Sum up", "don't", "the cat sat", "12 of 345", "Héllo, 世界!", "a", ":"))
TEXTS = st.builds(lambda a, word, b: a + word + b, EDGES, WORDS, EDGES)
VALUES = st.one_of(TEXTS, EDGES)

Part = tuple[str, bool]  # a text, and whether it is a value, known only when the flow runs
Said = tuple[str, list[Part]]
PARTS = st.lists(
    st.one_of(st.tuples(TEXTS, st.just(False)), st.tuples(VALUES, st.just(True))),
    min_size=1,
    max_size=4,
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Said]:
    """A system message or none, then turns of user and assistant, the last one the user's."""
    roles = ["system"] if draw(st.booleans()) else []
    roles += ["user", "assistant"] * draw(st.integers(0, 2)) + ["user"]
    return [(role, draw(PARTS)) for role in roles]


def module_of(conversation: list[Said]) -> tuple[Module, dict[str, Any]]:
    """A flow that says all this and lets the model answer; its arguments."""
    args: dict[str, Any] = {}
    lines = ["%c = context.open @m"]
    context = "%c"
    for role, parts in conversation:
        shown = []
        for text, is_value in parts:
            if is_value:
                args[f"v{len(args)}"] = text
                shown.append(f"%v{len(args) - 1}")
            else:
                shown.append(quote(text))
        at = len(lines)
        lines.append(f"%c{at} = context.message {context} {quote(role)}")
        lines.append(f"%c{at + 1} = context.fill %c{at}, {', '.join(shown)}")
        lines.append(f"%c{at + 2} = context.end %c{at + 1}")
        context = f"%c{at + 2}"
    lines.append(f'%d = context.message {context} "assistant"')
    lines.append('%d1, %answer = context.gen %d site "main.0/0" (max_tokens = 3) : str')
    params = ", ".join(f"%{name}: str" for name in args)
    body = "\n".join(lines)
    text = f"""module @m {{
      model @m = reference "x"
      flow @main({params}) -> str {{
        {body}
        return %answer
      }}
    }}"""
    return parse_module(Source("case", text)), args


def expected_ids(conversation: list[Said], model: ModelTarget) -> list[int]:
    """The finished conversation through the template, split at special tokens."""
    assert model.render is not None and model.tokenizer is not None
    messages = [(role, "".join(text for text, _ in parts)) for role, parts in conversation]
    specials = model.tokenizer.specials
    splitter = "(" + "|".join(map(re.escape, specials)) + ")"
    ids: list[int] = []
    for piece in re.split(splitter, model.render(messages, prompt=True)):
        ids += [specials[piece]] if piece in specials else model.tokenizer.encode(piece)
    return ids


def compiled_ids(module: Module, args: dict[str, Any], model: ModelTarget) -> list[int]:
    target = Target({"m": model})
    done = run(module, target, ("apply-template", "tokenize"))
    outcome = evaluate(done, "main", args, target=target, natives={})
    return list(outcome.sequences["main.0/0", ()].prompt)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(conversation=conversations())
def test_a_prompt_is_the_rendered_conversation(name: str, conversation: list[Said]) -> None:
    model = family(name)
    module, args = module_of(conversation)
    assert compiled_ids(module, args, model) == expected_ids(conversation, model)


@pytest.mark.parametrize("name", FAMILIES)
def test_messages_become_constants_where_the_template_allows(name: str) -> None:
    """Only the one that moves its system message keeps messages, and only over several turns."""
    turns: list[Said] = [
        ("system", [("Be brief.", False)]),
        ("user", [("Hello ", False), ("you", True)]),
        ("assistant", [("Yes?", False)]),
        ("user", [("x", True)]),
    ]
    late = []
    for count in (2, 4):
        module, _ = module_of(turns[:count])
        done = run(module, Target({"m": family(name)}), ("apply-template",))
        late.append(any(isinstance(op, Message) for op in walk(done.flows[0].body)))
    assert late == [False, name == "mistral-last"]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_value_never_becomes_a_special_token(name: str) -> None:
    model = family(name)
    assert model.tokenizer is not None
    special = next(iter(model.tokenizer.specials))
    module, args = module_of([("user", [(f"say {special}{special} ", True), (special, False)])])
    honest, _ = module_of([("user", [("say ", True), ("x", False)])])
    ids = compiled_ids(module, args, model)
    number = model.tokenizer.specials[special]
    assert ids.count(number) == compiled_ids(honest, {"v0": "say "}, model).count(number)
