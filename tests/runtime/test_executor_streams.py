"""The executor: draws, what is seen of a run while it goes on, and that nothing is left of one."""

import asyncio
from typing import Any

from executed import CALL, SHARED, program, run
from fakes import StrictEngine
from plans import executor_of

from parrotc.runtime.engines.protocol import Piece
from parrotc.runtime.trace import Event, Trace


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
