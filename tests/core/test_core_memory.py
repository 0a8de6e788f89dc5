"""A core that runs for months: what is over leaves no trace."""

import asyncio
import gc
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from cores import call, given, made, output, plan_bytes, session_of, started

from parrotc.runtime.core.core import ServeCore
from parrotc.runtime.core.graph import Call
from parrotc.runtime.core.runs import Run
from parrotc.runtime.core.variables import SemanticVariable
from parrotc.runtime.engines.protocol import (
    ContextId,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.engines.reference import ReferenceEngine

# without coverage, which is counted too: so in the ring of the oracle
MANY = pytest.mark.parametrize(
    "calls",
    [
        pytest.param(500, marks=pytest.mark.oracle),
        pytest.param(100_000, marks=pytest.mark.night),
    ],
)
LEAST = 100  # bytes, on average, that a forgotten call would leave at the least
OURS = (Call, SemanticVariable, Run)
SAY = """
pfunc say(q: int) -> str:
    "Say {{q}}: {{gen max_tokens=8}}"

flow main(n: int) -> list[str]:
    return [say(q=i) for i in range(n)]
"""


class Trivial(ReferenceEngine):
    """Says `x` to everything."""

    async def fill(self, requests: Sequence[FillRequest]) -> None: ...

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        yield Finished("end", "x", (120,), 1)

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None: ...


async def sessions_of_calls(core: ServeCore, calls: int) -> None:
    """Sessions of a hundred calls each: chains of ten, some deleted, some never asked for."""
    for _ in range(calls // 100):
        session = session_of(core)
        for _ in range(10):
            last = core.create_variable(session, "q", "x").id
            for number in range(10):
                view = await call(
                    core, session, "Say {{x}}: {{a}}", given("x", var=last), made("a")
                )
                if number == 5:
                    core.delete_variable(session, last)
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


async def held() -> int:
    """Bytes, when all that ends soon has ended."""
    await asyncio.sleep(0.1)
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def grown(work: Any, core: ServeCore, calls: int) -> int:
    """Bytes that so many calls leave behind, once all that is made once is there."""
    tracemalloc.start()
    try:
        await work(core, 300)
        more = []
        for _ in range(2):  # a leak grows each time, a cache that fills up does not
            before = await held()
            await work(core, calls)
            more.append(await held() - before)
        return min(more)
    finally:
        tracemalloc.stop()


@MANY
async def test_sessions_that_are_over_leave_nothing(calls: int) -> None:
    others = counted()  # what earlier tests have left to be collected
    async with started(Trivial()) as core:
        more = await grown(sessions_of_calls, core, calls)
        assert counted() - others == Counter()
        assert core.stats()["calls"] == core.stats()["sessions"] == 0
        assert more < LEAST * calls


@MANY
async def test_runs_that_are_forgotten_leave_nothing(calls: int) -> None:
    others = counted()
    async with started(Trivial(), max_finished_runs=3) as core:
        await core.put_plan(core.tenant(None), "p", plan_bytes(SAY))
        more = await grown(runs_of_calls, core, calls)
        assert counted() - others == Counter(Run=3)
        assert more < LEAST * calls


async def test_waiting_in_vain_leaves_nothing() -> None:
    async with started() as core:
        session = session_of(core)
        q = core.create_variable(session, "q")
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
