"""What a call asks for besides its answer: a cache, a deadline, and an end in time."""

import asyncio
from typing import Any

import pytest
from fakes import StrictEngine
from plans import executor_of, plan_of

from parrotc.runtime.answers import Answers, Question
from parrotc.runtime.engines.protocol import Finished, Sampling
from parrotc.runtime.errors import RunError, RunTimeout
from parrotc.runtime.plan import Plan
from parrotc.runtime.trace import Trace


def call(notes: str, flow_notes: str = "", temperature: str = "0.0") -> Plan:
    return plan_of(f"""module @m {{
  model @local = reference "chatml"
  flow @main(%text: str) -> str {flow_notes} {{
    %c0 = context.open @local
    %c1 = context.fill %c0, ids[300] "<s>", "Say: ", %text, ids[301] "</s>"
    %c2, %first = context.gen %c1 site "main.0/0" name "" (max_tokens = 12,
      temperature = {temperature}) : str {notes}
    %c3 = context.fill %c2, ids[302] "\\n"
    %c4, %out = context.gen %c3 site "main.1/0" name "" (max_tokens = 9) : str
    return %out
  }}
}}
""")


class Sleepy(StrictEngine):
    """Takes its time."""

    async def generate(self, request: Any) -> Any:
        await asyncio.sleep(5)
        async for item in super().generate(request):
            yield item


async def test_a_cached_call_is_not_run_again_and_what_follows_sees_the_same_tokens() -> None:
    engine = StrictEngine()
    executor = executor_of(call("{cache_ttl = 60}"), engine)
    first = await executor.run("main", {"text": "a"})
    told: list[str] = []
    trace = Trace(lambda event: told.append(event.kind))
    assert await executor.run("main", {"text": "a"}, trace=trace) == first
    assert len(engine.seen) == 3, "of the second run, only the call that is not cached"
    assert engine.seen[1] == engine.seen[2], "it has read the answer, token by token"
    assert (trace.counters.calls_done, told.count("started"), told.count("finished")) == (2, 2, 2)
    await executor.run("main", {"text": "b"})
    assert len(engine.seen) == 5, "another prompt is another question"
    await executor.close()
    assert engine.live == {}


async def test_without_a_cache_every_call_runs() -> None:
    engine = StrictEngine()
    executor = executor_of(call(""), engine)
    for _ in range(2):
        await executor.run("main", {"text": "a"})
    assert len(engine.seen) == 4


async def test_a_cached_draw_is_that_of_the_same_seed() -> None:
    engine = StrictEngine()
    executor = executor_of(call("{cache_ttl = 60}", temperature="0.8"), engine)
    one = await executor.run("main", {"text": "a"}, seed=1)
    two = await executor.run("main", {"text": "a"}, seed=2)
    assert one != two
    assert await executor.run("main", {"text": "a"}, seed=1) == one
    assert [seen.key != 0 for seen in engine.seen].count(True) == 2


def test_an_answer_is_used_as_long_as_it_is_young_enough() -> None:
    now = 0.0
    answers = Answers(clock=lambda: now)
    question = Question(b"prompt", Sampling(), None)
    answer = Finished("end", "yes", (1,), 1)
    answers.keep(question, answer)
    now = 10.0
    assert answers.find(question, ttl=10) is answer
    assert answers.find(question, ttl=9) is None
    assert answers.find(Question(b"prompt", Sampling(max_tokens=9), None), ttl=10) is None


async def test_a_call_later_than_its_deadline_is_a_failure_at_its_place() -> None:
    engine = Sleepy()
    executor = executor_of(call("{deadline = 0.05}"), engine)
    with pytest.raises(RunError) as failed:
        await executor.run("main", {"text": "a"})
    assert failed.value.diagnostic.code == "E0612"
    assert "deadline of 0.05 s" in failed.value.diagnostic.message
    assert not isinstance(failed.value, RunTimeout), "the call is late, and may be tolerated"
    assert engine.live == {}


@pytest.mark.parametrize("asked", ({"timeout": 0.05}, {}))
async def test_a_flow_ends_at_its_deadline_or_the_callers(asked: dict[str, float]) -> None:
    executor = executor_of(call("", "{deadline = 0.1}"), Sleepy())
    with pytest.raises(RunTimeout, match="no result after 0") as late:
        await executor.run("main", {"text": "a"}, **asked)
    assert isinstance(late.value, TimeoutError)
    assert late.value.diagnostic.code == "E0612"


async def test_what_is_finished_is_told_while_the_run_goes_on_and_when_it_is_late() -> None:
    class SecondIsSleepy(StrictEngine):
        async def generate(self, request: Any) -> Any:
            await asyncio.sleep(5 if self.seen else 0)
            async for item in super().generate(request):
                yield item

    executor = executor_of(call(""), SecondIsSleepy())
    trace = Trace()
    with pytest.raises(RunTimeout) as late:
        await executor.run("main", {"text": "a"}, timeout=0.2, trace=trace)
    assert list(late.value.finished) == ["first"]
    assert trace.finished() == late.value.finished
