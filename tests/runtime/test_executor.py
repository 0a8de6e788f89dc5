"""The executor: what runs when, how failures travel, and that nothing is left behind."""

import asyncio
import re
import time
from typing import Any

import pytest
from fakes import ByteTokens, StrictEngine
from plans import executor_of, plan_of

from parrotc.runtime.engines.protocol import Piece
from parrotc.runtime.errors import RunError
from parrotc.runtime.plan import Plan
from parrotc.runtime.trace import Event, Trace

MODEL = 'model @local = reference "chatml"'


def program(flow: str, declarations: str = "") -> Plan:
    return plan_of(f"module @m {{\n{MODEL}\n{declarations}\n{flow}\n}}\n")


async def run(plan: Plan, engine: Any = None, /, **args: Any) -> Any:
    """Run `main`, and see that the engine is left empty."""
    engine = engine or StrictEngine()
    executor = executor_of(plan, engine)
    try:
        return await executor.run("main", args)
    finally:
        assert engine.live == {}
        await executor.close()


CALL = """
  flow @main(%text: str) -> str {
    %c0 = context.open @local
    %c1 = context.fill %c0, ids[300, 301] "<s>", "Say: ", %text, ids[302] "</s>", "\\n"
    context.free %c0
    %c2, %out = context.gen %c1 site "main.0/0" name "" (max_tokens = 12) : str
    context.free %c1
    context.free %c2
    return %out
  }
"""


async def test_a_call_sees_exactly_its_prompt() -> None:
    engine = StrictEngine()
    await run(program(CALL), engine, text="é<s>")
    (seen,) = engine.seen
    assert seen.prompt == (300, 301, *"Say: é<s>".encode(), 302, *b"\n")


