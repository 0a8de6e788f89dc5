"""What is filled once is not filled again: the engine that remembers, beside one that does not."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parrotc.runtime.engines.protocol import (
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Sampling,
)
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.engines.remembering import Client, Memory
from parrotc.runtime.engines.simulated import Limits, SimulatedEngine


async def said(client: Client | ReferenceEngine, parent: int, context: int) -> Finished:
    pieces: AsyncIterator[object] = client.generate(
        GenerateRequest(context, parent, Sampling(max_tokens=4))
    )
    last = [piece async for piece in pieces][-1]
    assert isinstance(last, Finished)
    return last


async def test_only_what_is_new_is_filled() -> None:
    engine = ReferenceEngine()
    memory = Memory(engine)
    first, second = memory.client(), memory.client()
    await first.fill([FillRequest(1, None, (1, 2, 3)), FillRequest(2, 1, (4, 5))])
    await second.fill([FillRequest(1, None, (1, 2, 3, 4, 5, 6))])
    assert (first.filled, second.filled) == (5, 1)
    await second.fill([FillRequest(2, None, (1, 2)), FillRequest(3, 2, (3, 4))])
    assert second.filled == 1 + 2 + 1, "1 2 is no context; 1 2 3 is, and 4 comes after it"
    assert (await engine.ping()).filled_tokens == 9


async def test_a_generation_is_gone_on_from() -> None:
    engine = ReferenceEngine()
    client = Memory(engine).client()
    await client.fill([FillRequest(1, None, (1, 2, 3))])
    answer = await said(client, 1, 2)
    await client.free([1, 2])
    await client.fill([FillRequest(3, None, (1, 2, 3, *answer.ids[: answer.kept], 9))])
    assert client.filled == 4


async def test_what_is_freed_rests_up_to_a_budget() -> None:
    engine = ReferenceEngine()
    client = Memory(engine, budget=6).client()
    for name in (1, 2, 3):
        await client.fill([FillRequest(name, None, (name, 0, 0))])
        await client.free([name])
    assert (await engine.ping()).cached_tokens == 6
    await client.fill([FillRequest(4, None, (1, 0, 0)), FillRequest(5, None, (3, 0, 0))])
    assert client.filled == 9 + 3, "the oldest one went"


async def test_what_is_used_stays_however_little_may_rest() -> None:
    engine = ReferenceEngine()
    client = Memory(engine, budget=0).client()
    await client.fill([FillRequest(1, None, (1, 2)), FillRequest(2, 1, (3,))])
    await client.free([1])
    assert (await said(client, 2, 3)).ids == (await said(client, 2, 4)).ids
    await client.close()
    info = await engine.ping()
    assert (info.contexts, info.cached_tokens) == (0, 0)


async def test_all_that_rests_goes_when_there_is_no_room() -> None:
    full = False

    def fault(request: object) -> bool:
        return full

    class Full(ReferenceEngine):
        async def fill(self, requests: object) -> None:
            nonlocal full
            if full:
                full = False
                raise EngineError("capacity", "full")
            await super().fill(requests)  # type: ignore[arg-type]

    engine = Full()
    client = Memory(engine).client()
    await client.fill([FillRequest(1, None, (1, 2, 3))])
    await client.free([1])
    full = True
    await client.fill([FillRequest(2, None, (7, 8))])
    assert (await engine.ping()).cached_tokens == 2


async def test_the_older_half_goes_first_when_there_is_no_room() -> None:
    engine = SimulatedEngine(limits=Limits(tokens=10))
    client = Memory(engine).client()
    for name in (1, 2, 3, 4):
        await client.fill([FillRequest(name, None, (name, name))])
        await client.free([name])
    await client.fill([FillRequest(5, None, (5,) * 4)])
    assert (await engine.ping()).cached_tokens == 2 * 2 + 4
    await client.fill([FillRequest(6, None, (6,) * 6)])
    assert (await engine.ping()).cached_tokens == 4 + 6, "half, and half again"
    with pytest.raises(EngineError, match="no room"):
        await client.fill([FillRequest(7, None, (7,))])


async def test_a_failed_fill_leaves_nothing() -> None:
    engine = ReferenceEngine(fault=lambda request: getattr(request, "ids", ()) == (6,))
    client = Memory(engine).client()
    with pytest.raises(EngineError):
        await client.fill([FillRequest(1, None, (5,)), FillRequest(2, 1, (6,))])
    await client.fill([FillRequest(1, None, (5,))])
    with pytest.raises(EngineError, match="no context 2"):
        await client.free([2])
    await client.free([1])


async def test_two_that_ask_at_once_fill_once() -> None:
    engine = ReferenceEngine(latency=0.01)
    memory = Memory(engine)
    clients = [memory.client() for _ in range(3)]
    await asyncio.gather(*(c.fill([FillRequest(1, None, (1, 2, 3))]) for c in clients))
    assert (await engine.ping()).filled_tokens == 3


IDS = st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple)
STEPS = st.lists(
    st.tuples(st.sampled_from(["fill", "say", "free"]), st.integers(0, 5), IDS), max_size=25
)


@settings(deadline=None)
@given(steps=STEPS, budget=st.integers(0, 8))
def test_it_says_what_a_plain_engine_says(
    steps: list[tuple[str, int, tuple[int, ...]]], budget: int
) -> None:
    """Whatever is filled, freed and generated, every context holds the same tokens."""

    async def run() -> None:
        plain = ReferenceEngine()
        clients = [memory.client() for memory in [Memory(ReferenceEngine(), budget)] * 2]
        live: list[tuple[int, Client]] = []
        for name, (what, pick, ids) in enumerate(steps, 1):
            parent = live[pick % len(live)] if live and pick else None
            client = parent[1] if parent else clients[pick % 2]
            above = parent[0] if parent else None
            if what == "fill" or above is None:
                request = FillRequest(name, above, ids)
                await plain.fill([request])
                await client.fill([request])
                live.append((name, client))
            elif what == "say":
                assert await said(plain, above, name) == await said(client, above, name)
                live.append((name, client))
            else:
                live.remove((above, client))
                await plain.free([above])
                await client.free([above])
        for name, client in live:
            mine, other = (
                await said(plain, name, 1000 + name),
                await said(client, name, 1000 + name),
            )
            assert mine == other

    asyncio.run(run())


async def test_what_a_fill_goes_on_from_stays_while_it_is_on_its_way() -> None:
    engine = ReferenceEngine(latency=0.01)
    memory = Memory(engine, budget=0)
    first, second = memory.client(), memory.client()
    await first.fill([FillRequest(1, None, (1, 2, 3))])
    going_on = asyncio.ensure_future(second.fill([FillRequest(1, None, (1, 2, 3, 4))]))
    await asyncio.sleep(0)
    await first.free([1])
    await going_on
    assert second.filled == 1
