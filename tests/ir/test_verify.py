"""The verifier accepts what lowering and passes give, and names the op of every way to be wrong."""

import time
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import random_module

from parrotc.ir.ops import (
    Apply,
    Block,
    Fill,
    Flow,
    If,
    Map,
    Model,
    Module,
    Open,
    Param,
    Text,
    Value,
)
from parrotc.ir.parser import parse_module
from parrotc.ir.source import Source
from parrotc.ir.types import (
    BOOL,
    CONTEXT,
    FLOAT,
    INT,
    NONE,
    STR,
    Choice,
    Enum,
    Field,
    Int,
    ListOf,
    Member,
    Optional,
    Record,
    Type,
    fits,
)
from parrotc.ir.verify import InvalidIR, verify

DECLARED = """
  enum @Topic {A, B}
  record @Doc {id: str}
  model @m = builtin "x"
  model @n = builtin "y"
  native @search(%q: str, %k: int) -> list<Doc> = "a:b" pure timeout 60.0
  prefix @p on @m = ids[1] "a"
  prefix @r on @m after @p = ids[2] "b"
  function @f(%c: context, %part: str) -> (one, two) {
    %c1, %x = context.gen %c site "0" : str
    %c2, %y = context.gen %c1 site "1" : int
    yield %x, %y
  }
"""
GOOD = """
    %k = const 3 : int
    %docs = native @search(%q, %k) pure : list<Doc>
    %both = call @f(%q) on @m site "main.0" : {one: str, two: int}
    %many = call @f(%q) on @m site "main.1" count %k : list<{one: str, two: int}>
    %ids = map (%doc: Doc, %i: int) in %docs : list<str> {
      %id = apply get[field = "id"](%doc) : str
      yield %id
    }
    %c = context.open @m prefix @r
    %c1 = context.message %c "user"
    %c2 = context.fill %c1, "text", %q
    %c3, %last = fold (%d: str, %j: int, %a: context, %b: str) in %ids from %c2, %q early : context, str {
      %go = const true : bool
      %a1 = context.fill %a, %b
      yield %go, %a1, %d
    }
    %c4 = context.end %c3
    %t = const true : bool
    %c5 = if %t : context {
      %c6 = context.fill %c4, "x"
      context.free %c4
      yield %c6
    } else {
      context.free %c4
      yield %c
    }
    %e = attempt retries 1 tolerant : str? {
      %o = context.open @n
      %o1, %s = context.gen %o site "main.2/0" : str
      context.free %o
      yield %s
    }
    context.free %c5
    return %last
"""  # noqa: E501


def module(body: str, declared: str = DECLARED) -> Module:
    text = f"module @test {{{declared}\n  flow @main(%q: str) -> str {{{body}  }}\n}}"
    return parse_module(Source("test.pir", text))


def test_a_module_with_everything_is_accepted() -> None:
    verify(module(GOOD))


