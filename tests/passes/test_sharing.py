"""How much is shared: as many tokens are filled as the tree of all prompts has, and no more."""

from collections.abc import Iterable
from random import Random

from parrotc.ir.evaluate import evaluate
from parrotc.ir.ops import Flow, Module, Open, walk
from parrotc.ir.parser import parse_module
from parrotc.ir.source import Source
from parrotc.ir.types import quote
from parrotc.passes.forest import WORTH_KEEPING
from parrotc.passes.remark import Remarks
from parrotc.passes.table import PIPELINES, run
from parrotc.passes.target import ModelTarget, Target
from parrotc.runtime.tokenizer import ByteTokenizer

TARGET = Target({"m": ModelTarget(ByteTokenizer(), None, 100_000)})
STARTS = ("You read with care. ", "You read ", "You write. ", "")
ENDS = ("Answer.", "Answer: yes", "No.", "Sum up:", "Sum it up")


def prompts(rng: Random, count: int) -> list[str]:
    return [rng.choice(STARTS) + rng.choice(STARTS) + rng.choice(ENDS) for _ in range(count)]


def flow_of(name: str, texts: Iterable[str], value: str = "") -> str:
    """A flow with one generation for each text, followed by a value if one is named."""
    lines, results = [], []
    tail = f', %{value}, ids[10] "\\n"' if value else ""
    for n, text in enumerate(texts):
        lines += [
            f"%o{n} = context.open @m",
            f"%c{n} = context.fill %o{n}, {quote(text)}{tail}",
            f'%d{n}, %a{n} = context.gen %c{n} site "{name}.{n}/0" (max_tokens = 1) : str',
        ]
        results.append(f"%a{n}")
    body = "\n".join(lines)
    return f"""flow @{name}(%q: str) -> list<str> {{
        {body}
        %r = apply list({", ".join(results)}) : list<str>
        return %r
    }}"""


def module_of(*flows: str) -> Module:
    text = 'module @m { model @m = reference "" ' + "\n".join(flows) + " }"
    return parse_module(Source("case", text))


def size_of_tree(sequences: Iterable[tuple[int, ...]]) -> int:
    return len({ids[: n + 1] for ids in sequences for n in range(len(ids))})


def test_tokens_filled_are_the_size_of_the_prefix_tree() -> None:
    for seed in range(40):
        rng = Random(seed)
        texts = prompts(rng, rng.randint(1, 8))
        done = run(module_of(flow_of("main", texts)), TARGET, PIPELINES["O1"])
        outcome = evaluate(done, "main", {"q": ""}, target=TARGET, natives={})
        seen = [one.prompt for one in outcome.sequences.values()]
        assert {bytes(ids).decode() for ids in seen} == set(texts)
        assert outcome.filled == size_of_tree(seen), f"seed {seed}: {texts}"


def test_the_same_unknown_value_is_part_of_the_tree() -> None:
    texts = [*prompts(Random(1), 6), *prompts(Random(1), 3)]
    main = flow_of("main", texts, value="q")
    done = run(module_of(main), TARGET, PIPELINES["O1"])
    outcome = evaluate(done, "main", {"q": "x" * 100}, target=TARGET, natives={})
    assert outcome.filled == size_of_tree(one.prompt for one in outcome.sequences.values())


def test_flows_share_prefixes_of_the_module() -> None:
    """The prefixes of the module and what each flow fills after them are the tree of all flows."""
    for seed in range(30):
        rng = Random(seed)
        texts = [prompts(rng, rng.randint(1, 5)) for _ in range(3)]
        names = ("one", "two", "three")
        flows = [flow_of(name, own) for name, own in zip(names, texts, strict=True)]
        done = run(module_of(*flows), TARGET, PIPELINES["O1"])
        by_flow = [{tuple(text.encode()) for text in own} for own in texts]
        known = {
            prefix
            for own in by_flow
            for prefix in _prefixes(own)
            if sum(prefix in _prefixes(other) for other in by_flow) > 1
            or any(ids[: len(prefix)] == prefix and len(ids) >= WORTH_KEEPING for ids in own)
        }
        assert sum(len(prefix.ids) for prefix in done.prefixes) <= len(known)
        for flow, own in zip(done.flows, by_flow, strict=True):
            outcome = evaluate(done, flow.name, {"q": ""}, target=TARGET, natives={})
            assert {one.prompt for one in outcome.sequences.values()} == own
            assert outcome.filled == size_of_tree(own)
            assert _opened(flow) <= {None, *(prefix.name for prefix in done.prefixes)}


def _prefixes(sequences: Iterable[tuple[int, ...]]) -> set[tuple[int, ...]]:
    return {ids[: n + 1] for ids in sequences for n in range(len(ids))}


def _opened(flow: Flow) -> set[str | None]:
    return {op.prefix for op in walk(flow.body) if isinstance(op, Open)}


def test_a_common_start_is_a_prefix_of_the_module() -> None:
    flows = [flow_of(name, [f"You read with care. {name}"]) for name in ("one", "two")]
    done = run(module_of(*flows), TARGET, PIPELINES["O1"])
    texts = {prefix.name: (prefix.parent, prefix.text) for prefix in done.prefixes}
    assert texts == {
        "p0": (None, "You read with care. "),
        "p1": ("p0", "one"),
        "p2": ("p0", "two"),
    }
    assert [_opened(flow) for flow in done.flows] == [{"p1"}, {"p2"}]


