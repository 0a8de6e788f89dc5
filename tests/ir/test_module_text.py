"""The text form says everything: what is printed reads back equal, and bad text is an error."""

import time
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import random_module

from parrotc.ir.diagnostic import CompileError
from parrotc.ir.ops import (
    Block,
    Const,
    EnvRef,
    Fill,
    Flow,
    Generate,
    Ids,
    Model,
    Module,
    NativeDecl,
    Open,
    Param,
    Prefix,
    Text,
    Value,
)
from parrotc.ir.parser import parse_module
from parrotc.ir.printer import print_flow, print_module, print_op
from parrotc.ir.source import Source
from parrotc.ir.types import (
    BOOL,
    CONTEXT,
    INT,
    NONE,
    STR,
    Choice,
    Enum,
    Field,
    Float,
    Int,
    ListOf,
    Member,
    Optional,
    Record,
    Scored,
    Str,
    Type,
    freeze,
)

SAMPLE = r"""module @map_reduce {
  enum @Topic {BILLING "payments, invoices", TECH}
  record @Doc {id: str, size: int(ge=1)? = 3 "in words", topic: scored<Topic>}

  model @local = builtin "smollm2-135m-instruct" {base_url = env "URL", fallback = ["small"]}

  native @std.text.chunk(%text: str, %size: int = 1200) -> list<str> = "std:chunk" pure timeout 60.0

  prefix @p0 on @local = ids[1, 2] "<|im_start|>system\n" {tokens = 2}
  prefix @p1 on @local after @p0 = ids[] ""

  function @digest(%c: context, %part: str) -> (work, answer) {
    %c1 = context.message %c "user"
    %c2 = context.fill %c1, "\n\n", %part
    %c3 = context.end %c2
    %c4, %work = context.gen %c3 site "0" name "work" (max_tokens = 160, stop = ["\n\n"]) : str
    %c5, %answer = context.gen %c4 site "1" (temperature = 0.5, seed = 7) : choice("yes", "no")
    yield %work, %answer
  }

  flow @main(%doc: str, %size: int = 1200) -> str? {criteria = "latency"} {
    %parts = native @std.text.chunk(%doc, %size) pure : list<str>
    %k = const {"a": [1,  2]} : {a: list<int>}
    %l = const [] : list<str>
    %notes, %lengths = map (%p: str, %i: int) in %parts : list<str>, list<int> {group = 0} {
      %d = call @digest(%p) on @local site "main.0" count %i : str
      yield %d, %i
    }
    %c = context.open @local prefix @p1
    %last, %go = fold (%q: str, %j: int, %a: context, %b: bool) in %l from %c, %k early : context, bool {
      %t = const true : bool
      %a2 = context.fill %a, %q, ids[5] "x"
      yield %t, %a2, %t
    }
    %r = if %go : str {
      yield %doc
    } else {
      %s = apply get[field = "x"](%k) : str
      yield %s
    }
    %e = attempt retries 2 tolerant : str? {
      yield %r
    }
    %rendered = context.render %last
    context.free %rendered
    return %e
  }
}
"""  # noqa: E501


def read_back(module: Module) -> Module:
    return parse_module(Source("printed", print_module(module)))


def test_the_sample_is_what_the_printer_writes() -> None:
    assert print_module(parse_module(Source("sample", SAMPLE))) == SAMPLE


@settings(max_examples=150)
@given(seed=st.integers(0, 10**9), size=st.integers(1, 20))
def test_random_programs_read_back_equal(seed: int, size: int) -> None:
    module = random_module(Random(seed), size)
    assert read_back(module) == module


# Anything that a field may hold, however unlikely.