async def test_text_between_hard_boundaries_is_one_string() -> None:
    """Across fills too: a tokenizer that joins letters must see them side by side."""

    class Pairs:
        fingerprint, bos, specials = "pairs", None, {}

        def encode(self, text: str) -> list[int]:
            return [ord(a) * 1000 + (ord(b[0]) if b else 0) for a, b in _pairs(text)]

        def decode(self, ids: list[int]) -> str:
            return "".join(chr(i // 1000) + (chr(i % 1000) if i % 1000 else "") for i in ids)

        def stable_prefix(self, text: str) -> list[int]:
            return self.encode(text)[:-1]

    def _pairs(text: str) -> list[tuple[str, str]]:
        return [(text[n], text[n + 1 : n + 2]) for n in range(0, len(text), 2)]

    flow = """
      flow @main(%a: str) -> str {
        %c0 = context.open @local
        %c1 = context.fill %c0, "x", %a
        %c2 = context.fill %c1, "yz"
        %c3, %out = context.gen %c2 site "main.0/0" name "" (max_tokens = 1) : str
        return %out
      }
    """
    engine = StrictEngine(Pairs())
    await run(program(flow), engine, a="b")
    assert engine.seen[0].prompt == tuple(Pairs().encode("xbyz"))


async def test_an_empty_mark_is_a_boundary_and_no_token() -> None:
    """It says that no BOS belongs in front: the template begins with a content."""
    flow = """
      flow @main(%a: str) -> str {
        %c0 = context.open @local
        %c1 = context.fill %c0, ids[] "", %a, ids[301] "</s>"
        %c2, %out = context.gen %c1 site "main.0/0" name "" (max_tokens = 1) : str
        return %out
      }
    """
    engine = StrictEngine()
    await run(program(flow), engine, a="bc")
    assert engine.seen[0].prompt == (*b"bc", 301)


async def test_ids_that_were_certain_and_changed_are_not_used() -> None:
    """A tokenizer may be wrong about what is stable; the whole decides."""

    class Liar(ByteTokens):
        def encode(self, text: str) -> list[int]:
            return [len(text), *super().encode(text)]

        def stable_prefix(self, text: str) -> list[int]:
            return self.encode(text)

    engine = StrictEngine(Liar())
    await run(program(SHARED), engine, doc="long " * 10, n=2)
    text = f"The document:\n{'long ' * 10}\nQuestion "
    assert {seen.prompt for seen in engine.seen} == {
        (300, *Liar().encode(f"{text}{n}")) for n in range(2)
    }


SHARED = """
  flow @main(%doc: str, %n: int) -> list<str> {
    %c0 = context.open @local
    %c1 = context.fill %c0, ids[300] "<s>", "The document:\\n", %doc
    %items = apply range(%n) : list<int>
    %outs = map (%item: int, %at: int) in %items : list<str> {
      %shown = apply show(%item) : str
      %c2 = context.fill %c1, "\\nQuestion ", %shown
      %c3, %out = context.gen %c2 site "main.0/0" name "" (max_tokens = 5) : str
      yield %out
    }
    return %outs
  }
"""


async def test_a_shared_value_is_filled_once() -> None:
    engine, doc = StrictEngine(), "long " * 200
    outs = await run(program(SHARED), engine, doc=doc, n=10)
    assert len(outs) == 10
    assert engine.filled < 1.3 * len(doc)
    assert {bytes(seen.prompt[1:]).decode() for seen in engine.seen} == {
        f"The document:\n{doc}\nQuestion {n}" for n in range(10)
    }


async def test_nothing_is_filled_for_a_branch_not_taken() -> None:
    flow = """
      flow @main(%go: bool) -> str {
        %c0 = context.open @local
        %c1 = context.fill %c0, ids[1, 2, 3] "abc"
        %no = const "no" : str
        %r = if %go : str {
          %c2, %out = context.gen %c1 site "main.0/0" name "" (max_tokens = 3) : str
          yield %out
        } else {
          yield %no
        }
        return %r
      }
    """
    engine = StrictEngine()
    assert await run(program(flow), engine, go=False) == "no"
    assert engine.filled == 0
    await run(program(flow), engine, go=True)
    assert engine.filled == 3


async def test_a_prefix_of_the_plan_stays_between_runs_and_goes_with_the_executor() -> None:
    flow = """
      prefix @p on @local = ids[1, 2, 3] "abc"
      prefix @q on @local after @p = ids[4] "d"
      flow @main(%t: str) -> str {
        %c0 = context.open @local prefix @q
        %c1 = context.fill %c0, %t
        %c2, %out = context.gen %c1 site "main.0/0" name "" (max_tokens = 3) : str
        return %out
      }
    """
    engine = StrictEngine()
    executor = executor_of(program(flow), engine)
    for text in ("x", "y"):
        await executor.run("main", {"t": text})
        assert sorted(engine.live.values()) == [(1, 2, 3), (1, 2, 3, 4)]
    assert engine.filled == 4 + 2
    assert [seen.prompt for seen in engine.seen] == [(1, 2, 3, 4, ord(t)) for t in "xy"]
    await executor.close()
    assert engine.live == {}


# --- data flow ---

NATIVE = 'native @{0}(%n: int) -> int = "externs:{0}" effectful timeout 20.0'
FOUR = """
  flow @main(%n: int) -> list<int> {
    %a = native @nap(%n) effectful : int
    %b = native @nap(%n) effectful : int
    %items = apply list(%a, %b) : list<int>
    %outs = map (%item: int, %at: int) in %items : list<int> {
      %o = native @nap(%item) effectful : int
      yield %o
    }
    return %outs
  }
"""


async def test_what_does_not_depend_runs_at_the_same_time() -> None:
    def nap(n: int) -> int:
        time.sleep(0.2)
        return n

    executor = executor_of(program(FOUR, NATIVE.format("nap")), functions={"externs:nap": nap})
    began = time.monotonic()
    assert await executor.run("main", {"n": 3}) == [3, 3]
    assert time.monotonic() - began < 0.7  # two steps of 0.2 s, not four


async def test_the_width_of_a_map_is_bounded_and_nested_maps_do_not_wait_for_each_other() -> None:
    flow = """
      flow @main(%n: int) -> list<list<int>> {
        %items = apply range(%n) : list<int>
        %outs = map (%i: int, %a: int) in %items : list<list<int>> {
          %row = map (%j: int, %b: int) in %items : list<int> {
            %o = native @count(%j) effectful : int
            yield %o
          }
          yield %row
        }
        return %outs
      }
    """
    running, most = 0, 0

    def count(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.005)
        running -= 1
        return n

    plan = program(flow, NATIVE.format("count"))
    executor = executor_of(plan, functions={"externs:count": count}, width=2)
    assert await executor.run("main", {"n": 5}) == [[0, 1, 2, 3, 4]] * 5
    assert most <= 4


async def test_a_fold_carries_and_stops_early() -> None:
    flow = """
      flow @main(%n: int) -> int {
        %items = apply range(%n) : list<int>
        %zero = const 0 : int
        %limit = const 10 : int
        %sum = fold (%item: int, %at: int, %so: int) in %items from %zero early : int {
          %next = apply add(%so, %item) : int
          %on = apply lt(%next, %limit) : bool
          yield %on, %next
        }
        return %sum
      }
    """
    assert await run(program(flow), n=100) == 10
    assert await run(program(flow), n=3) == 3


async def test_steps_with_effects_run_once_even_if_unused() -> None:
    calls: list[int] = []

    def tell(n: int) -> int:
        time.sleep(0.05)
        calls.append(n)
        return n

    flow = """
      flow @main(%n: int) -> int {
        %x = native @tell(%n) effectful : int
        %y = native @tell(%x) effectful : int
        return %n
      }
    """
    plan = program(flow, NATIVE.format("tell"))
    await executor_of(plan, functions={"externs:tell": tell}).run("main", {"n": 1})
    assert calls == [1, 1]


# --- failures ---


def picky_map(step: str) -> Plan:
    flow = f"""
      flow @main(%n: int) -> list<int?> {{
        %items = apply range(%n) : list<int>
        %outs = map (%item: int, %at: int) in %items : list<int?> {{
          {step}
          yield %o
        }}
        return %outs
      }}
    """
    return program(flow, NATIVE.format("picky"))


PLAIN = picky_map("%o = native @picky(%item) effectful : int?")
TOLERANT = picky_map(
    "%o = attempt retries 0 tolerant : int? {\n"
    "  %p = native @picky(%item) effectful : int\n  yield %p\n}"
)


async def test_one_failed_item_fails_the_map_with_its_cause_and_place() -> None:
    with pytest.raises(RunError, match="`picky` raised LookupError: not 77") as caught:
        await run(PLAIN, n=200)
    diagnostic = caught.value.diagnostic
    assert diagnostic.code == "E0601"
    assert diagnostic.span is not None and "native @picky" in diagnostic.span.text()


async def test_nothing_that_was_finished_is_lost() -> None:
    executor = executor_of(PLAIN)
    with pytest.raises(RunError) as caught:
        await executor.run("main", {"n": 200}, keep=True)
    kept = caught.value.finished["outs"]
    assert kept["missing"] == [77]
    assert kept["items"] == [None if n == 77 else n for n in range(200)]
    await executor.close()


async def test_a_tolerated_failure_is_none() -> None:
    outs = await run(TOLERANT, n=200)
    assert outs == [None if n == 77 else n for n in range(200)]


async def test_a_failure_stops_the_rest_of_the_run() -> None:
    calls: list[int] = []

    def picky(n: int) -> int:
        calls.append(n)
        if n == 0:
            raise ValueError("no")
        time.sleep(0.01)
        return n

    executor = executor_of(PLAIN, functions={"externs:picky": picky}, width=4)
    with pytest.raises(RunError):
        await executor.run("main", {"n": 10_000})
    assert len(calls) < 100


async def test_a_fold_may_replace_a_value_that_failed() -> None:
    flow = """
      flow @main(%n: int) -> int {
        %empty = const [] : list<int>
        %bad = apply index(%empty, %n) : int
        %items = apply range(%n) : list<int>
        %last = fold (%item: int, %at: int, %so: int) in %items from %bad : int {
          %next = apply add(%item, %n) : int
          yield %next
        }
        return %last
      }
    """
    assert await run(program(flow), n=3) == 5
    with pytest.raises(RunError, match="index 0 is outside a list of 0"):
        await run(program(flow), n=0)


async def test_a_retry_draws_again() -> None:
    flow = """
      flow @main(%t: str) -> int(ge=1, le=3) {
        %o = attempt retries 5 : int(ge=1, le=3) {
          %c0 = context.open @local
          %c1, %out = context.gen %c0 site "main.0/0" name "" (temperature = 1.0, max_tokens = 9) : int(ge=1, le=3)
          %zero = const [0] : list<int>
          %one = const 1 : int
          %index = apply sub(%out, %one) : int
          %first = apply index(%zero, %index) : int
          yield %out
        }
        return %o
      }
    """  # noqa: E501
    engine = StrictEngine()
    await run(program(flow), engine, t="")
    keys = [seen.key for seen in engine.seen]
    assert len(set(keys)) == len(keys)


async def test_a_failure_inside_arithmetic_names_the_place() -> None:
    flow = """
      flow @main(%xs: list<int>) -> int {
        %five = const 5 : int
        %x = apply index(%xs, %five) : int
        %y = apply add(%x, %five) : int
        return %y
      }
    """
    with pytest.raises(RunError, match="index 5 is outside a list of 2") as caught:
        await run(program(flow), xs=[1, 2])
    assert caught.value.diagnostic.code == "E0606"
    assert caught.value.diagnostic.span.text().startswith("%x = apply index")  # type: ignore[union-attr]


async def test_a_prompt_longer_than_the_context() -> None:
    plan = program(CALL)
    executor = executor_of(plan)
    with pytest.raises(RunError, match=re.escape("holds 8,192")) as caught:
        await executor.run("main", {"text": "x" * 9000})
    assert caught.value.diagnostic.code == "E0604"
    assert "the prompt has 9,009 tokens" in str(caught.value)
    assert "context.gen" in caught.value.diagnostic.span.text()  # type: ignore[union-attr]


async def test_a_structured_output_cut_by_its_limit() -> None:
    flow = CALL.replace("-> str", "-> list<int>").replace("12) : str", "1) : list<int>")
    with pytest.raises(RunError, match="cut by its limit of 1 tokens") as caught:
        await run(program(flow), text="")
    assert caught.value.diagnostic.code == "E0605"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "the input `text` is missing"),
        ({"text": 3}, "text: an int where `str` was expected"),
        ({"text": "a", "more": 1}, "`main` has no input `more`"),
    ],
)
async def test_inputs_are_checked(args: dict[str, Any], words: str) -> None:
    with pytest.raises(RunError, match=words) as caught:
        await run(program(CALL), **args)
    assert caught.value.diagnostic.code == "E0607"


