"""What engines refuse, calls that are given up, fills that fail: each is one call's own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from faulty import (
    FaultyEngine,
    dies,
    once,
)
from routed import LONG, PROMPT, Setting, last
from virtual import virtually

from parrotc.runtime.core.router import Router
from parrotc.runtime.engines.protocol import (
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    new_context,
)
from parrotc.runtime.scheduling.policies import SchedulerConfig

REFUSALS = ["context_length", "capacity", "invalid", "constraint"]


@pytest.mark.parametrize("code", REFUSALS)
@virtually
async def test_what_an_engine_refuses_is_no_fault_of_its(code: str) -> None:
    def refuses(engine: FaultyEngine, request: GenerateRequest, number: int) -> None:
        if request.sampling.key == 13:
            raise EngineError(code, "no")

    setting = Setting(FaultyEngine(refuses))
    context = await setting.fill()
    others = [asyncio.create_task(setting.run(context, replace(LONG, key=n))) for n in range(5)]
    with pytest.raises(EngineError, match="no") as caught:
        await setting.run(context, replace(LONG, key=13))
    assert caught.value.code == code
    assert [request.sampling.key for request in setting.engines[0].asked].count(13) == 1
    await asyncio.gather(*others)
    assert setting.router.engines()[0].strikes == 0
    await setting.close()


@virtually
async def test_an_engine_that_is_full_forgets_what_nobody_reads() -> None:
    setting = Setting(FaultyEngine())
    (engine,) = setting.engines
    idle, used = await setting.fill(), await setting.fill(tuple(b"Another"))
    await setting.run(idle)
    await setting.router.settle()
    assert engine.contexts == 1

    def full(engine: FaultyEngine, request: GenerateRequest, number: int) -> None:
        if engine.contexts > 1:
            raise EngineError("capacity", "there is no room")

    engine.trick = full
    await setting.run(used)
    await setting.router.settle()
    assert engine.contexts == 1
    engine.trick = None
    await setting.run(idle)
    await setting.close()


@virtually
async def test_a_busy_engine_is_asked_again() -> None:
    def busy(engine: FaultyEngine, request: GenerateRequest, number: int) -> None:
        raise EngineError("busy", "later")

    setting = Setting(FaultyEngine(once(busy, 0)))
    await setting.run(await setting.fill())
    assert setting.router.engines()[0].strikes == 0
    await setting.close()


@virtually
async def test_a_fill_that_fails_takes_no_other_with_it() -> None:
    """A shared prefix is filled together with what only one call needs, and that is refused."""

    class Picky(FaultyEngine):
        async def fill(self, requests: Sequence[FillRequest]) -> None:
            await asyncio.sleep(1)
            if any(request.ids == (7,) for request in requests):
                raise EngineError("invalid", "seven")
            await super().fill(requests)

    setting = Setting(Picky())
    shared = await setting.fill()
    bad = await setting.fill((7,), shared)
    good = [await setting.fill((n,), shared) for n in range(5)]
    work = [asyncio.create_task(setting.run(name)) for name in (bad, *good)]
    ends = await asyncio.gather(*work, return_exceptions=True)
    assert isinstance(ends[0], EngineError) and ends[0].code == "invalid"
    assert all(isinstance(end, Finished) for end in ends[1:])
    assert [request.ids for request in setting.engines[0].filled].count(PROMPT) == 1
    await setting.close()


@virtually
async def test_a_fill_that_hangs_is_done_elsewhere() -> None:
    class Stuck(FaultyEngine):
        async def fill(self, requests: Sequence[FillRequest]) -> None:
            await asyncio.sleep(1e9)

    setting = Setting(Stuck(), FaultyEngine(), silence=5)
    await asyncio.gather(*[setting.run(await setting.fill((n,))) for n in range(8)])
    await setting.close()


@pytest.mark.parametrize("moment", [0.0, 0.2, 0.7, 1.0])
@virtually
async def test_a_call_that_is_cancelled_leaves_nothing(moment: float) -> None:
    """While it waits, is filled, is begun, or speaks."""
    setting = Setting(FaultyEngine(latency=0.5), FaultyEngine(latency=0.5))
    contexts = [await setting.fill((n,)) for n in range(6)]
    work = [asyncio.create_task(setting.run(context)) for context in contexts]
    await asyncio.sleep(moment)
    for task in work[::2]:
        task.cancel()
    ends = await asyncio.gather(*work, return_exceptions=True)
    assert [isinstance(end, Finished) for end in ends] == [False, True] * 3
    await setting.close()


@virtually
async def test_a_fill_goes_on_when_the_call_that_began_it_is_cancelled() -> None:
    """Others wait for it."""

    class Slow(FaultyEngine):
        async def fill(self, requests: Sequence[FillRequest]) -> None:
            await asyncio.sleep(10)
            await super().fill(requests)

    setting = Setting(Slow())
    context = await setting.fill()
    first, second = (asyncio.create_task(setting.run(context)) for _ in "12")
    await asyncio.sleep(5)
    first.cancel()
    await second
    assert len(setting.engines[0].filled) == 1
    assert asyncio.get_running_loop().time() < 12
    await setting.close()


@virtually
async def test_a_generation_that_is_closed_is_gone_at_once() -> None:
    setting = Setting(FaultyEngine())
    items = setting.router.generate(GenerateRequest(new_context(), await setting.fill(), LONG))
    await anext(items)
    assert (await setting.engines[0].ping()).running == 1
    await items.aclose()
    assert (await setting.engines[0].ping()).running == 0
    await setting.close()


@virtually
async def test_what_an_engine_says_is_closed_with_its_end() -> None:
    """And not by the garbage collector, some turns of the loop later."""
    closed = []

    class Told(FaultyEngine):
        async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
            items = super().generate(request)
            try:
                async for item in items:
                    yield item
            finally:
                closed.append(request)
                await items.aclose()

    setting = Setting(Told())
    request = GenerateRequest(new_context(), await setting.fill(), LONG)
    async for _ in setting.router.generate(request):
        assert not closed
    assert len(closed) == 1
    await setting.close()


@virtually
async def test_an_engine_goes_in_the_moment_in_which_it_is_chosen() -> None:
    old, new = FaultyEngine(), FaultyEngine()
    setting = Setting(old)
    request = GenerateRequest(new_context(), await setting.fill(), LONG)
    work = asyncio.create_task(last(setting.router.generate(request)))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(setting.router.register, "e0", new)
    await work
    assert (len(old.asked), len(new.asked)) == (0, 1)
    await setting.close()


@virtually
async def test_engines_that_tell_no_ids() -> None:
    """They cannot be gone on from, but what they say again is not told again."""

    class Silent(FaultyEngine):
        async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
            assert not request.said
            items = super().generate(request)
            try:
                async for item in items:
                    yield Piece(item.text) if isinstance(item, Piece) else item
            finally:
                await items.aclose()

    setting = Setting(Silent(once(dies, 2)), Silent())
    await setting.run(await setting.fill())
    assert not any(piece.restart for piece in setting.pieces)
    await setting.close()


@virtually
async def test_no_engine_for_a_while_and_for_good() -> None:
    config = SchedulerConfig(grace=20)
    engine = FaultyEngine(once(dies, 0))
    router = Router("m", engine.tokenizer, config=config)
    await router.fill([FillRequest(-1, None, PROMPT)])
    with pytest.raises(EngineError) as caught:
        await last(router.generate(GenerateRequest(-2, -1, LONG)))
    assert caught.value.code == "unavailable", "there has never been one"
    router.register("a", engine)
    begun = asyncio.get_running_loop().time()
    with pytest.raises(EngineError) as caught:
        await last(router.generate(GenerateRequest(-2, -1, LONG)))
    assert caught.value.code == "unavailable"
    assert 20 <= asyncio.get_running_loop().time() - begun < 25
    await router.free([-1])
    await router.close()
