"""A core that runs for months: what is over leaves no trace."""

import asyncio
import gc
from collections import Counter
from functools import partial

import pytest
from cores import call, given, made, output, plan_bytes, session_of, started
from leaks import SAY, Trivial, grown, room

from parrotc.runtime.core.core import ServeCore
from parrotc.runtime.core.graph import Call
from parrotc.runtime.core.runs import Run
from parrotc.runtime.core.variables import SemanticVariable

# without coverage, which is counted too: so in the ring of the oracle
MANY = pytest.mark.parametrize(
    "calls",
    [
        pytest.param(1000, marks=pytest.mark.oracle),
        pytest.param(100_000, marks=pytest.mark.night),
    ],
)
OURS = (Call, SemanticVariable, Run)


async def sessions_of_calls(core: ServeCore, calls: int) -> None:
    """Sessions of a hundred calls each: chains of ten, some deleted, some never asked for."""
    for _ in range(calls // 100):
        session = await session_of(core)
        for _ in range(10):
            last = (await core.create_variable(session, "q", "x")).id
            for number in range(10):
                view = await call(
                    core, session, "Say {{x}}: {{a}}", given("x", var=last), made("a")
                )
                if number == 5:
                    await core.delete_variable(session, last)
                last = output(view)
            await core.get_variable(session, last)
        await core.close_session(session)


async def runs_of_calls(core: ServeCore, calls: int) -> None:
    tenant = core.tenant(None)
    for _ in range(calls // 100):
        begun = await core.invoke(tenant, "p", "main", {"n": 100})
        await core.wait_run(tenant, begun.id)


def counted() -> Counter[str]:
    gc.collect()
    kinds = map(type, gc.get_objects())
    return Counter(kind.__name__ for kind in kinds if kind in OURS)


@MANY
async def test_sessions_that_are_over_leave_nothing(calls: int) -> None:
    others = counted()  # what earlier tests have left to be collected
    async with started(Trivial()) as core:
        more = await grown(partial(sessions_of_calls, core), calls)
        assert counted() - others == Counter()
        assert core.stats()["calls"] == core.stats()["sessions"] == 0
        assert more < room(calls)


@MANY
async def test_runs_that_are_forgotten_leave_nothing(calls: int) -> None:
    others = counted()
    async with started(Trivial(), max_finished_runs=3) as core:
        await core.put_plan(core.tenant(None), "p", plan_bytes(SAY))
        more = await grown(partial(runs_of_calls, core), calls)
        assert counted() - others == Counter(Run=3)
        assert more < room(calls)


async def test_what_calls_leave_goes_without_a_search() -> None:
    """Nothing of a call is in a cycle: a server searches for those when nobody waits, if at all."""
    async with started(Trivial()) as core:
        await core.put_plan(core.tenant(None), "p", plan_bytes(SAY))
        for work in (sessions_of_calls, runs_of_calls):
            await work(core, 100)  # what is made once is there
            await asyncio.sleep(0.1)
            gc.collect()
            gc.disable()
            try:
                await work(core, 500)
                await asyncio.sleep(0.1)
                assert gc.collect() < 2 * 500, "but for a few that were cancelled"
            finally:
                gc.enable()


async def test_waiting_in_vain_leaves_nothing() -> None:
    async with started() as core:
        session = await session_of(core)
        q = await core.create_variable(session, "q")
        variable = core._spaces[session.id]._graph.find(q.id)
        for _ in range(50):
            getter = asyncio.ensure_future(core.get_variable(session, q.id))
            stream = core.stream_variable(session, q.id)
            piece = asyncio.ensure_future(anext(stream))  # type: ignore[arg-type]
            await asyncio.sleep(0)
            getter.cancel()
            piece.cancel()
            await asyncio.wait([getter, piece])
        assert not variable._value._waiters and not variable._value._watchers