NAMES = st.text(min_size=1, max_size=5) | st.sampled_from(["a.b", "x$1", "0", "yield", "ids", "in"])
TEXTS = st.text(max_size=8) | st.sampled_from(["", '"', "\\", "//", "{{", "\n", "\u2028", "%x"])
NUMBERS = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
ATTRS = st.dictionaries(NAMES, JSON.map(freeze), max_size=2).map(lambda d: tuple(sorted(d.items())))
TOPIC = Enum("Topic", (Member("A", 'say "a"'), Member("B")))
DOC = Record("Doc", (Field("t", TOPIC, "why", "A", True), Field("n", Optional(ListOf(INT)))))
TYPES: st.SearchStrategy[Type] = st.recursive(
    st.sampled_from(
        [STR, INT, BOOL, NONE, TOPIC, DOC, Scored(TOPIC), Choice(("a", 'b"')), Float(0.5)]
    )
    | st.builds(Str, TEXTS, st.none() | st.integers(0, 9))
    | st.builds(Int, st.none() | st.integers(), st.none() | st.integers()),
    lambda inner: (
        st.builds(ListOf, inner)
        | st.builds(Optional, inner)
        | st.builds(lambda t: Record("", (Field("x", t), Field("0", t))), inner)
    ),
    max_leaves=4,
)


@st.composite
def odd_modules(draw: st.DrawFn) -> Module:
    """One flow of a chain of contexts; names, texts, numbers and notes are anything at all."""
    names = draw(st.lists(NAMES, min_size=6, max_size=6, unique=True))
    value = Value(names[0], draw(TYPES))
    c0, c1, c2 = (Value(name, CONTEXT) for name in names[1:4])
    ids = draw(st.lists(st.integers(0, 10**6), max_size=4).map(tuple))
    data = draw(JSON)
    gen = Generate(
        results=(c2, Value(names[4], draw(TYPES))),
        context=c1,
        site=draw(TEXTS),
        name=draw(TEXTS),
        max_tokens=draw(st.integers(1, 600)),
        temperature=draw(st.floats(0, 2)),
        top_p=draw(st.floats(0, 1)),
        top_k=draw(st.integers(0, 9)),
        min_p=draw(st.floats(0, 1)),
        seed=draw(st.none() | st.integers()),
        stop=draw(st.lists(TEXTS, max_size=2).map(tuple)),
        notes=draw(ATTRS),
    )
    ops = (
        Const(results=(value,), json='{"a":  [1, 2]}', notes=draw(ATTRS)),
        Open(results=(c0,), model=names[5], prefix=draw(st.none() | NAMES)),
        Fill(results=(c1,), context=c0, parts=(Text(draw(TEXTS)), Ids(ids, draw(TEXTS)), value)),
        gen,
    )
    param = Param(Value("p", draw(TYPES)), data, True)
    return Module(
        draw(NAMES),
        (TOPIC, DOC),
        (Model(names[5], draw(NAMES), draw(TEXTS), (("url", EnvRef(draw(TEXTS))), ("o", data))),),
        (
            NativeDecl(
                draw(NAMES), draw(TEXTS), (param,), draw(TYPES), timeout=draw(st.floats(0, 9))
            ),
        ),
        (Prefix(draw(NAMES), draw(NAMES), draw(st.none() | NAMES), ids, draw(TEXTS), draw(ATTRS)),),
        (),
        (Flow(draw(NAMES), (param,), Block((param.value,), ops, (value,)), draw(ATTRS)),),
    )


@settings(max_examples=150)
@given(odd_modules())
def test_any_name_text_and_note_reads_back_equal(module: Module) -> None:
    if any(value.name == "p" for op in module.flows[0].body.ops for value in op.results):
        return
    assert read_back(module) == module


def test_an_op_and_a_flow_can_be_printed_alone() -> None:
    flow = parse_module(Source("sample", SAMPLE)).flows[0]
    assert print_op(flow.body.ops[0]) in SAMPLE
    assert print_flow(flow).replace("\n", "\n  ").strip() in SAMPLE


