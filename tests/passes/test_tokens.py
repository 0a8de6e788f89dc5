"""Ids fixed when compiling are those of every whole segment, whatever the values turn out to be."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from templates import FAMILIES, tokenizer

from parrotc.ir.evaluate import evaluate
from parrotc.ir.ops import Fill, Ids, Module, Text, walk
from parrotc.ir.parser import parse_module
from parrotc.ir.source import Source
from parrotc.ir.types import quote
from parrotc.passes.table import run
from parrotc.passes.target import ModelTarget, Target
from parrotc.runtime.models import load_tokenizer, resolve
from parrotc.runtime.tokenizer import Tokenizer

PIECES = st.sampled_from(
    (
        "You read with care. ", "Text: ", " ", "  ", "\n\n", "it'", "'s", "don", "'t", "12", "345 ",
        "é", "世", "界!", "a", "the cat ", ": ", "\u00a0", "\r\n", "(", "\ufffd", "e\u0301",
    )
)  # fmt: skip
TEXTS = st.lists(PIECES, min_size=1, max_size=4).map("".join)
VALUES = st.one_of(st.just(""), TEXTS, st.text(max_size=6))
# what a prompt reads: a constant, a value, a special token
PARTS = st.lists(
    st.one_of(
        st.tuples(st.just("text"), TEXTS),
        st.tuples(st.just("value"), VALUES),
        st.tuples(st.just("special"), st.just("")),
    ),
    min_size=1,
    max_size=6,
)
Parts = list[tuple[str, str]]


def module_of(parts: Parts, special: int, cut: int) -> tuple[Module, dict[str, Any]]:
    """A flow that reads `parts`, in two fills from `cut` on, then generates."""
    args: dict[str, Any] = {}
    shown = []
    for kind, text in parts:
        if kind == "value":
            args[f"v{len(args)}"] = text
            shown.append(f"%v{len(args) - 1}")
        else:
            shown.append(quote(text) if kind == "text" else f'ids[{special}] "<s>"')
    params = ", ".join(f"%{name}: str" for name in args)
    fills = [", ".join(some) for some in (shown[:cut], shown[cut:])]
    text = f"""module @m {{
      model @m = reference "x"
      flow @main({params}) -> str {{
        %c = context.open @m
        %c1 = context.fill %c{fills[0] and ", "}{fills[0]}
        %c2 = context.fill %c1{fills[1] and ", "}{fills[1]}
        %c3, %a = context.gen %c2 site "main.0/0" (max_tokens = 3) : str
        return %a
      }}
    }}"""
    return parse_module(Source("case", text)), args


def segments(parts: Parts, special: int, encoder: Tokenizer) -> list[int]:
    """What the model would have seen without a compiler: each segment as one string."""
    ids: list[int] = []
    pending = ""
    for kind, text in parts:
        if kind != "special":
            pending += text
            continue
        ids += [*(encoder.encode(pending) if pending else []), special]
        pending = ""
    return ids + (encoder.encode(pending) if pending else [])


def check(encoder: Tokenizer, parts: Parts, cut: int) -> None:
    special = next(iter(encoder.specials.values()))
    module, args = module_of([("special", ""), *parts], special, min(cut, len(parts)) + 1)
    target = Target({"m": ModelTarget(encoder, None, 100_000)})
    done = run(module, target, ("tokenize",))
    outcome = evaluate(done, "main", args, target=target, natives={})
    expected = [special, *segments(parts, special, encoder)]
    assert list(outcome.sequences["main.0/0", ()].prompt) == expected


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=150, deadline=None)
@given(parts=PARTS, cut=st.integers(0, 6))
def test_ids_are_those_of_whole_segments(name: str, parts: Parts, cut: int) -> None:
    """C5: where pieces of a prompt are cut does not show in its tokens."""
    check(tokenizer(name), parts, cut)


@settings(max_examples=300, deadline=None)
@given(parts=PARTS, cut=st.integers(0, 6))
def test_ids_of_the_embedded_model(parts: Parts, cut: int) -> None:
    check(_embedded(), parts, cut)


@cache
def _embedded() -> Tokenizer:
    return load_tokenizer(resolve("smollm2-135m-instruct"))


@pytest.mark.parametrize("name", [name for name in FAMILIES if not name.startswith("mistral")])
def test_most_of_a_constant_becomes_ids(name: str) -> None:
    """Holding everything back would be right, and useless."""
    text = "You read with care. Answer briefly: the cat sat on the mat. Text: "
    special = next(iter(tokenizer(name).specials.values()))
    module, _ = module_of([("special", ""), ("text", text), ("value", "x")], special, 3)
    done = run(module, Target({"m": ModelTarget(tokenizer(name), None)}), ("tokenize",))
    (first, _) = (op for op in walk(done.flows[0].body) if isinstance(op, Fill))
    fixed = sum(len(part.ids) for part in first.parts if isinstance(part, Ids))
    held = "".join(part.text for part in first.parts if isinstance(part, Text))
    assert fixed > len(tokenizer(name).encode(text)) - 5
    assert len(held) < 8


class Halves:
    """Two ids for each character, and a stable prefix that ends inside one."""

    fingerprint, bos, specials = "halves", None, {"<s>": 0}

    def encode(self, text: str) -> list[int]:
        return [half for c in text for half in (2 * ord(c), 2 * ord(c) + 1)]

    def decode(self, ids: list[int]) -> str:
        whole = "".join(chr(n // 2) for n in ids[1::2])
        return whole + "\ufffd" * (len(ids) % 2)

    def stable_prefix(self, text: str) -> list[int]:
        return self.encode(text)[:-1]


@pytest.mark.parametrize("text", ["ab", "a\ufffd"])
def test_an_id_that_ends_inside_a_character_is_held_back(text: str) -> None:
    module, args = module_of([("special", ""), ("text", text), ("value", "c")], 0, 3)
    target = Target({"m": ModelTarget(Halves(), None)})
    done = run(module, target, ("tokenize",))
    outcome = evaluate(done, "main", args, target=target, natives={})
    expected = [0, *Halves().encode(text + "c")]
    assert list(outcome.sequences["main.0/0", ()].prompt) == expected
