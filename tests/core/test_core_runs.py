"""Plans and their runs: stored by content, begun, watched, cancelled, limited, forgotten."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cores import Recording, plan_bytes, session_of, started
from served import Gated, until

from parrotc.ir.types import Json
from parrotc.runtime.core.core import ServeCore
from parrotc.runtime.core.errors import Busy, Invalid, NotFound, TimedOut
from parrotc.runtime.core.views import RunEvent, RunState
from parrotc.runtime.core.watching import Watcher, Watchers
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.plan import Plan
from parrotc.runtime.scheduling.tasks import Criteria

HERE = str(Path(__file__).parent)
SAY = """
class Answer:
    text: str
    score: int(ge=1, le=9)

pfunc say(q: str) -> str:
    "Say {{q}}: {{gen max_tokens=40}}"

pfunc rate(q: str) -> Answer:
    "Rate {{q}}: {{gen max_tokens=200}}"

flow main(q: str, n: int = 2) -> list[str]:
    return [say(q=q) for i in range(n)]

flow chain(q: str) -> str:
    draft = say(q=q)
    return say(q=draft)

flow rated(q: str) -> Answer:
    return rate(q=q)

@deadline(30s)
flow hurried(q: str) -> str:
    return say(q=q)
"""
NATIVE = """
extern def shout(text: str) -> str = "natives:shout"

flow main(q: str) -> str:
    return shout(text=q)