# --- draws, streams, progress ---


async def test_draws_depend_on_seed_site_and_path_alone() -> None:
    flow = """
      flow @main(%n: int) -> list<str> {
        %items = apply range(%n) : list<int>
        %c0 = context.open @local
        %outs = map (%item: int, %at: int) in %items : list<str> {
          %c1, %out = context.gen %c0 site "main.0/0" name "" (max_tokens = 8, temperature = 0.7) : str
          yield %out
        }
        return %outs
      }
    """  # noqa: E501
    executor = executor_of(program(flow))
    five = await executor.run("main", {"n": 5}, seed=1)
    assert await executor.run("main", {"n": 5}, seed=1) == five
    assert await executor.run("main", {"n": 3}, seed=1) == five[:3]
    assert await executor.run("main", {"n": 5}, seed=2) != five
    assert len(set(five)) > 1


async def test_the_text_of_the_result_is_streamed() -> None:
    pieces: list[str] = []
    executor = executor_of(program(CALL))
    result = await executor.run("main", {"text": "long"}, sink=pieces.append)
    assert "".join(pieces) == result
    assert len(pieces) > 1


async def test_counters_say_what_sharing_saves() -> None:
    events: list[Event] = []
    trace = Trace(events.append)
    await executor_of(program(SHARED)).run("main", {"doc": "d" * 100, "n": 4}, trace=trace)
    totals = trace.counters
    assert (totals.calls_done, totals.calls_running, totals.calls_total_known) == (4, 0, 4)
    assert totals.tokens_without_sharing == 4 * (1 + len("The document:\n") + 100 + 11)
    assert totals.tokens_filled == 1 + len("The document:\n") + 100 + 4 * 11
    kinds = [event.kind for event in events]
    assert kinds.count("started") == kinds.count("finished") == 4


