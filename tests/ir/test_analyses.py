"""How often, how much and how deep: what an `if` adds to the counts of a flow."""

from parrotc.ir.analyses import Analysis
from parrotc.ir.ops import Fill, Flow, Generate, If, Module, walk
from parrotc.ir.parser import parse_module
from parrotc.ir.source import Source
from parrotc.ir.symbolic import Most, Symbolic, lift, size


def gen(name: str, *reads: str) -> str:
    parts = ", ".join(f"%{read}" for read in reads)
    return f"""
        %{name}.c = context.fill %o, {parts}
        %{name}.d, %{name} = context.gen %{name}.c site "{name}" (max_tokens = 10) : str
    """


def flow(body: str) -> tuple[Module, Flow]:
    module = parse_module(
        Source(
            "case",
            f"""module @m {{
              model @m = reference ""
              flow @main(%q: str, %b: bool, %xs: list<str>, %ys: list<str>) -> str {{
                %o = context.open @m
                {body}
              }}
            }}""",
        )
    )
    return module, module.flows[0]


def analysed(body: str, share: float | None = None) -> Analysis:
    """With the first `if` of the flow taken so often."""
    module, found = flow(body)
    first = next((op for op in walk(found.body) if isinstance(op, If)), None)
    taken = {} if share is None else {id(first): share}
    return Analysis(module, found, taken=taken)


def depths(analysis: Analysis) -> dict[str, Most]:
    gens = [op for op in analysis.generations() if isinstance(op, Generate)]
    return {op.site: analysis.before(op) for op in gens}


TWO_OR_ONE = f"""
    %r = if %b : str {{
      {gen("first", "q")} {gen("second", "first")} yield %second
    }} else {{
      {gen("other", "q")} yield %other
    }}
    return %r
"""

EITHER_LIST = f"""
    %r = if %b : list<str> {{
      %m1 = map (%x: str, %i: int) in %xs : list<str> {{ {gen("a", "x")} yield %a }} yield %m1
    }} else {{
      %m2 = map (%y: str, %j: int) in %ys : list<str> {{ {gen("c", "y")} yield %c }} yield %m2
    }}
    %text = apply json(%r) : str
    return %text
"""


def test_of_an_unknown_if_the_larger_arm_counts() -> None:
    calls = analysed(TWO_OR_ONE).calls
    assert (calls.most.constant, calls.is_exact) == (2, False)
    arms = analysed(EITHER_LIST).calls
    assert set(arms.most.options) == {size("xs"), size("ys")} and not arms.is_exact


def test_a_known_condition_makes_it_exact() -> None:
    for share, calls, deepest in ((1, 2, 2), (0, 1, 1)):
        found = analysed(TWO_OR_ONE, share)
        assert (found.calls.most.constant, found.calls.is_exact) == (calls, True)
        assert found.depth.constant == deepest


def test_arms_that_do_the_same_are_exact() -> None:
    body = f"""
        %r = if %b : str {{ {gen("a", "q")} yield %a }} else {{ {gen("c", "q")} yield %c }}
        return %r
    """
    calls = analysed(body).calls
    assert (calls.most.constant, calls.is_exact) == (1, True)


def test_in_a_loop_a_share_of_the_rounds_takes_an_arm() -> None:
    body = f"""
        %rs = map (%x: str, %i: int) in %xs : list<str> {{
          %v = if %b : str {{
            {gen("first", "x")} {gen("second", "first")} yield %second
          }} else {{
            {gen("other", "x")} yield %other
          }}
          yield %v
        }}
        %text = apply json(%rs) : str
        return %text
    """
    found = analysed(body, 0.25)
    assert found.calls.most == Most((size("xs") * 1.25,)) and found.calls.is_exact
    (first, *_) = found.generations()
    assert found.times(first) == size("xs") * 0.25 and found.is_certain(first)
    unknown = analysed(body)
    assert not unknown.is_certain(unknown.generations()[0])


def test_rounds_that_read_different_texts_in_each_arm_are_bounded_together() -> None:
    """Half of the rounds read a long `x`, the others a long `y`: neither mean bounds the sum."""
    body = f"""
        %rs = map (%x: str, %i: int) in %xs : list<str> {{
          %y = apply upper(%x) : str
          %v = if %b : str {{ {gen("a", "x")} yield %a }} else {{ {gen("c", "y")} yield %c }}
          yield %v
        }}
        %text = apply json(%rs) : str
        return %text
    """
    module, found = flow(body)
    analysis = Analysis(module, found)
    read = analysis.total(lambda op: analysis.filled(op) if isinstance(op, Fill) else lift(0))
    assert read.most == Most((size("xs") * (size("x") + size("y")),))


def test_rounds_that_may_not_come_are_not_certain() -> None:
    body = f"""
        %r = fold (%x: str, %i: int, %k: str) in %xs from %q early : str {{
          {gen("a", "k")} yield %b, %a
        }}
        return %r
    """
    found = analysed(body)
    assert found.calls.most == Most((size("xs"),)) and not found.calls.is_exact
    assert not found.is_certain(found.generations()[0])


def test_what_an_if_holds_comes_after_its_condition() -> None:
    body = f"""
        {gen("judge", "q")}
        %empty = const "" : str
        %wanted = apply eq(%judge, %empty) : bool
        %r = if %wanted : str {{
          {gen("inside", "q")} yield %inside
        }} else {{ yield %q }}
        {gen("last", "r")}
        return %last
    """
    found = analysed(body)
    assert depths(found) == {"judge": Most(), "inside": Most((lift(1),)), "last": Most((lift(2),))}


def test_depth_after_a_fold_counts_its_rounds() -> None:
    body = f"""
        %r = fold (%x: str, %i: int, %k: str) in %xs from %q : str {{
          {gen("a", "k")} {gen("c", "a")} yield %c
        }}
        {gen("last", "r")}
        return %last
    """
    found = analysed(body)
    rounds: Symbolic = size("xs") * 2
    assert depths(found) == {"a": Most(), "c": Most((lift(1),)), "last": Most((rounds,))}
    assert found.depth == Most((rounds + 1,))
