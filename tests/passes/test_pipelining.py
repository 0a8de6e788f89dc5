"""`prefill-split` and `stream-through`: programs mean the same, and nothing is filled in vain.

What a run sees is compared with the meaning of the program, on random programs with random waits
and faults; then what is filled when, with the growing text told piece by piece.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from fakes import Shaken, StrictEngine
from plans import executor_of, module_plan
from programs import NATIVES, random_args, random_module
from spoken import handing_over, random_chain
from templates import FAMILIES, family, tokenizer

from parrotc.ir.evaluate import evaluate
from parrotc.ir.ops import Fill, Fold, Module, is_handed, walk
from parrotc.ir.parser import parse_module
from parrotc.ir.source import Source
from parrotc.passes.table import ORDER, PIPELINES, run, with_pass
from parrotc.passes.target import ModelTarget, Target
from parrotc.runtime.chat import renderer
from parrotc.runtime.engines.protocol import (
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.errors import RunError
from parrotc.runtime.executor import Executor
from parrotc.runtime.natives import Natives

WAYS = (
    with_pass("prefill-split"),
    with_pass("stream-through"),
    with_pass("prefill-split", "O1"),
    with_pass("stream-through", "O1"),
    ORDER,
)
SEED = 3


class Trial:
    """A random program with inputs; with `hands`, some calls hand tokens over."""

    def __init__(self, seed: int, hands: bool = False) -> None:
        self.rng = Random(seed)
        make = random_module if seed % 3 == 0 else random_chain
        self.module = make(self.rng)
        names = [self.rng.choice(FAMILIES) for _ in self.module.models]
        if hands:
            names = names[:1] * len(names)  # of one tokenizer
        models = [model.name for model in self.module.models]
        self.target = Target(dict(zip(models, map(family, names), strict=True)))
        if hands:
            self.module = handing_over(self.module, self.rng)
        self.args = random_args(self.rng, self.module.flows[0])

    def expected(self) -> Any:
        return evaluate(
            self.module, "main", self.args, target=self.target, natives=NATIVES, seed=SEED
        )

    def passed(self, names: Sequence[str]) -> Module:
        return run(self.module, self.target, names)

    async def assert_run_agrees(self, names: Sequence[str], faults: int = 0) -> None:
        """The plan gives what the program means, and leaves nothing behind.

        After a fault, attempts go on with other draws: then only the latter counts.
        """
        models = self.target.models
        engines = {name: Telling(StrictEngine(m.tokenizer)) for name, m in models.items()}
        plan = module_plan(self.passed(names), level=self.module, target=self.target)
        executor = Executor(
            plan,
            {name: Shaken(engine, self.rng, faults) for name, engine in engines.items()},
            Natives([], lambda target: NATIVES[target.partition(":")[2]]),
            renders={n: renderer(m.render, m.tokenizer.specials) for n, m in models.items()},
            width=self.rng.randint(1, 4),
        )
        expected = self.expected()
        meant = {(seen.prompt, seen.ids) for seen in expected.sequences.values()}
        failed = False
        try:
            result = await executor.run("main", self.args, seed=SEED)
        except RunError:
            failed = True
        await executor.close()
        assert all(engine.engine.live == {} for engine in engines.values())
        if not faults:
            assert failed == (expected.failure is not None)
            assert failed or result == expected.result
            for engine in engines.values():
                assert {(s.prompt, s.ids) for s in engine.engine.seen} <= meant


class Telling(Shaken):
    """Another engine, whose pieces also tell their ids; `fills` are those asked for, in order."""

    def __init__(self, engine: StrictEngine) -> None:
        super().__init__(engine, Random(0))
        self.engine: StrictEngine = engine
        self.fills: list[FillRequest] = []
        self.log: list[str] = []
        self.fails = False  # in the middle of every text
        self.pause = 0.0  # seconds after each piece

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        self.fills += requests
        self.log += ["early" if request.early else "fill" for request in requests]
        await self.engine.fill(requests)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        finished: Finished | None = None
        texts: list[str] = []
        async for item in self.engine.generate(request):
            if isinstance(item, Piece):
                texts.append(item.text)
            else:
                finished = item
        assert finished is not None
        self.log.append("begin")
        try:
            for piece in _with_ids(finished, texts, self.tokenizer.decode):
                yield piece
                await asyncio.sleep(self.pause)
                for _ in range(20):
                    await asyncio.sleep(0)
                if self.fails:
                    raise EngineError("internal", "as it happens")
        except BaseException:
            await self.engine.free([request.context])
            raise
        self.log.append("end")
        yield finished


def _with_ids(
    finished: Finished, texts: Sequence[str], decode: Callable[[Sequence[int]], str]
) -> list[Piece]:
    """The pieces with the ids whose text is in them and those before."""
    pieces: list[Piece] = []
    told, shown = 0, ""
    for text in texts:
        shown += text
        count = told
        while count < finished.kept and shown.startswith(decode(finished.ids[: count + 1])):
            count += 1
        pieces.append(Piece(text, finished.ids[told:count]))
        told = count
    return pieces


def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short texts are worth all the trouble."""
    monkeypatch.setattr("parrotc.passes.prefill_split.WORTH", 0)
    monkeypatch.setattr("parrotc.runtime.prompts.EARLY", 1)
    monkeypatch.setattr("parrotc.runtime.pipes.EARLY", 1)
    monkeypatch.setattr("parrotc.runtime.pipes.STEP", 1)
    monkeypatch.setattr("parrotc.runtime.contexts.PATIENCE", 0.0)


