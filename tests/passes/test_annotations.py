"""What is written on generations: criteria, groups, estimates, lifetimes."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from random import Random

import pytest
from programs import NATIVES, random_args, random_module
from templates import FAMILIES, family

from parrotc.ir.evaluate import evaluate
from parrotc.ir.ops import Block, Fill, Free, Generate, Module, Op, Value, blocks, operands, walk
from parrotc.ir.parser import parse_module
from parrotc.ir.source import Source
from parrotc.ir.types import CONTEXT
from parrotc.passes.costs import places
from parrotc.passes.notes import STRICTNESS, merged, stricter
from parrotc.passes.propagate_criteria import demands
from parrotc.passes.table import PIPELINES, run
from parrotc.passes.target import ModelTarget, Target
from parrotc.runtime.tokenizer import ByteTokenizer

TARGET = Target({"m": ModelTarget(ByteTokenizer(), None, 100_000)})


def flow(body: str, notes: str = "", result: str = "str") -> Module:
    """One flow over the contexts `%o`, with the value `%q` and the list `%xs`."""
    text = f"""module @m {{
      model @m = reference ""
      flow @main(%q: str, %xs: list<str>) -> {result} {notes and "{"}{notes}{notes and "}"} {{
        %o = context.open @m
        {body}
      }}
    }}"""
    return parse_module(Source("case", text))


def call(name: str, *reads: str, notes: str = "") -> str:
    """A generation of `%name` from a prompt of the values it reads."""
    return (
        f"""
        %{name}.c = context.fill %o, {", ".join(f"%{read}" for read in reads)}
        %{name}.d, %{name} = context.gen %{name}.c site "main.{name}" (max_tokens = 10) : str
    """.rstrip()
        + (f" {{{notes}}}\n" if notes else "\n")
    )


def noted(module: Module, name: str, *names: str) -> dict[str, object]:
    done = run(module, TARGET, names)
    gens = (op for op in walk(done.flows[0].body) if isinstance(op, Generate))
    return {op.site.removeprefix("main."): op.note(name) for op in gens}


# --- criteria: graphs worked by hand ---

CHAIN = call("a", "q") + call("b", "a") + call("c", "b") + "return %c"
DIAMOND = (
    call("a", "q")
    + call("b", "a")
    + call("c", "a")
    + '%both = apply format[texts = ["", "", ""]](%b, %c) : str\n'
    + call("d", "both")
    + "return %d"
)
LATENCY, THROUGHPUT = "latency", "throughput"


def test_each_step_of_a_chain_is_awaited_alone() -> None:
    found = noted(flow(CHAIN), "criteria", "propagate-criteria")
    assert found == {"a": LATENCY, "b": LATENCY, "c": LATENCY}


def test_the_parallel_parts_of_a_diamond_are_a_group() -> None:
    found = noted(flow(DIAMOND), "criteria", "propagate-criteria")
    assert found == {"a": LATENCY, "b": THROUGHPUT, "c": THROUGHPUT, "d": LATENCY}


def test_a_flow_may_be_asked_for_throughput() -> None:
    found = noted(flow(DIAMOND, 'criteria = "throughput"'), "criteria", "propagate-criteria")
    assert set(found.values()) == {THROUGHPUT}


def test_what_was_asked_of_a_call_goes_up_from_it_and_not_down() -> None:
    body = call("a", "q") + call("b", "a", notes='asked = "latency"') + call("c", "b") + "return %c"
    found = noted(flow(body, 'criteria = "throughput"'), "criteria", "propagate-criteria")
    assert found == {"a": LATENCY, "b": LATENCY, "c": THROUGHPUT}


def test_the_stricter_of_two_readers_wins() -> None:
    body = (
        call("a", "q")
        + call("b", "a", notes='asked = "throughput"')
        + call("c", "a", notes='asked = "latency"')
        + '%both = apply format[texts = ["", "", ""]](%b, %c) : str\n return %both'
    )
    found = noted(flow(body), "criteria", "propagate-criteria")
    assert found == {"a": LATENCY, "b": THROUGHPUT, "c": LATENCY}


def test_rounds_of_a_map_are_a_group_and_rounds_of_a_fold_are_not() -> None:
    inner = call("a", "x")
    mapped = f"%y = map (%x: str, %i: int) in %xs : list<str> {{ {inner} yield %a }} return %y"
    loop = "fold (%x: str, %i: int, %k: str) in %xs from %q : str"
    folded = f"%y = {loop} {{ {inner} yield %a }} return %y"
    maps = flow(mapped, result="list<str>")
    assert noted(maps, "criteria", "propagate-criteria") == {"a": THROUGHPUT}
    assert noted(flow(folded), "criteria", "propagate-criteria") == {"a": LATENCY}


def test_a_fold_is_awaited_round_by_round_whatever_runs_beside_it() -> None:
    inner = call("a", "x", "k")
    body = (
        f"%y = fold (%x: str, %i: int, %k: str) in %xs from %q : str {{ {inner} yield %a }}\n"
        + call("b", "q")
        + '%r = apply format[texts = ["", "", ""]](%y, %b) : str\n return %r'
    )
    assert noted(flow(body), "criteria", "propagate-criteria") == {"a": LATENCY, "b": LATENCY}
    assert noted(flow(body), "group", "group") == {"a": 0, "b": 1}


def test_a_deadline_is_shared_out_along_the_longest_path() -> None:
    due = noted(flow(CHAIN, "deadline = 30"), "due", "propagate-criteria")
    assert due["c"] == 30.0
    assert due["a"] == pytest.approx(10, abs=0.5) and due["b"] == pytest.approx(20, abs=0.5)


def test_pace_is_asked_of_what_the_result_shows() -> None:
    found = noted(flow(CHAIN, "ttft = 0.3, tpot = 0.05"), "ttft", "propagate-criteria")
    assert found == {"a": None, "b": None, "c": 0.3}


def test_adding_a_reader_never_relaxes() -> None:
    """Something else that waits for a value leaves every demand as strict as it was, or more."""
    for seed in range(40):
        rng = Random(seed)
        names = [f"g{n}" for n in range(rng.randint(2, 6))]
        body = ""
        for n, name in enumerate(names):
            reads = rng.sample(names[:n], min(n, rng.randint(0, 2))) or ["q"]
            body += call(name, *reads)
        last = f'%r = apply format[texts = ["", ""]](%{names[-1]}) : str\n return %r'
        extra = call("extra", rng.choice(names), notes=f'asked = "{rng.choice(STRICTNESS)}"')
        both = f'%r = apply format[texts = ["", "", ""]](%{names[-1]}, %extra) : str\n return %r'
        ask = f'criteria = "{rng.choice(STRICTNESS)}"'
        programs = flow(body + last, ask), flow(body + extra + both, ask)
        before, after = (demands(one.flows[0], TARGET) for one in programs)
        for name, demand in before.items():
            assert stricter(demand, after[name]) == after[name], f"seed {seed}: {name}"


@pytest.mark.parametrize(("a", "b", "both"), [
    (None, None, None), (None, THROUGHPUT, THROUGHPUT), (LATENCY, THROUGHPUT, LATENCY),
])  # fmt: skip
def test_the_lattice(a: str | None, b: str | None, both: str | None) -> None:
    """C10: who comes first does not matter."""
    assert stricter(a, b) == stricter(b, a) == both


def test_one_generation_for_two_owes_both_what_they_asked() -> None:
    gen = Generate(results=(Value("c", CONTEXT),), context=Value("o", CONTEXT), site="s")
    a = gen.with_notes(asked=THROUGHPUT, deadline=9.0, cache_ttl=60)
    b = gen.with_notes(asked=LATENCY, ttft=0.2, cache_ttl=30)
    assert dict(merged(a, b).notes) == {
        "asked": LATENCY, "cache_ttl": 30, "deadline": 9.0, "ttft": 0.2,
    }  # fmt: skip
    assert merged(a, gen).note("cache_ttl") is None  # one of them must not be cached


# --- groups ---


def optimised(seed: int) -> tuple[Module, Module, Target]:
    rng = Random(seed)
    module = random_module(rng)
    target = Target({m.name: family(rng.choice(FAMILIES)) for m in module.models})
    return module, run(module, target, PIPELINES["O1"]), target


def test_groups_partition_the_generations_and_orders_are_places() -> None:
    for seed in range(60):
        _, done, _ = optimised(seed)
        for one in done.flows:
            groups: dict[int, list[int]] = defaultdict(list)
            for op in walk(one.body):
                if isinstance(op, Generate):
                    groups[op.note("group")].append(op.note("order"))
            assert list(groups) == sorted(groups) == list(range(len(groups)))
            assert all(sorted(orders) == list(range(len(orders))) for orders in groups.values())


def test_no_member_of_a_group_waits_for_another() -> None:
    for seed in range(60):
        _, done, _ = optimised(seed)
        for one in done.flows:
            before: dict[Value, set[int]] = {}  # the groups a value has to wait for
            for op in one.body.ops:
                reads = set().union(*(before.get(value, ()) for value in _reads(op)))
                if isinstance(op, Generate):
                    assert op.note("group") not in reads, f"seed {seed}: {op.site}"
                    reads.add(op.note("group"))
                before.update(dict.fromkeys(op.results, reads))


def _reads(op: Op) -> Iterator[Value]:
    """What an op and its regions read."""
    yield from operands(op)
    for block in blocks(op):
        yield from block.yields
        for inner in block.ops:
            yield from _reads(inner)


# --- estimates ---


def test_constant_tokens_add_up_to_what_a_run_fills() -> None:
    """In a program of constants without loops, the notes say to the token what will be filled."""
    for seed in range(40):
        rng = Random(seed)
        body, results = "", []
        for n in range(rng.randint(1, 6)):
            start = rng.choice(results) if results and rng.random() < 0.5 else "o"
            text = rng.choice(("You read.", "You read. Yes.", "No."))
            body += f'%c{n} = context.fill %{start}, "{text}{n % 3}", ids[10] "\\n"\n'
            body += f'%d{n}, %a{n} = context.gen %c{n} site "main.{n}" (max_tokens = 2) : str\n'
            results.append(f"c{n}")
        shown = ", ".join(f"%a{n}" for n in range(len(results)))
        module = flow(body + f"%r = apply list({shown}) : list<str>\nreturn %r", result="list<str>")
        done = run(module, TARGET, PIPELINES["O1"])
        outcome = evaluate(done, "main", {"q": "", "xs": []}, target=TARGET, natives={})
        fills = [op for op in walk(done.flows[0].body) if isinstance(op, Fill)]
        kept = sum(len(prefix.ids) for prefix in done.prefixes)
        assert sum(op.note("tokens") for op in fills) + kept == outcome.filled
        assert {op.note("scope") for op in fills} <= {"global"}
        assert dict(done.flows[0].notes)["calls"] == str(len(outcome.sequences))


def test_rank_is_the_longest_way_to_the_end() -> None:
    module = flow(DIAMOND)
    rank = noted(module, "rank", "estimate")
    cost = noted(module, "cost", "estimate")
    assert noted(module, "depth", "estimate") == {"a": 0, "b": 1, "c": 1, "d": 2}
    assert rank["d"] == cost["d"]
    assert rank["a"] > rank["b"] == rank["c"] > rank["d"]  # type: ignore[operator]


def test_what_an_if_holds_starts_after_its_condition() -> None:
    body = (
        call("a", "q")
        + '%empty = const "" : str\n %wanted = apply eq(%a, %empty) : bool\n'
        + f"%r = if %wanted : str {{ {call('b', 'q')} yield %b }} else {{ yield %q }}\n return %r"
    )
    assert noted(flow(body), "depth", "estimate") == {"a": 0, "b": 1}
    gens = places(flow(body).flows[0], TARGET).gens
    assert gens["main.b"].before >= gens["main.a"].before + gens["main.a"].cost > 0


# --- lifetimes ---


def test_each_context_is_freed_once_where_it_is_made_unless_it_is_yielded() -> None:
    for seed in range(60):
        _, done, _ = optimised(seed)
        for one in done.flows:
            _check_frees(one.body)


def _check_frees(block: Block) -> None:
    made = [v for v in block.params if v.type == CONTEXT]
    made += [v for op in block.ops for v in op.results if v.type == CONTEXT]
    freed = Counter(op.context for op in block.ops if isinstance(op, Free))
    assert freed == Counter(value for value in made if value not in block.yields)
    for op in block.ops:
        for inner in blocks(op):
            _check_frees(inner)


def test_a_freed_program_still_runs() -> None:
    """The reference meaning raises for a context that is used after it was freed."""
    for seed in range(30):
        module, done, target = optimised(seed)
        rng = Random(seed)
        args = random_args(rng, module.flows[0])
        evaluate(done, "main", args, target=target, natives=NATIVES)