def test_ops_carry_their_place_in_the_text() -> None:
    flow = parse_module(Source("sample.pir", SAMPLE)).flows[0]
    span = flow.body.ops[-1].span
    assert span is not None and span.text() == "context.free %rendered"
    assert flow.body.ops[0].span is not None
    assert str(flow.body.ops[0].span).startswith("sample.pir:22:5")


@pytest.mark.parametrize(
    ("old", "new", "code", "shown"),
    [
        ("%parts = native", "%parts = nativ", "E0191", "did you mean `native`?"),
        ("in %parts : list", "in %part : list", "E0191", "did you mean `parts`?"),
        ("pure : list<str>", "pure : lst<str>", "E0191", "no type is called `lst`"),
        ("max_tokens = 160", "max_token = 160", "E0191", "did you mean `max_tokens`?"),
        ("%k = const", "%doc = const", "E0191", "`%doc` is defined twice"),
        ("yield %doc\n    } else", "yield %doc\n    } els", "E0190", "expected `else`"),
        ("ids[1, 2]", "ids[1, , 2]", "E0190", "expected token ids"),
        ("flow @main", "flw @main", "E0191", "did you mean `flow`?"),
        ("{group = 0}", "{group = }", "E0190", "expected JSON data"),
        ("%e = attempt", "%e, %f = attempt", "E0190", "2 values are assigned, 1 are given"),
        ("    return %e\n  }\n}\n", "", "E0190", "read here"),
        ("-> str? {", "-> str {", "E0190", "the flow gives `str?`"),
        ("pure timeout", "pur timeout", "E0190", "pure, idempotent, effectful"),
    ],
)
def test_wrong_text_is_an_error_at_its_place(old: str, new: str, code: str, shown: str) -> None:
    assert old in SAMPLE
    with pytest.raises(CompileError) as caught:
        parse_module(Source("bad.pir", SAMPLE.replace(old, new, 1)))
    (finding,) = caught.value.diagnostics
    assert finding.code == code
    assert shown in finding.render()
    assert "--> bad.pir:" in finding.render()


@settings(max_examples=300)
@given(
    st.integers(0, len(SAMPLE)), st.integers(0, 30), st.text('{}()[]<>%@"=:, a0\n/?', max_size=4)
)
def test_no_text_breaks_the_parser(at: int, length: int, new: str) -> None:
    """It reads a module or raises `CompileError`, whatever is cut out or put in."""
    text = SAMPLE[:at] + new + SAMPLE[at + length :]
    try:
        module = parse_module(Source("cut", text))
    except CompileError:
        return
    assert read_back(module) == module


def test_deep_nesting_is_an_error() -> None:
    text = SAMPLE.replace('{"a": [1,  2]}', "[" * 100_000)
    with pytest.raises(CompileError, match="nested too deeply"):
        parse_module(Source("deep", text))


def test_time_is_linear() -> None:
    def seconds(count: int) -> float:
        c = [Value(f"c{n}", CONTEXT) for n in range(count + 1)]
        ops: list[Any] = [Open(results=(c[0],), model="m")]
        for before, after in pairwise(c):
            ops.append(Fill(results=(after,), context=before, parts=(Ids((1, 2, 3), "abc"),)))
        value = Value("v", STR)
        ops.append(Const(results=(value,), json='""'))
        flow = Flow("f", (), Block((), tuple(ops), (value,)))
        module = Module("m", models=(Model("m", "builtin", "x"),), flows=(flow,))
        begin = time.process_time()
        assert read_back(module) == module
        return time.process_time() - begin

    small = min(seconds(4_000) for _ in range(3))
    assert min(seconds(20_000) for _ in range(2)) < 12 * max(small, 0.02)


def test_equality_ignores_spans_only() -> None:
    module = parse_module(Source("sample", SAMPLE))
    assert parse_module(Source("again", "\n// a comment\n" + SAMPLE)) == module
    flow = module.flows[0]
    assert replace(module, flows=(replace(flow, notes=()),)) != module