@settings(max_examples=100)
@given(st.integers(0, 10**9), st.integers(1, 25))
def test_random_programs_are_accepted(seed: int, size: int) -> None:
    verify(random_module(Random(seed), size))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # names
        ("native @search(%q", "native @serch(%q", "no native is called `serch`"),
        ("call @f(%q) on @m site", "call @g(%q) on @m site", "no function is called `g`"),
        ("on @m site", "on @mm site", "no model is called `mm`"),
        ("apply get[", "apply gett[", "no function is called `gett`"),
        ("prefix @r", "prefix @q", "the model has no prefix `q`"),
        ('site "main.1"', 'site "main.0"', "two places have the site 'main.0'"),
        ('"user"', '"usr"', "no role is called `usr`"),
        # definitions dominate uses
        ("return %last", "context.free %c6 return %last", "`%c6` is not defined here"),
        ("%d\n", "%last\n", "no value is called `%last`"),
        ("yield %c6\n", "yield %c5\n", "no value is called `%c5`"),
        ("%docs : list", "%ids : list", "no value is called `%ids`"),
        # types
        ("%k = const 3", '%k = const "3"', "a constant of another type"),
        ("search(%q, %k)", "search(%q, %q)", "`k` takes a `int`"),
        ("search(%q, %k)", "search(%q)", "it takes 2 arguments"),
        ("pure : list<Doc>", "pure : list<Topic>", "it gives a `list<Doc>`"),
        (
            ": {one: str, two: int}\n",
            ": {one: str, two: str}\n",
            "it gives a `{one: str, two: int}`",
        ),
        ("count %k", "count %q", "the count must be an int"),
        (": list<{one: str, two: int}>", ": list<{one: str}>", "it gives a `list<"),
        ("%doc: Doc, %i: int", "%doc: int, %i: int", "the items are of another type"),
        ("%doc: Doc, %i: int", "%doc: Doc, %i: str", "the index must be an int"),
        ("in %docs : list<str>", "in %docs : list<int>", "it gives a `list<str>`"),
        ("yield %go,", "yield %b,", "it yields whether to go on"),
        ("yield %go, %a1, %d", "yield %go, %a1, %j", "`b` takes a `str`"),
        ("yield %go, %a1, %d", "yield %go, %a1", "it takes 2 arguments"),
        ("from %c2, %q", "from %c2", "it takes 2 arguments"),
        ("if %t :", "if %q :", "the condition must be a bool"),
        ("tolerant : str?", "tolerant : str", "it gives a `str?`"),
        ('"text", %q', '"text", %k', "`%k` is not a text"),
        # contexts
        ("(%doc) : str", "(%c0) : str", "no value is called `%c0`"),
        ("%c4 = context.end %c3", "%c4 = context.end %c", "no message is open"),
        ('message %c "user"', 'message %c "user"\n%x = context.message %c1 "user"', "still open"),
        ("yield %c\n", "yield %c2\n", "contexts in different states"),
        ("yield %c\n", "%z = context.open @n yield %z\n", "contexts in different states"),
        ("%a1 = context.fill %a, %b", "%a1 = context.end %a", "changes its model or its message"),
        ("context.fill %c1,", "context.fill %q,", "`%q` is not a context"),
        ("yield %s", "yield %o1", "a context cannot be None"),
        ("%id = apply get", "%l = context.open @m %id = apply get", None),
        (
            'site "main.2/0" : str',
            'site "main.2/0" (max_tokens = 0) : str',
            "must be allowed a token",
        ),
        # freeing
        ("context.free %c5", "context.free %c5 context.free %c5", "used after it was freed"),
        ("context.free %c5", "context.free %c4", "used after it was freed"),
        ("context.free %c5", "%z = context.fill %c4", "used after it was freed"),
        ("context.free %c4\n      yield %c6", "yield %c4", None),
        ("yield %c\n", "yield %c4\n", "used after it was freed"),
        ("yield %id", "context.free %c0\n yield %id", "no value is called `%c0`"),
        (
            "%a1 = context.fill %a, %b",
            "%a1 = context.fill %a, %b context.free %c",
            "more than once",
        ),
        ("%a1 = context.fill %a, %b", "%a1 = context.fill %a, %b context.free %a", None),
        ("context.free %o\n", "context.free %c\n", "more than once or not at all"),
        ("yield %s", "context.free %o\n yield %s", "used after it was freed"),
        # regions
        ("retries 1", "retries -1", "must not be negative"),
    ],
)
def test_a_wrong_module_is_refused(old: str, new: str, message: str | None) -> None:
    """`None`: the change is fine, to show that the rule does not refuse its neighbours."""
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    if message is None:
        verify(module(text))
        return
    with pytest.raises(Exception, match=r"(?s).*") as caught:
        verify(module(text))
    assert message in str(caught.value)
    if isinstance(caught.value, InvalidIR):
        assert "flow `main`" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("record @Doc {id: str}", "record @Topic {id: str}\n record @Doc {id: str}", "two types"),
        ('model @n = builtin "y"', 'model @n = builtin "y" model @m = builtin "z"', "two models"),
        ("after @p", "after @q", "which is no earlier prefix"),
        ("prefix @r on @m", "prefix @r on @n", "which is no earlier prefix"),
        ("on @m =", "on @o =", "names no model"),
        ("(one, two)", "(one)", "differ in number"),
        ("%c: context, %part: str", "%part: str, %c: context", "must be the context"),
        ('site "1"', 'site "0"', "two places have the site"),
    ],
)
def test_wrong_declarations_are_refused(old: str, new: str, message: str) -> None:
    assert old in DECLARED
    with pytest.raises(InvalidIR, match=message):
        verify(module(GOOD, DECLARED.replace(old, new, 1)))


def test_what_one_arm_freed_is_gone_after_both() -> None:
    text = GOOD.replace("context.free %c4\n      yield %c\n", "yield %c\n")
    assert text != GOOD
    verify(module(text))
    with pytest.raises(InvalidIR, match="`%c4` is used after it was freed"):
        verify(module(text.replace("context.free %c5", "context.free %c5 context.free %c4")))


