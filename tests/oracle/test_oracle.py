"""Every pass keeps what programs mean, on programs nobody wrote.

The next token of the reference model is a hash of the exact tokens before it, so two modules that
agree here give every generation the same prompt, to the id. The default ring runs a sample,
`pytest -m oracle` thousands, `pytest -m night` a million.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest
from programs import NATIVES, random_args, random_module
from templates import FAMILIES, family, tokenizer

from parrotc.ir.evaluate import Evaluation, evaluate
from parrotc.ir.ops import (
    Fill,
    Free,
    Generate,
    Ids,
    Module,
    Op,
    Value,
)
from parrotc.ir.printer import print_module
from parrotc.ir.types import CONTEXT, STR
from parrotc.ir.verify import InvalidIR, verify
from parrotc.passes.table import PASSES, PIPELINES, run, with_pass
from parrotc.passes.target import KEPT, ModelTarget, Target
from parrotc.runtime.template import Template

SAMPLE = range(50)
BASE = PIPELINES["O0"]
OTHERS = [name for name in PASSES if name not in BASE]

# a template that begins with text, where the tokenizer has a BOS: the template says it all
PLAIN = ModelTarget(
    tokenizer("llama3"),
    Template(
        "{% for m in messages %}{{ m['role'] | upper + ': ' + m['content'] | trim + ' ' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
    ),
    100_000,
)


def random_language(rng: Random) -> ModelTarget:
    name = rng.choice((*FAMILIES, "plain"))
    return PLAIN if name == "plain" else family(name)


class Trial:
    """One random program with its inputs and its models, named by a seed."""

    def __init__(self, seed: int) -> None:
        rng = Random(seed)
        self.seed = seed
        self.module = random_module(rng, others=rng.choice((0, 0, 1, 2)))
        self.args = random_args(rng, self.module.flows[0])
        models = {m.name: random_language(rng) for m in self.module.models}
        self.unlucky = rng.randrange(4) == 0  # some generations fail
        room = rng.choice((30, KEPT, KEPT))  # for what is kept between runs
        self.target = Target({name: replace(model, kept=room) for name, model in models.items()})

    def outcome(self, module: Module) -> Evaluation:
        return evaluate(
            module,
            "main",
            self.args,
            target=self.target,
            natives=NATIVES,
            seed=self.seed,
            fail=_fails if self.unlucky else None,
        )

    def passed(self, names: Sequence[str]) -> Module:
        return run(self.module, self.target, names)

    def assert_same(self, names: Sequence[str], base: Sequence[str]) -> None:
        try:
            expected, given = self.outcome(self.passed(base)), self.outcome(self.passed(names))
            difference = differs(expected, given)
        except InvalidIR as broken:
            difference = str(broken)
        assert not difference, (
            f"seed {self.seed}: {', '.join(names)} changed the meaning: {difference}\n"
            f"inputs {self.args}\n{print_module(self.module)}"
        )


def _fails(prompt: Sequence[int]) -> bool:
    return sum(prompt) % 11 == 0


def differs(expected: Evaluation, given: Evaluation) -> str:
    """What a pass changed that it must not; empty if all is well.

    A pass may drop a generation or run one for several, but those that run are what they were.
    """
    if given.failure != expected.failure:
        return f"failure {given.failure} instead of {expected.failure}"
    if given.result != expected.result:
        return f"result {given.result} instead of {expected.result}"
    if Counter(map(repr, given.effects)) != Counter(map(repr, expected.effects)):
        return f"effects {given.effects} instead of {expected.effects}"
    for key, sequence in given.sequences.items():
        if expected.sequences.get(key) != sequence:
            return f"generation {key}: {sequence} instead of {expected.sequences.get(key)}"
    if given.filled > expected.filled:
        return f"{given.filled} tokens are filled instead of {expected.filled}"
    return ""


def assert_step_keeps_the_meaning(trial: Trial, count: int) -> None:
    """A flow of calls, of messages, of text and of ids mean the same; filling may differ."""
    before = trial.outcome(trial.passed(BASE[: count - 1]))
    after = trial.outcome(trial.passed(BASE[:count]))
    difference = differs(replace(before, filled=after.filled), after)
    assert not difference, f"seed {trial.seed}: {BASE[count - 1]}: {difference}"


def test_a_sample_of_programs() -> None:
    for seed in SAMPLE:
        trial = Trial(seed)
        trial.assert_same(PIPELINES["O1"], BASE)
        trial.assert_same(with_pass(OTHERS[seed % len(OTHERS)]), BASE)
        assert_step_keeps_the_meaning(trial, 1 + seed % len(BASE))


@pytest.mark.oracle
def test_levels_agree() -> None:
    for seed in range(2_000):
        Trial(seed).assert_same(PIPELINES["O1"], BASE)


@pytest.mark.oracle
@pytest.mark.parametrize("name", OTHERS)
def test_each_pass_alone_keeps_the_meaning(name: str) -> None:
    for seed in range(300):
        Trial(seed).assert_same(with_pass(name), BASE)


@pytest.mark.oracle
@pytest.mark.parametrize("count", range(1, len(BASE) + 1))
def test_each_step_of_lowering_keeps_the_meaning(count: int) -> None:
    for seed in range(300):
        assert_step_keeps_the_meaning(Trial(seed), count)


@pytest.mark.night
def test_a_million_programs() -> None:
    for seed in range(1_000_000, 2_000_000):
        Trial(seed).assert_same(PIPELINES["O1"], BASE)


# A test of the oracle: it must see passes that are wrong in the ways that passes are.

Damage = Callable[[Random, Op, list[Value]], Op | None]  # None where it has nothing to damage


def _drop_a_fill(rng: Random, op: Op, contexts: list[Value]) -> Op | None:
    return replace(op, parts=()) if isinstance(op, Fill) and op.parts else None


def _swap_parts(rng: Random, op: Op, contexts: list[Value]) -> Op | None:
    many = isinstance(op, Fill) and len(set(op.parts)) > 1
    return replace(op, parts=op.parts[::-1]) if isinstance(op, Fill) and many else None


def _swap_contexts(rng: Random, op: Op, contexts: list[Value]) -> Op | None:
    """The op continues another context, of those made before it."""
    if not isinstance(op, Fill | Generate):
        return None
    others = [value for value in contexts if value != op.context]
    return replace(op, context=rng.choice(others)) if others else None


def _forget_a_draw(rng: Random, op: Op, contexts: list[Value]) -> Op | None:
    """A sampled text is drawn with another key, as if `cse` forgot to ask `is_pure`."""
    if not isinstance(op, Generate) or not op.is_sampled() or op.results[1].type != STR:
        return None
    return replace(op, seed=1)


def _break_a_segment(rng: Random, op: Op, contexts: list[Value]) -> Op | None:
    """A hard boundary where there is none, as if `tokenize` cut anywhere."""
    if not isinstance(op, Fill) or all(isinstance(part, Ids) for part in op.parts):
        return None
    return replace(op, parts=tuple(part for one in op.parts for part in (Ids((), ""), one)))


def _damaged(module: Module, rng: Random, damage: Damage) -> Module | None:
    """The module with one op damaged, of those that run and that a generation reads from."""
    flow = module.flows[0]
    ops = list(flow.body.ops)
    read = {op.context for op in ops if isinstance(op, Generate)}
    for at in rng.sample(range(len(ops)), len(ops)):
        contexts = [v for op in ops[:at] for v in op.results if v.type == CONTEXT]
        bad = damage(rng, ops[at], contexts)
        if bad is not None and (isinstance(bad, Generate) or bad.results[0] in read):
            ops[at] = bad
            body = replace(flow.body, ops=tuple(ops))
            return replace(module, flows=(replace(flow, body=body), *module.flows[1:]))
    return None


@pytest.mark.parametrize(
    ("damage", "share"),
    [
        (_drop_a_fill, 0.7),
        (_swap_parts, 0.7),
        (_swap_contexts, 0.6),
        (_forget_a_draw, 0.5),  # a text of one or two tokens may be drawn again
        (_break_a_segment, 0.1),  # most boundaries are where tokens end anyway
    ],
)
def test_broken_passes_are_caught(damage: Damage, share: float) -> None:
    """A single damaged op in a single program mostly shows; what does not show changes nothing."""
    caught = tried = 0
    for seed in range(400):
        if tried == 20:
            break
        trial = Trial(seed)
        good = trial.passed(BASE)
        bad = _damaged(good, Random(seed), damage)
        if bad is None:
            continue
        tried += 1
        try:
            verify(bad)
            caught += bool(differs(trial.outcome(good), trial.outcome(bad)))
        except (InvalidIR, ValueError):
            caught += 1
    assert tried == 20
    assert caught > share * tried, f"{caught} of {tried}"


def test_freeing_early_is_caught_twice() -> None:
    """By the verifier and, should that be fooled, when the program runs."""
    tried = 0
    for seed in range(60):
        trial = Trial(seed)
        good = trial.passed(BASE)
        flow = good.flows[0]
        ops = list(flow.body.ops)
        at = next(
            (n for n, op in enumerate(ops) if _reads_a_context_made_before(ops[:n], op)), None
        )
        if at is None:
            continue
        tried += 1
        context = next(v for v in _contexts(ops[at]) if any(v in op.results for op in ops[:at]))
        ops.insert(at, Free(results=(), context=context))
        body = replace(flow.body, ops=tuple(ops))
        bad = replace(good, flows=(replace(flow, body=body), *good.flows[1:]))
        with pytest.raises(InvalidIR, match="after it was freed"):
            verify(bad)
        with pytest.raises(InvalidIR, match="after it was freed"):
            trial.outcome(bad)
    assert tried > 20


def _contexts(op: Op) -> list[Value]:
    return [op.context] if isinstance(op, Fill | Generate) else []


def _reads_a_context_made_before(before: Sequence[Op], op: Op) -> bool:
    return any(value in one.results for value in _contexts(op) for one in before)


def test_programs_are_worth_running() -> None:
    """Enough of them generate, share, fail, and end well for the tests above to mean something."""
    outcomes = [(t, t.outcome(t.passed(BASE))) for t in map(Trial, range(120))]
    assert sum(len(o.sequences) for _, o in outcomes) > 250
    assert sum(o.failure is None for _, o in outcomes) > 60
    assert sum(o.failure is not None for _, o in outcomes) > 6
    optimised = [t.passed(PIPELINES["O1"]) for t, _ in outcomes]
    shared = [t.outcome(m).filled < o.filled for m, (t, o) in zip(optimised, outcomes, strict=True)]
    assert sum(shared) > 30
    assert sum(bool(module.prefixes) for module in optimised) > 6