"""


async def run(core: ServeCore, flow: str, *, plan: str = "p", **inputs: Json) -> Any:
    """The view of a run that is over."""
    tenant = core.tenant(None)
    begun = await core.invoke(tenant, plan, flow, inputs)
    assert begun.state is RunState.RUNNING
    return await core.wait_run(tenant, begun.id, timeout=20)


async def test_a_flow_gives_its_result_as_plain_data() -> None:
    async with started() as core:
        tenant = core.tenant(None)
        stored = await core.put_plan(tenant, "p", plan_bytes(SAY))
        assert stored.flows["main"] == "main(q: str, n: int = 2) -> list<str>"
        assert core.plans(tenant) == [stored] == [core.plan(tenant, "p")]
        done = await run(core, "main", q="x", n=3)
        assert (done.state, len(done.result)) == (RunState.DONE, 3)
        assert done.ended >= done.started
        rated = await run(core, "rated", q="x")
        assert json.loads(json.dumps(rated.result)) == rated.result
        assert set(rated.result) == {"text", "score"}


async def test_a_plan_is_its_content() -> None:
    async with started() as core:
        tenant, raw = core.tenant(None), plan_bytes(SAY)
        first = await core.put_plan(tenant, "p", raw)
        assert core.plan_bytes(tenant, "p") == raw
        assert (await core.put_plan(tenant, "other", raw)).digest == first.digest
        assert (await core.put_plan(tenant, "p", plan_bytes(SAY + "\n\nconst X = 1"))).name == "p"
        await core.delete_plan(tenant, "p")
        with pytest.raises(NotFound):
            core.plan(tenant, "p")
        with pytest.raises(NotFound):
            await core.invoke(tenant, "p", "main", {"q": "x"})


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"format": 1, "flows": []}', b"\xff"])
async def test_what_is_no_plan_is_refused_with_its_diagnostic(raw: bytes) -> None:
    async with started() as core:
        with pytest.raises(Invalid) as caught:
            await core.put_plan(core.tenant(None), "p", raw)
        assert caught.value.diagnostic is not None
        assert core.plans(core.tenant(None)) == []


async def test_a_changed_plan_is_refused() -> None:
    async with started() as core:
        raw = plan_bytes(SAY).replace(b"Say ", b"Cry ")
        with pytest.raises(Invalid, match="digest"):
            await core.put_plan(core.tenant(None), "p", raw)


async def test_plans_are_limited() -> None:
    async with started(max_plans=1) as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        await core.put_plan(tenant, "p", plan_bytes(SAY.replace("Say", "Tell")))
        with pytest.raises(Busy):
            await core.put_plan(tenant, "q", plan_bytes(SAY))


async def test_functions_of_a_plan_must_be_allowed() -> None:
    async with started(native_path=HERE) as core:
        with pytest.raises(Invalid, match="natives:shout"):
            await core.put_plan(core.tenant(None), "p", plan_bytes(NATIVE))
    async with started(native_path=HERE, natives=("natives:shout",)) as core:
        await core.put_plan(core.tenant(None), "p", plan_bytes(NATIVE))
        assert (await run(core, "main", q="hi")).result == "HI!"


@pytest.mark.parametrize(
    ("flow", "inputs", "message"),
    [
        ("main", {}, "`q` is missing"),
        ("main", {"q": 3}, "q: an int"),
        ("main", {"q": "x", "z": 1}, "no input `z`"),
        ("main", {"q": "x", "n": "2"}, "n: a text"),
    ],
)
async def test_inputs_are_checked_before_anything_runs(
    flow: str, inputs: Any, message: str
) -> None:
    async with started() as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        with pytest.raises(Invalid, match=message):
            await core.invoke(tenant, "p", flow, inputs)
        assert core.runs(tenant) == []


async def test_a_flow_that_is_not_there_is_not_found() -> None:
    async with started() as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        with pytest.raises(NotFound, match="it has main, chain"):
            await core.invoke(tenant, "p", "mian", {"q": "x"})


async def test_a_failure_has_its_place() -> None:
    async with started(ReferenceEngine(fault=lambda _: True)) as core:
        await core.put_plan(core.tenant(None), "p", plan_bytes(SAY))
        failed = await run(core, "chain", q="x")
        assert failed.state is RunState.FAILED
        assert failed.diagnostic.code == "E0608" and failed.diagnostic.span is not None


async def test_a_plan_for_another_tokenizer_is_refused() -> None:
    async with started() as core:
        tenant = core.tenant(None)
        plan = Plan.from_json(plan_bytes(SAY))
        (model,) = plan.models
        other = replace(plan, models=(replace(model, fingerprint="f" * 64),))
        await core.put_plan(tenant, "p", other.to_json())
        with pytest.raises(Invalid, match="another tokenizer"):
            await core.invoke(tenant, "p", "main", {"q": "x"})


async def test_seeds_decide_draws() -> None:
    hot = SAY.replace("max_tokens=40", "max_tokens=40, temperature=1.0")
    async with started() as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(hot))

        async def drawn(seed: int) -> Any:
            begun = await core.invoke(tenant, "p", "main", {"q": "x", "n": 4}, seed=seed)
            return (await core.wait_run(tenant, begun.id)).result

        assert await drawn(1) == await drawn(1) != await drawn(2)


# --- time, cancelling, limits ---


async def test_a_run_is_cancelled() -> None:
    engine = Gated()
    async with started(engine) as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        begun = await core.invoke(tenant, "p", "main", {"q": "x"})
        await until(lambda: engine.open == 2)
        assert (await core.cancel_run(tenant, begun.id)).state is RunState.CANCELLED
        await until(lambda: engine.open == 0)
        engine.gate.set()
        done = await run(core, "main", q="x")
        assert (await core.cancel_run(tenant, done.id)).state is RunState.DONE, "it was over"


async def test_a_run_that_was_just_begun_is_cancelled_too() -> None:
    async with started() as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        begun = await core.invoke(tenant, "p", "main", {"q": "x"})
        assert (await core.cancel_run(tenant, begun.id)).state is RunState.CANCELLED


async def test_a_run_ends_with_its_time() -> None:
    async with started(ReferenceEngine(latency=30), max_run=0.1) as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        for timeout in (0.05, 3600.0, None):
            begun = await core.invoke(tenant, "p", "main", {"q": "x"}, timeout=timeout)
            over = await core.wait_run(tenant, begun.id, timeout=10)
            assert over.state is RunState.FAILED and over.diagnostic is not None
            assert over.diagnostic.code == "E0612"


async def test_waiting_ends_before_the_run() -> None:
    async with started(Gated()) as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        begun = await core.invoke(tenant, "p", "main", {"q": "x"})
        with pytest.raises(TimedOut):
            await core.wait_run(tenant, begun.id, timeout=0.01)
        assert core.run(tenant, begun.id).state is RunState.RUNNING


async def test_runs_are_limited_and_their_places_come_back() -> None:
    engine = Gated()
    async with started(engine, max_runs=2) as core:
        tenant, session = core.tenant(None), await session_of(core)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        begun = [
            await core.invoke(tenant, "p", "chain", {"q": "x"}, session=session) for _ in range(2)
        ]
        with pytest.raises(Busy):
            await core.invoke(tenant, "p", "chain", {"q": "x"})
        await core.cancel_run(tenant, begun[0].id)
        await core.invoke(tenant, "p", "chain", {"q": "x"})
        await core.close_session(session)
        with pytest.raises(NotFound):
            core.run(tenant, begun[1].id)
        assert len(core.runs(tenant)) == 1, "a session takes its runs along"


async def test_runs_are_forgotten_in_time_and_number() -> None:
    now = [1000.0]
    async with started(clock=lambda: now[0], run_life_span=60.0, max_finished_runs=2) as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        ids = [(await run(core, "chain", q="x")).id for _ in range(3)]
        assert [view.id for view in core.runs(tenant)] == ids[1:]
        now[0] += 61
        core._runs.sweep()
        assert core.runs(tenant) == []


# --- how it is scheduled ---


async def test_hints_of_a_run() -> None:
    engine = Recording()
    async with started(engine) as core:
        await core.put_plan(core.tenant(None), "p", plan_bytes(SAY))
        done = await run(core, "main", q="x", n=3)
        hints = [request.hints for request in engine.asked]
        assert {one.application for one in hints} == {done.id}
        assert {one.tenant for one in hints} == {"default"}
        assert {one.group_size for one in hints} == {3} and len({one.group for one in hints}) == 1
        assert {one.criteria for one in hints} == {Criteria.THROUGHPUT}
        engine.asked.clear()
        await run(core, "chain", q="x")
        assert [request.hints.depth for request in engine.asked] == [0, 1]
        assert [request.hints.criteria for request in engine.asked] == [Criteria.LATENCY] * 2
        engine.asked.clear()
        await run(core, "hurried", q="x")
        (last,) = (request.hints for request in engine.asked)
        assert last.criteria is Criteria.DEADLINE
        assert last.target is not None and last.target - last.begun == pytest.approx(30)


async def test_who_invokes_may_ask_for_something_else() -> None:
    engine = Recording()
    async with started(engine) as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        for criteria in ("throughput", {"ttft": 0.4}):
            begun = await core.invoke(tenant, "p", "chain", {"q": "x"}, criteria=criteria)
            await core.wait_run(tenant, begun.id)
        asked = [request.hints.criteria for request in engine.asked]
        slow = [Criteria.THROUGHPUT] * 2
        assert asked == [*slow, Criteria.LATENCY, Criteria.TTFT]
        with pytest.raises(Invalid):
            await core.invoke(tenant, "p", "chain", {"q": "x"}, criteria="soon")


# --- watching ---


async def test_events_tell_all_texts_and_the_end() -> None:
    engine = Gated()
    async with started(engine) as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        begun = await core.invoke(tenant, "p", "main", {"q": "x", "n": 2})
        await until(lambda: engine.open == 2)
        await asyncio.sleep(0.05)

        async def watch() -> list[RunEvent]:
            return [event async for event in core.stream_run(tenant, begun.id)]

        watching = asyncio.ensure_future(watch())
        await asyncio.sleep(0.01)
        engine.gate.set()
        *events, last = await watching
        assert (last.kind, last.result) == ("done", core.run(tenant, begun.id).result)
        for number, text in enumerate(last.result):
            mine = [event for event in events if event.path == (number,)]
            assert "".join(event.text for event in mine if event.kind == "text") in (text, "")
            (value,) = (event for event in mine if event.kind == "value")
            assert value.text == text
        assert [event.kind for event in await watch()] == ["done"], "a late one is told the end"


def test_a_slow_watcher_holds_no_more_than_the_texts() -> None:
    watchers = Watchers()
    slow = watchers.join()
    for _ in range(1000):
        watchers.tell(RunEvent("text", "a", (0,), "x"))
        watchers.tell(RunEvent("text", "a", (1,), "y"))
    assert len(slow._waiting) == 2
    watchers.tell(RunEvent("restart", "a", (0,), "z"))
    watchers.tell(RunEvent("value", "a", (1,), "y" * 1000))
    kinds = [(event.kind, event.path, len(event.text)) for event in slow._waiting.values()]
    assert kinds == [("restart", (0,), 1), ("value", (1,), 1000)]
    late = watchers.join()
    assert [event.text for event in late._waiting.values()] == ["z"]


async def test_a_watcher_is_told_in_order() -> None:
    watcher = Watcher()
    watcher.tell(RunEvent("text", "a", (), "one"))
    watcher.tell(RunEvent("value", "b", (), "two"))
    watcher.tell(RunEvent("cancelled"))
    assert [event.kind async for event in watcher.events()] == ["text", "value", "cancelled"]