async def test_a_limit_caps_free_text_only() -> None:
    executor = executor_of(program(CALL), max_new_tokens=2)
    result = await executor.run("main", {"text": "x"})
    assert len(result.encode()) <= 2


async def test_cancelling_a_run_leaves_nothing() -> None:
    engine = StrictEngine()
    executor = executor_of(program(SHARED), engine)
    for steps in range(0, 60, 3):
        task = asyncio.create_task(executor.run("main", {"doc": "x" * 50, "n": 20}))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        await asyncio.sleep(0.01)
        assert engine.live == {}


class Slow(StrictEngine):
    """Takes a while to stop a generation, and counts those that are under way."""

    running = 0

    async def generate(self, request: Any) -> Any:
        self.running += 1
        pieces = super().generate(request)
        try:
            async for piece in pieces:
                yield piece
                if isinstance(piece, Piece):
                    await asyncio.sleep(0)
        finally:
            self.running -= 1
            if asyncio.current_task() and asyncio.current_task().cancelling():  # type: ignore[union-attr]
                for _ in range(10):
                    await asyncio.sleep(0)


async def test_cancelling_while_a_region_ends_leaves_nothing() -> None:
    flow = """
      flow @main(%text: str) -> str {
        %yes = const true : bool
        %c0 = context.open @local
        %c3 = if %yes : context {
          %c1 = context.fill %c0, ids[1] "<s>", %text, ids[2] "</s>"
          %c2, %kept = context.gen %c1 site "main.0/0" name "" (max_tokens = 1) : str
          %c9, %dead = context.gen %c1 site "main.1/0" name "" (max_tokens = 200) : list<str>
          yield %c2
        } else {
          yield %c0
        }
        %c4, %out = context.gen %c3 site "main.2/0" name "" (max_tokens = 9) : str
        return %out
      }
    """
    plan = program(flow)
    for steps in range(120):
        engine = Slow()
        executor = executor_of(plan, engine)
        task = asyncio.create_task(executor.run("main", {"text": "abc"}))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        assert engine.running == 0
        await executor.close()
        assert engine.live == {}


async def test_a_run_ends_when_the_engine_has_let_go() -> None:
    class Late(StrictEngine):
        async def free(self, contexts: Any, dead: bool = False) -> None:
            await asyncio.sleep(0.05)
            await super().free(contexts, dead)

    await run(program(SHARED), Late(), doc="d" * 50, n=3)  # `run` looks at once
