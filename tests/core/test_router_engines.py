"""Engines come, send heartbeats or do not, are drained, leave, and come again."""

import asyncio

import pytest
from faulty import FaultyEngine
from virtual import virtually

from parrotc.runtime.core.registry import RouterLimits
from parrotc.runtime.core.router import Router
from parrotc.runtime.engines.protocol import (
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Sampling,
    new_context,
)
from parrotc.runtime.scheduling.engines import EngineSpec
from parrotc.runtime.tokenizer import ByteTokenizer

PROMPT = tuple(b"Once")
LONG = Sampling(min_tokens=30)


def router_of(*engines: FaultyEngine, **limits: float) -> Router:
    router = Router("m", ByteTokenizer(), limits=RouterLimits(**limits))
    for number, engine in enumerate(engines):
        router.register(f"e{number}", engine)
    return router


async def talk(router: Router) -> str:
    context, name = new_context(), new_context()
    await router.fill([FillRequest(context, None, PROMPT)])
    async for item in router.generate(GenerateRequest(name, context, LONG)):
        if isinstance(item, Finished):
            await router.free([context, name])
            return item.text
    raise AssertionError("no end")


@virtually
async def test_an_engine_that_misses_its_heartbeats_is_gone_and_may_come_again() -> None:
    engine = FaultyEngine(latency=100)
    router = router_of(heartbeat=15)
    router.register("a", engine, heartbeat=True)
    work = asyncio.create_task(talk(router))
    for _ in range(4):
        await asyncio.sleep(10)
        router.heartbeat("a")
    assert [view.running for view in router.engines()] == [1]
    await asyncio.sleep(16)
    assert router.engines() == () and engine.closed == 1 and not work.done()
    with pytest.raises(KeyError):
        router.heartbeat("a")
    router.register("a", FaultyEngine(), heartbeat=True)
    begun = asyncio.get_running_loop().time()
    await work
    assert asyncio.get_running_loop().time() - begun < 1, "it did not wait for the dead one"
    await router.close()


@virtually
async def test_an_engine_in_process_needs_no_heartbeat() -> None:
    router = router_of(FaultyEngine(), heartbeat=15)
    await asyncio.sleep(1000)
    router.heartbeat("e0")
    await asyncio.sleep(1000)
    await talk(router)
    assert [view.state for view in router.engines()] == ["up"]
    await router.close()


@virtually
async def test_the_clock_may_be_anybodys() -> None:
    now = 0.0
    router = Router("m", ByteTokenizer(), clock=lambda: now)
    router.register("a", FaultyEngine(), heartbeat=True)
    now = 14.0
    await asyncio.sleep(1)
    await talk(router)
    assert len(router.engines()) == 1
    now = 16.0
    router.register("b", FaultyEngine())
    await asyncio.sleep(1)
    await talk(router)
    assert [view.name for view in router.engines()] == ["b"]
    await router.close()


@virtually
async def test_a_drained_engine_ends_what_it_has_and_gets_nothing_more() -> None:
    old, new = FaultyEngine(latency=5), FaultyEngine()
    router = router_of(old)
    work = [asyncio.create_task(talk(router)) for _ in range(3)]
    await asyncio.sleep(1)
    draining = asyncio.create_task(router.drain("e0"))
    await asyncio.sleep(0)
    router.register("e1", new)
    assert [view.state for view in router.engines()] == ["draining", "up"]
    await talk(router)
    assert (len(new.asked), old.closed) == (1, 0)
    await draining
    assert all(task.done() for task in work) or (await asyncio.gather(*work))
    assert len(old.asked) == 3 and len(new.asked) == 1
    assert old.closed == 1 and old.contexts == 0
    assert [view.name for view in router.engines()] == ["e1"]
    await router.close()


@virtually
async def test_an_engine_that_dies_while_it_is_drained_is_gone() -> None:
    old, new = FaultyEngine(latency=5), FaultyEngine()
    router = router_of(old)
    work = asyncio.create_task(talk(router))
    await asyncio.sleep(1)
    draining = asyncio.create_task(router.drain("e0"))
    old.die()
    router.register("e1", new)
    await asyncio.gather(draining, work)
    assert len(new.asked) == 1 and [view.name for view in router.engines()] == ["e1"]
    await router.close()


@virtually
async def test_draining_an_engine_that_does_nothing_is_done_at_once() -> None:
    engine = FaultyEngine()
    router = router_of(engine)
    await router.drain("e0")
    assert router.engines() == () and engine.closed == 1
    with pytest.raises(KeyError):
        await router.drain("e0")
    await router.close()


@virtually
async def test_an_engine_that_is_removed_leaves_its_calls_to_others() -> None:
    old, new = FaultyEngine(latency=50), FaultyEngine()
    router = router_of(old)
    work = [asyncio.create_task(talk(router)) for _ in range(3)]
    await asyncio.sleep(51)
    router.register("e1", new)
    await router.remove("e0")
    assert old.closed == 1 and old.contexts == 0
    await asyncio.gather(*work)
    assert len(new.asked) == 3
    await router.close()


@virtually
async def test_another_engine_takes_over_a_name() -> None:
    old, new = FaultyEngine(latency=50), FaultyEngine()
    router = router_of(old)
    work = asyncio.create_task(talk(router))
    await asyncio.sleep(51)
    router.register("e0", new)
    await work
    assert len(new.asked) == 1
    await asyncio.sleep(1)
    assert (old.closed, new.closed, old.contexts) == (1, 0, 0)
    await router.close()
    assert new.closed == 1


@virtually
async def test_the_same_engine_registers_again() -> None:
    """As a process does that has lost sight of the core: its engine is not closed."""
    engine = FaultyEngine()
    router = router_of(engine)
    await talk(router)
    router.register("e0", engine)
    await talk(router)
    await asyncio.sleep(1)
    assert engine.closed == 0 and engine.contexts == 0
    await router.close()


@virtually
async def test_engines_that_do_not_belong_here() -> None:
    class Other(ByteTokenizer):
        fingerprint = "another"

    other = FaultyEngine()
    other.tokenizer = Other()
    router = router_of(FaultyEngine(), engines=1)
    for name, engine, spec, code in (
        ("e0", other, None, "invalid"),
        ("e0", FaultyEngine(), EngineSpec(name="e0", model="else"), "invalid"),
        ("e0", FaultyEngine(), EngineSpec(name="e9", model="m"), "invalid"),
        ("e1", FaultyEngine(), None, "busy"),
    ):
        with pytest.raises(EngineError) as caught:
            router.register(name, engine, spec)
        assert caught.value.code == code
    await talk(router)
    await router.close()
    with pytest.raises(EngineError, match="closed"):
        router.register("e0", FaultyEngine())


@virtually
async def test_a_call_that_fits_only_on_an_engine_to_come_is_refused_now() -> None:
    small = EngineSpec(name="e0", model="m", tokens=500, context_length=400)
    router = Router("m", ByteTokenizer())
    router.register("e0", FaultyEngine(), small)
    with pytest.raises(EngineError) as caught:
        await router.fill([FillRequest(-1, None, (7,) * 401)])
    assert caught.value.code == "context_length"
    router.register("e1", FaultyEngine(), EngineSpec(name="e1", model="m", context_length=4000))
    await router.fill([FillRequest(-1, None, (7,) * 401)])
    async for _ in router.generate(GenerateRequest(-2, -1, LONG)):
        pass
    assert [view.contexts > 0 for view in router.engines()] == [False, True]
    await router.close()