# --- random programs ---


@pytest.mark.parametrize("hands", [False, True])
@pytest.mark.parametrize("way", range(len(WAYS)))
async def test_runs_agree_with_the_meaning(
    way: int, hands: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _eager(monkeypatch)
    for seed in range(way * 1000, way * 1000 + 12):
        trial = Trial(seed, hands)
        await trial.assert_run_agrees(WAYS[way], faults=0 if seed % 5 else 9)


@pytest.mark.oracle
@pytest.mark.parametrize("hands", [False, True])
async def test_many_runs_agree(hands: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    _eager(monkeypatch)
    for seed in range(10_000, 11_000):
        await Trial(seed, hands).assert_run_agrees(WAYS[seed % len(WAYS)])


def test_handed_tokens_mean_the_same_at_every_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """C6: tokens go on as they are only where the program says so."""
    _eager(monkeypatch)
    for seed in range(30):
        trial = Trial(seed, hands=True)
        before = trial.expected()
        names = [PIPELINES["O0"][: 1 + seed % 5], WAYS[seed % len(WAYS)], PIPELINES["O1"]]
        for passed in map(trial.passed, names):
            after = evaluate(
                passed, "main", trial.args, target=trial.target, natives=NATIVES, seed=SEED
            )
            assert (after.result, after.failure) == (before.result, before.failure), seed
            assert all(before.sequences[key] == seen for key, seen in after.sequences.items()), seed


def test_programs_have_something_to_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    _eager(monkeypatch)
    early = streams = ahead = handed = 0
    for seed in range(150):
        trial = Trial(seed, hands=seed % 2 == 0)
        ops = [op for flow in trial.passed(ORDER).flows for op in walk(flow.body)]
        fills = [op for op in ops if isinstance(op, Fill)]
        early += sum(bool(op.note("early")) for op in ops)
        streams += sum(bool(op.note("stream")) for op in fills)
        handed += sum(bool(op.note("stream")) and is_handed(op.parts[0]) for op in fills)
        ahead += sum(bool(op.note("ahead")) for op in ops if isinstance(op, Fold))
    assert early > 100 and streams > handed > 10 and ahead > 5, (early, streams, handed, ahead)


# --- what is filled, and when ---

CHAIN = """module @m {
  model @local = reference "chatml"
  native @look(%q: str) -> str = "app:look" pure timeout 60.0
  flow @main(%q: str) -> str {
    %c = context.open @local
    %c1 = context.fill %c, ids[300] "<s>", %q
    %c2, %a = context.gen %c1 site "main.0/0" (max_tokens = 60) : str
    %d1 = context.fill %c, ids[301] "<t>", "Improve this text: ", PART, "!"
    %d2, %b = context.gen %d1 site "main.1/0" (max_tokens = 5) : str
    return %b
  }
}
"""
TEXT = CHAIN.replace("PART", "%a")
TOKENS = CHAIN.replace("PART", "%t").replace(
    "    %d1", '    %t = apply ids[model = "local"](%a) : list<int>\n    %d1'
)


class Merging:
    """Ids of byte-level BPE: unlike single bytes, they may change when a text goes on."""

    def __init__(self) -> None:
        self.real = tokenizer("chatml")
        self.fingerprint = self.real.fingerprint
        self.bos, self.specials = None, {}

    def encode(self, text: str) -> list[int]:
        return self.real.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(f"<{i}>" if i in (300, 301) else self.real.decode([i]) for i in ids)

    def stable_prefix(self, text: str) -> list[int]:
        return self.real.stable_prefix(text)


async def piped(text: str, names: Sequence[str], *, fail: bool = False) -> Telling:
    """Run `main` of `text` after these passes, and see that the engine is left empty."""
    module = plan_module(text)
    tokens = Merging()
    target = Target({"local": ModelTarget(tokens, None)})
    engine = Telling(StrictEngine(tokens))
    engine.fails = fail
    plan = module_plan(run(module, target, (*names, "lifetimes")), target=target)
    executor = executor_of(plan, engine)
    try:
        await executor.run("main", {"q": "the cat"})
    finally:
        await executor.close()
        assert engine.engine.live == {}
    return engine


def plan_module(text: str) -> Module:
    return parse_module(Source("test.pir", text))


@pytest.mark.parametrize("text", [TEXT, TOKENS])
async def test_a_value_flows_while_it_is_generated(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _eager(monkeypatch)
    plain, streamed = await piped(text, ()), await piped(text, ("stream-through",))
    assert [s.prompt for s in streamed.engine.seen] == [s.prompt for s in plain.engine.seen]
    first_end = streamed.log.index("end")
    assert "early" in streamed.log[:first_end] and "early" not in plain.log
    # nothing is filled in vain: what was filled early is what the prompt begins with
    assert streamed.engine.filled == plain.engine.filled
    last = streamed.engine.seen[-1].prompt
    early = sum(len(fill.ids) for fill in streamed.fills if fill.early)
    assert 5 < early < len(last)


async def test_what_flowed_from_a_producer_that_fails_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`piped` sees that nothing is left; and no generation reads half a value."""
    _eager(monkeypatch)
    for text in (TEXT, TOKENS):
        with pytest.raises(RunError):
            await piped(text, ("prefill-split", "stream-through"), fail=True)


WAITS = """module @m {
  model @local = reference "chatml"
  native @look(%q: str) -> str = "app:look" pure timeout 60.0
  flow @main(%q: str) -> str {
    %facts = native @look(%q) pure : str
    %c = context.open @local
    %c1 = context.fill %c, ids[300] "<s>", "The question, in full: ", %q, " Facts: ", %facts
    %c2, %a = context.gen %c1 site "main.0/0" (max_tokens = 5) : str
    return %a
  }
}
"""


async def test_a_prompt_is_filled_while_a_native_runs() -> None:
    looked: list[list[str]] = []

    for names in ((), ("prefill-split",)):
        engine = Telling(StrictEngine(Merging()))

        def look(text: str, engine: Telling = engine) -> str:
            time.sleep(0.1)  # in a thread of its own
            looked.append(list(engine.log))
            return "none"

        target = Target({"local": ModelTarget(Merging(), None)})
        plan = module_plan(run(plan_module(WAITS), target, (*names, "lifetimes")), target=target)
        executor = executor_of(plan, engine, functions={"app:look": look})
        await executor.run("main", {"q": "which?"})
        await executor.close()
    assert [set(log) for log in looked] == [set(), {"early"}]


async def test_what_is_needed_at_once_is_not_early() -> None:
    engine = await piped(TEXT, ("prefill-split",))
    assert engine.log[0] == "fill"


async def test_an_early_fill_that_fails_is_filled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _eager(monkeypatch)

    class Refusing(Telling):
        async def fill(self, requests: Sequence[FillRequest]) -> None:
            if any(request.early for request in requests):
                self.log.append("refused")
                raise EngineError("capacity", "no room")
            await super().fill(requests)

    engine = Refusing(StrictEngine(Merging()))
    target = Target({"local": ModelTarget(Merging(), None)})
    plan = module_plan(
        run(plan_module(TEXT), target, ("prefill-split", "lifetimes")), target=target
    )
    executor = executor_of(plan, engine)
    await executor.run("main", {"q": "the cat " * 5})
    await executor.close()
    assert "refused" in engine.log and len(engine.engine.seen) == 2


class Lazy(Telling):
    """Gives early fills no room until they are hurried, or for a long time."""

    def __init__(self, engine: StrictEngine) -> None:
        super().__init__(engine)
        self.hurried: asyncio.Event = asyncio.Event()

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        if any(request.early for request in requests):
            with suppress(TimeoutError):
                await asyncio.wait_for(self.hurried.wait(), 2)
        await super().fill(requests)

    async def hurry(self, contexts: Sequence[int]) -> None:
        self.log.append("hurry")
        self.hurried.set()


async def test_who_waits_for_an_early_fill_that_is_refused_fills_it_again() -> None:
    class Refusing(Lazy):
        async def fill(self, requests: Sequence[FillRequest]) -> None:
            if any(request.early for request in requests):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.hurried.wait(), 2)
                raise EngineError("capacity", "no room")
            await super().fill(requests)

    engine = Refusing(StrictEngine(Merging()))
    await waiting(engine)
    assert engine.log[0] == "hurry" and len(engine.engine.seen) == 1


FOLD = """module @m {
  model @local = reference "chatml"
  flow @main(%xs: list<str>) -> str {
    %none = const "nothing" : str
    %r = fold (%x: str, %i: int, %so: str) in %xs from %none : str {
      %c = context.open @local
      %c1 = context.fill %c, ids[300] "<s>", "The next part of the text: ", %x, " Before: ", %so
      %c2, %a = context.gen %c1 site "main.0/0" (max_tokens = 30) : str
      yield %a
    }
    return %r
  }
}
"""


@pytest.mark.parametrize(
    "names", [("prefill-split",), ("stream-through",), ("prefill-split", "stream-through")]
)
async def test_a_round_begins_while_the_one_before_runs(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    _eager(monkeypatch)
    seen = []
    for passes in ((), names):
        engine = Telling(StrictEngine(Merging()))
        target = Target({"local": ModelTarget(Merging(), None)})
        plan = module_plan(run(plan_module(FOLD), target, (*passes, "lifetimes")), target=target)
        executor = executor_of(plan, engine)
        await executor.run("main", {"xs": ["one", "two", "three"]})
        await executor.close()
        assert engine.engine.live == {}
        seen.append([s.prompt for s in engine.engine.seen])
    assert seen[0] == seen[1]
    begins = [n for n, what in enumerate(engine.log) if what == "begin"]
    assert "early" in engine.log[: engine.log.index("end")]
    assert "early" not in engine.log[begins[-1] :]  # there is no round after the last


async def waiting(engine: Telling) -> None:
    """Run `WAITS`: its prompt is needed while its beginning is still being filled early."""
    target = Target({"local": ModelTarget(Merging(), None)})
    plan = module_plan(
        run(plan_module(WAITS), target, ("prefill-split", "lifetimes")), target=target
    )
    executor = executor_of(plan, engine, functions={"app:look": lambda q: time.sleep(0.05) or "x"})
    await executor.run("main", {"q": "which?"})
    await executor.close()
    assert engine.engine.live == {}


async def test_somebody_who_waits_for_an_early_fill_hurries_it() -> None:
    engine = Lazy(StrictEngine(Merging()))
    await waiting(engine)
    assert "hurry" in engine.log


async def test_slow_steps_of_a_round_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Natives may have effects, in the order in which the rounds come."""
    _eager(monkeypatch)
    text = FOLD.replace("  flow", NATIVE + "  flow", 1).replace(
        "%c = context.open @local\n", "%c = context.open @local\n      " + LOG, 1
    )
    engine = Telling(StrictEngine(Merging()))
    engine.pause = 0.05

    def log(text: str) -> str:
        engine.log.append(text)
        return "logged"

    target = Target({"local": ModelTarget(Merging(), None)})
    plan = module_plan(
        run(plan_module(text), target, ("prefill-split", "lifetimes")), target=target
    )
    executor = executor_of(plan, engine, functions={"app:log": log})
    await executor.run("main", {"xs": ["one", "two", "three"]})
    await executor.close()
    order = [what for what in engine.log if what in ("one", "two", "three", "end")]
    assert [what for what in order if what != "end"] == ["one", "two", "three"]
    assert order.index("two") > order.index("end")


NATIVE = '  native @log(%q: str) -> str = "app:log" effectful timeout 60.0\n'
LOG = "%told = native @log(%x) effectful : str\n"