def test_what_every_run_begins_with_is_filled_once() -> None:
    """A long constant start is a prefix of the module even for one flow; a short one is not."""
    text = "x" * WORTH_KEEPING
    for start, kept in ((text, ["p0"]), (text[1:], [])):
        done = run(module_of(flow_of("main", [start])), TARGET, PIPELINES["O1"])
        assert [prefix.name for prefix in done.prefixes] == kept


def test_a_constant_start_is_kept_though_no_boundary_ends_it() -> None:
    """As in a chat: a system prompt, a question, and then the end of the question's message."""
    for length, kept in ((WORTH_KEEPING, ["p0"]), (WORTH_KEEPING - 1, [])):
        start = "x" * length
        ids = ", ".join(map(str, start.encode()))
        flow = f"""flow @main(%q: str) -> str {{
            %o = context.open @m
            %c = context.fill %o, ids[{ids}] "{start}", %q, ids[10] "\\n"
            %d, %a = context.gen %c site "main.0/0" (max_tokens = 1) : str
            return %a
        }}"""
        done = run(module_of(flow), TARGET, PIPELINES["O1"])
        assert [prefix.name for prefix in done.prefixes] == kept
        assert run(done, TARGET, ("split-prefixes",)) == done
        outcome = evaluate(done, "main", {"q": "why"}, target=TARGET, natives={})
        (sequence,) = outcome.sequences.values()
        assert bytes(sequence.prompt).decode() == f"{start}why\n"


def test_a_long_start_is_kept_after_a_short_one_that_two_prompts_share() -> None:
    one, two = "x" * WORTH_KEEPING, "y" * WORTH_KEEPING
    done = run(module_of(flow_of("main", [f"- {one}", f"- {two}"])), TARGET, PIPELINES["O1"])
    assert sorted(prefix.text for prefix in done.prefixes) == ["- ", one, two]


def test_a_prompt_is_cut_where_those_of_other_programs_leave_it() -> None:
    """Then what a program fills is there, as a context, for whichever of the others comes next."""
    for seed in range(40):
        rng = Random(seed)
        own, others = prompts(rng, rng.randint(1, 3)), prompts(rng, 4)
        starts = {"m": [tuple(text.encode()) for text in others]}
        target = TARGET.with_starts(starts)
        split = run(module_of(flow_of("main", own)), target, ("tokenize", "split-prefixes"))
        assert run(split, target, ("split-prefixes",)) == split
        done = run(module_of(flow_of("main", own)), target, PIPELINES["O1"])
        outcome = evaluate(done, "main", {"q": ""}, target=target, natives={})
        wanted = {tuple(text.encode()) for text in own}
        assert {one.prompt for one in outcome.sequences.values()} == wanted
        assert outcome.filled == size_of_tree(wanted)
        for text in wanted:
            shared = {_common(text, other) for other in starts["m"]} - {(), text}
            assert shared <= _contexts(done)


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return max(_prefixes([one]) & _prefixes([other]), key=len, default=())


def _contexts(module: Module) -> set[tuple[int, ...]]:
    """What the prefixes of a module have read."""
    whole: dict[str | None, tuple[int, ...]] = {None: ()}
    for prefix in module.prefixes:
        whole[prefix.name] = whole[prefix.parent] + prefix.ids
    return set(whole.values())


def with_room(kept: int) -> Target:
    return Target({"m": ModelTarget(ByteTokenizer(), None, 100_000, kept=kept)})


def test_what_is_kept_between_runs_has_a_budget() -> None:
    """Kept are the starts of most flows × tokens; the others are filled in each run, once."""
    shared, long, short = "s" * 20, "l" * 30, "a" * 25
    flows = [flow_of(name, [shared, own]) for name, own in (("one", long), ("two", short))]
    for room, kept in ((20, {shared}), (49, {shared, short}), (50, {shared, long})):
        remarks: Remarks = []
        done = run(module_of(*flows), with_room(room), PIPELINES["O1"], remarks=remarks)
        assert {prefix.text for prefix in done.prefixes} == kept
        (said,) = [remark.message for remark in remarks if "filled in each run" in remark.message]
        assert said.startswith(f"{3 - len(kept)} constant starts of `m`")
        for flow in done.flows:
            outcome = evaluate(done, flow.name, {"q": ""}, target=with_room(room), natives={})
            seen = [one.prompt for one in outcome.sequences.values()]
            assert outcome.filled == size_of_tree(seen)


def test_thousands_of_constants_stay_within_the_budget() -> None:
    start = "x" * WORTH_KEEPING
    texts = [f"{start}{n:04} is how one prompt of many begins" for n in range(1_000)]
    for room in (0, 500, 4_000):
        made = module_of(flow_of("main", texts))
        done = run(made, with_room(room), ("tokenize", "split-prefixes"))
        assert run(done, with_room(room), ("split-prefixes",)) == done
        kept = sum(len(prefix.ids) for prefix in done.prefixes)
        assert max(room - len(texts[0]), 0) <= kept <= room


def test_within_the_budget_nothing_is_said() -> None:
    remarks: Remarks = []
    run(module_of(flow_of("main", ["x" * 50])), with_room(50), PIPELINES["O1"], remarks=remarks)
    assert not any("filled in each run" in remark.message for remark in remarks)