@pytest.mark.parametrize(
    ("given", "wanted", "does"),
    [
        (INT, FLOAT, True),
        (FLOAT, INT, False),
        (Int(1, 2), Int(5), True),
        (BOOL, INT, False),
        (NONE, Optional(STR), True),
        (STR, Optional(STR), True),
        (Optional(STR), STR, False),
        (Optional(INT), Optional(FLOAT), True),
        (Choice(("a",)), STR, True),
        (STR, Choice(("a",)), True),
        (ListOf(NONE), ListOf(ListOf(STR)), True),
        (ListOf(STR), ListOf(INT), False),
        (Record("", (Field("a", INT),)), Record("", (Field("a", FLOAT),)), True),
        (Record("", (Field("a", INT),)), Record("", (Field("b", INT),)), False),
        (Record("", (Field("a", INT), Field("b", INT))), Record("", (Field("a", INT),)), False),
        (Record("", ()), Record("", (Field("a", INT, "", 1, True),)), True),
        (Enum("E", (Member("a"),)), Enum("F", (Member("a"),)), False),
        (CONTEXT, STR, False),
    ],
)  # fmt: skip
def test_which_values_fit(given: Type, wanted: Type, does: bool) -> None:
    assert fits(given, wanted) is does


def test_the_op_and_its_place_are_named() -> None:
    with pytest.raises(InvalidIR) as caught:
        verify(module(GOOD.replace("search(%q, %k)", "search(%q)")))
    assert str(caught.value) == (
        "flow `main`: it takes 2 arguments\n"
        "  in `%docs = native @search(%q) pure : list<Doc>` at test.pir:17:5"
    )


# What the parser would not let through.

DOC = Value("doc", STR)


def flow_of(*ops: object, result: Value = DOC) -> Module:
    body = Block((DOC,), ops, (result,))  # type: ignore[arg-type]
    return Module("m", models=(Model("m", "b", ""),), flows=(Flow("f", (Param(DOC),), body),))


def test_a_value_is_used_with_the_type_it_has() -> None:
    with pytest.raises(InvalidIR, match="`%doc` is a `str`, not a `int`"):
        verify(
            flow_of(Apply(results=(Value("x", INT),), function="neg", args=(Value("doc", INT),)))
        )


def test_a_value_is_defined_once() -> None:
    op = Apply(results=(DOC,), function="upper", args=(DOC,))
    with pytest.raises(InvalidIR, match="`%doc` is defined twice"):
        verify(flow_of(op))


def test_values_of_a_region_stay_inside() -> None:
    inner = Value("inner", STR)
    held = Apply(results=(inner,), function="upper", args=(DOC,))
    block = Block((), (held,), (inner,))
    test = Apply(results=(Value("t", BOOL),), function="eq", args=(DOC, DOC))
    op = If(
        results=(Value("r", STR),), condition=test.result, then=block, orelse=Block((), (), (DOC,))
    )
    verify(flow_of(test, op, result=op.result))
    with pytest.raises(InvalidIR, match="`%inner` is not defined here"):
        verify(flow_of(test, op, result=inner))
    again = replace(op, orelse=block)
    with pytest.raises(InvalidIR, match="`%inner` is defined twice"):
        verify(flow_of(test, again, result=op.result))


def test_a_map_gives_no_contexts() -> None:
    item, index, context = Value("w", STR), Value("i", INT), Value("c", CONTEXT)
    block = Block((item, index), (Open(results=(context,), model="m"),), (context,))
    words = Apply(results=(Value("ws", ListOf(STR)),), function="list", args=(DOC,))
    op = Map(results=(Value("cs", ListOf(CONTEXT)),), items=words.result, body=block)
    with pytest.raises(InvalidIR, match="a map gives lists of data"):
        verify(flow_of(words, op))


def test_a_flow_gives_one_value_and_no_context() -> None:
    opened = Open(results=(Value("c", CONTEXT),), model="m")
    with pytest.raises(InvalidIR, match="exactly one value"):
        verify(flow_of(opened, result=opened.result))


def test_time_is_linear() -> None:
    def seconds(count: int) -> float:
        c = [Value(f"c{n}", CONTEXT) for n in range(count + 1)]
        ops = [Open(results=(c[0],), model="m")]
        ops += [Fill(results=(b,), context=a, parts=(Text("x"),)) for a, b in pairwise(c)]  # type: ignore[misc]
        begin = time.process_time()
        verify(flow_of(*ops))
        return time.process_time() - begin

    assert seconds(40_000) < 10 * max(seconds(8_000), 0.02)
