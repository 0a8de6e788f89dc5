"""Engines of different sizes: a call gets one that can hold it, and is refused where none can."""

import asyncio
from itertools import permutations

import pytest
from faulty import FaultyEngine
from routed import LONG, PROMPT, Setting, last
from virtual import virtually

from parrotc.runtime.core.router import Router
from parrotc.runtime.engines.protocol import (
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Hints,
    new_context,
)
from parrotc.runtime.scheduling.engines import EngineSpec
from parrotc.runtime.scheduling.tasks import Criteria

SMALL, LARGE = 10, 1000  # tokens of a prompt
ORDERS = sorted(set(permutations((SMALL, SMALL, LARGE))))


def sized(tokens: int, code: str = "capacity") -> FaultyEngine:
    """One that says nothing of its size before it is asked."""

    def refuses(engine: FaultyEngine, request: GenerateRequest, number: int) -> None:
        if engine.inner._contexts.get(request.parent).length > tokens:
            raise EngineError(code, f"there is room for {tokens} tokens")

    return FaultyEngine(refuses)


@pytest.mark.parametrize("code", ["capacity", "context_length"])
@pytest.mark.parametrize("sizes", ORDERS)
@virtually
async def test_what_one_engine_cannot_hold_another_may(sizes: tuple[int, ...], code: str) -> None:
    setting = Setting(*(sized(size, code) for size in sizes))
    begun = asyncio.get_running_loop().time()
    await setting.run(await setting.fill())
    assert asyncio.get_running_loop().time() - begun < 0.1, "nobody waits for an engine to grow"
    asked = [len(engine.asked) for engine in setting.engines]
    assert max(asked) == 1 == asked[sizes.index(LARGE)]
    assert all(view.strikes == 0 and view.state == "up" for view in setting.router.engines())
    small = await setting.fill(PROMPT[:SMALL])
    await setting.run(small)
    await setting.close()


@pytest.mark.parametrize("code", ["capacity", "context_length"])
@virtually
async def test_what_no_engine_can_hold_is_refused_when_each_has_been_asked(code: str) -> None:
    setting = Setting(*(sized(SMALL, code) for _ in range(3)))
    begun = asyncio.get_running_loop().time()
    with pytest.raises(EngineError, match="room for 10 tokens") as caught:
        await setting.run(await setting.fill())
    assert caught.value.code == code
    assert asyncio.get_running_loop().time() - begun < 0.1
    assert [len(engine.asked) for engine in setting.engines] == [1, 1, 1]
    await setting.close()


@virtually
async def test_room_is_made_on_the_next_engine_too() -> None:
    def full(engine: FaultyEngine, request: GenerateRequest, number: int) -> None:
        if engine.contexts > 1:
            raise EngineError("capacity", "there is no room")

    setting = Setting(sized(SMALL), FaultyEngine(full))
    await setting.run(await setting.fill())
    await setting.router.settle()
    assert setting.engines[1].contexts == 1, "which nobody reads"
    await setting.run(await setting.fill(tuple(b"Another prompt")))
    await setting.close()


@virtually
async def test_a_call_waits_for_the_only_engine_that_may_hold_it() -> None:
    """And is refused when that one goes for good."""
    for goes in (False, True):
        small, large = sized(SMALL), sized(LARGE)
        router = Router("m", small.tokenizer)
        router.register("large", large, EngineSpec(name="large", model="m", slots=1))
        await router.fill([FillRequest(-1, None, PROMPT), FillRequest(-2, None, PROMPT[:5])])
        first = asyncio.create_task(last(router.generate(GenerateRequest(-3, -1, LONG))))
        large.trick = _slow
        await asyncio.sleep(0)
        router.register("small", small)
        second = asyncio.create_task(last(router.generate(GenerateRequest(-4, -1, LONG))))
        await asyncio.sleep(5)
        assert len(small.asked) == 1 and not second.done()
        if goes:
            await router.remove("large")
            for work in (first, second):
                with pytest.raises(EngineError) as caught:
                    await work
                assert caught.value.code == "capacity"
            assert await last(router.generate(GenerateRequest(-5, -2, LONG)))
        else:
            assert isinstance(await first, Finished) and isinstance(await second, Finished)
            assert len(small.asked) == 1
        await router.close()


def _slow(engine: FaultyEngine, request: GenerateRequest, number: int) -> object:
    return asyncio.sleep(10) if number == 0 else None


@virtually
async def test_a_group_that_no_engine_can_hold_is_divided() -> None:
    """Six calls that are waited for together; no engine has room for more than three."""
    engines = [FaultyEngine(latency=0.5) for _ in range(2)]
    router = Router("m", engines[0].tokenizer)
    for number, engine in enumerate(engines):
        spec = EngineSpec(name=f"e{number}", model="m", slots=3)
        router.register(spec.name, engine, spec)
    hints = Hints(group="maps", group_size=6, criteria=Criteria.THROUGHPUT)
    names = [new_context() for _ in range(6)]
    await router.fill([FillRequest(name, None, (*PROMPT, n)) for n, name in enumerate(names)])
    requests = [GenerateRequest(new_context(), name, LONG, hints=hints) for name in names]
    ends = asyncio.gather(*(last(router.generate(request)) for request in requests))
    await asyncio.sleep(0.1)
    assert [view.running for view in router.engines()] == [3, 3]
    assert all(isinstance(end, Finished) for end in await ends)
    await router.close()
