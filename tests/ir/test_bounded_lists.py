"""A list may say how long it may get: a generated one always ends."""

import json

import pytest

from parrotc.ir.hashvalue import value_ids
from parrotc.ir.parser import parse_module
from parrotc.ir.printer import print_module
from parrotc.ir.schema import constraint_of, problem, read
from parrotc.ir.source import Source
from parrotc.ir.tokenhash import start
from parrotc.ir.types import STR, ListOf, from_json, to_json
from parrotc.runtime.tokenizer import ByteTokenizer

TYPE = ListOf(STR, 2)


def test_it_has_a_text_form_and_a_data_form() -> None:
    type_ = "list<str>(max_len=2)"
    text = f"module @m {{\n  flow @f(%x: {type_}) -> {type_} {{\n    return %x\n  }}\n}}\n"
    assert print_module(parse_module(Source("m.pir", text))) == text
    assert from_json(to_json(TYPE)) == TYPE != ListOf(STR)


def test_the_bound_is_checked() -> None:
    assert problem(TYPE, ["a", "b"]) is None
    assert problem(ListOf(TYPE), [["a", "b", "c"]]) == "[0]: 3 items where at most 2 were expected"
    with pytest.raises(ValueError, match="3 items"):
        read(TYPE, '["a", "b", "c"]')


def test_models_are_held_to_it() -> None:
    schema = constraint_of(TYPE).json_schema
    assert schema is not None and json.loads(schema)["maxItems"] == 2
    tokenizer = ByteTokenizer()
    for key in range(50):
        drawn = value_ids(start(key), tokenizer, json_schema=schema)
        assert problem(TYPE, json.loads(drawn.text)) is None
