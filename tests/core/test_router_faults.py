"""Whatever happens to an engine, its calls end elsewhere as they would have there."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from faulty import (
    FaultyEngine,
    Trick,
    babbles,
    crashes,
    dies,
    disconnects,
    fails,
    forgets,
    hangs,
    lies,
    once,
)
from routed import LONG, PROMPT, Setting
from virtual import virtually

from parrotc.runtime.core.router import Router
from parrotc.runtime.engines.protocol import (
    Constraint,
    ContextId,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)

FAULTS: dict[str, Trick] = {
    "dies": dies,
    "fails": fails,
    "crashes": crashes,
    "disconnects": disconnects,
    "hangs": hangs,
    "forgets": forgets,
    "answers garbage": babbles,
}


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@virtually
async def test_an_engine_has_a_fault_in_the_middle_of_a_text(fault: Trick, at: int) -> None:
    setting = Setting(FaultyEngine(once(fault, at)), FaultyEngine(), silence=60)
    context = await setting.fill()
    finished = await setting.run(context)
    assert len(finished.ids) >= 30
    assert not any(piece.restart for piece in setting.pieces)
    again = [request for engine in setting.engines for request in engine.asked][-1]
    told = sum(len(piece.ids) for piece in setting.pieces[:at])
    assert again.said == finished.ids[: max(0, told - 1)], "but the last, which is drawn again"
    await setting.close()


@virtually
async def test_an_engine_says_something_else_than_before() -> None:
    """It contradicts itself at the end, and what it said is void."""
    setting = Setting(FaultyEngine(once(lies, 1)), FaultyEngine())
    await setting.run(await setting.fill())
    assert [piece.restart for piece in setting.pieces].count(True) == 1
    await setting.close()


@pytest.mark.parametrize(
    "more",
    [
        {"sampling": replace(LONG, logprobs=2)},
        {"constraint": Constraint(choices=("one of several", "another"), scored=True)},
    ],
    ids=["logprobs", "scored"],
)
@virtually
async def test_a_generation_that_cannot_go_on_begins_again(more: dict[str, object]) -> None:
    """And the caller hears nothing of it, as long as the same comes out."""
    setting = Setting(FaultyEngine(once(dies, 1)), FaultyEngine())
    await setting.run(await setting.fill(), **more)
    assert not any(piece.restart for piece in setting.pieces)
    assert all(not request.said for engine in setting.engines for request in engine.asked)
    await setting.close()


@virtually
async def test_an_engine_that_tells_no_ids_and_another_text_restarts() -> None:
    """Two engines that disagree, neither of which can go on where the other was."""

    class Mumbling(FaultyEngine):
        async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
            yield Piece("Once upon")
            if not self.dead:
                self.dead = True
                raise EngineError("unavailable", "gone")

    quiet = FaultyEngine()
    router = Router("m", quiet.tokenizer)
    router.register("bad", Mumbling())
    await router.fill([FillRequest(-1, None, PROMPT)])
    pieces = router.generate(GenerateRequest(-2, -1, LONG))
    assert await anext(pieces) == Piece("Once upon")
    router.register("good", quiet)
    first = await anext(pieces)
    assert isinstance(first, Piece) and first.restart
    text = first.text
    async for item in pieces:
        text = item.text if isinstance(item, Finished) else text + item.text
    assert text.startswith(first.text) and len(text) > len(first.text)
    assert (await router.ping()).counters["restarts"] == 1
    await router.close()


@virtually
async def test_all_calls_of_a_dead_engine_go_on_elsewhere() -> None:
    setting = Setting(FaultyEngine(latency=0.5), FaultyEngine(latency=0.5))
    shared = await setting.fill()
    contexts = [await setting.fill(tuple(f" And {n}".encode()), shared) for n in range(12)]
    work = [asyncio.create_task(setting.run(context)) for context in contexts]
    await asyncio.sleep(0.8)
    busy = [view.running for view in setting.router.engines()]
    setting.engines[busy.index(max(busy))].die()
    await asyncio.gather(*work)
    await setting.close()


@virtually
async def test_a_dead_engine_comes_back_when_it_answers() -> None:
    setting = Setting(FaultyEngine(once(dies, 1)))
    context = await setting.fill()
    work = asyncio.create_task(setting.run(context))
    await asyncio.sleep(1)
    assert [view.state for view in setting.router.engines()] == ["down"]
    assert "connection refused" in setting.router.engines()[0].cause
    setting.engines[0].revive()
    await work
    assert [view.state for view in setting.router.engines()] == ["up"]
    await setting.close()


@virtually
async def test_what_an_engine_still_held_when_it_comes_back_is_freed() -> None:
    """It was only not to be reached."""
    setting = Setting(FaultyEngine(), FaultyEngine())
    context = await setting.fill()
    await setting.run(context)
    held = next(engine for engine in setting.engines if engine.contexts)
    held.trick = once(dies, 0)
    await setting.run(context)
    held.dead = False
    await asyncio.sleep(30)
    assert held.contexts == 0
    await setting.close()


@virtually
async def test_a_call_of_which_engines_die_fails_with_its_cause() -> None:
    def poison(engine: FaultyEngine, request: GenerateRequest, number: int) -> None:
        if request.sampling.key == 13:
            engine.die()

    setting = Setting(*(FaultyEngine(poison) for _ in range(3)))
    context = await setting.fill()
    with pytest.raises(EngineError, match=r"2 engines died .*connection refused") as caught:
        await setting.run(context, replace(LONG, key=13))
    assert caught.value.code == "poison"
    assert [engine.dead for engine in setting.engines].count(True) == 2
    await setting.run(context)
    await setting.close()


@virtually
async def test_a_fault_that_every_engine_has_is_told_after_some_attempts() -> None:
    setting = Setting(FaultyEngine(fails), FaultyEngine(fails), attempts=3)
    context = await setting.fill()
    begun = asyncio.get_running_loop().time()
    with pytest.raises(EngineError, match=r"3 attempts failed.*no usable numbers") as caught:
        await setting.run(context)
    assert caught.value.code == "internal"
    assert sum(len(engine.asked) for engine in setting.engines) == 3
    assert asyncio.get_running_loop().time() - begun >= 0.3, "with a pause before each"
    assert {view.state for view in setting.router.engines()} == {"up"}
    await setting.close()


@virtually
async def test_an_engine_with_nothing_but_faults_is_left_alone_for_a_while() -> None:
    setting = Setting(FaultyEngine(fails), FaultyEngine(), strikes=3)
    context = await setting.fill()
    await asyncio.gather(*(setting.run(context, replace(LONG, key=n)) for n in range(20)))
    asked = len(setting.engines[0].asked)
    await asyncio.gather(*(setting.run(context, replace(LONG, key=n)) for n in range(20)))
    assert asked <= 20 and len(setting.engines[0].asked) <= asked + 3
    await setting.close()


@virtually
async def test_a_retry_goes_to_another_engine() -> None:
    """Though the first one has the prompt."""
    setting = Setting(FaultyEngine(), FaultyEngine())
    context = await setting.fill()
    await setting.run(context)
    used = next(engine for engine in setting.engines if engine.asked)
    other = next(engine for engine in setting.engines if not engine.asked)
    used.trick = fails
    await setting.run(context)
    assert (len(used.asked), len(other.asked)) == (2, 1)
    await setting.close()


class Leaving(FaultyEngine):
    """Is taken over by `other` in the moment in which it says the item number `at`, or has filled,
    where that is -1."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.leave = lambda: None

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        await super().fill(requests)
        if self.at == -1:
            self.leave()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        number = 0
        async for item in super().generate(request):
            if number == self.at or (isinstance(item, Finished) and self.at == LAST):
                self.leave()
            number += 1
            yield item


LAST = 1 << 30


@pytest.mark.parametrize("at", [-1, 0, 1, LAST], ids=["fill", "first", "second", "end"])
@virtually
async def test_an_engine_leaves_in_the_moment_in_which_it_answers(at: int) -> None:
    """What it says then is nobody's any more: the call has begun to wait for another engine."""
    engine, other = Leaving(at), FaultyEngine()
    setting = Setting(engine)
    setting.engines = (engine, other)
    engine.leave = lambda: setting.router.register("e0", other)
    context = await setting.fill()
    finished = await setting.run(context)
    assert len(finished.ids) >= 30 and len(other.asked) == 1
    await setting.close()


@virtually
async def test_a_caller_who_leaves_before_it_is_told_the_end_leaves_nothing() -> None:
    """Though the engine has ended, and all that was missing was to say so."""

    class Terse(FaultyEngine):
        async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
            async for item in super().generate(request):
                if isinstance(item, Finished):
                    yield item

    setting = Setting(Terse())
    context = await setting.fill()
    items = setting.router.generate(GenerateRequest(-2, context, LONG))
    assert isinstance(await anext(items), Piece)
    await items.aclose()
    assert (await setting.router.ping()).contexts == 1
    await setting.close()


@virtually
async def test_an_engine_that_goes_while_it_is_asked_to_free_keeps_nothing() -> None:
    class Stuck(FaultyEngine):
        stuck = True

        async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
            if dead and self.stuck:
                await asyncio.sleep(1e9)
            await super().free(contexts, dead)

    engine = Stuck()
    setting = Setting(engine)
    context = await setting.fill()
    asked = [GenerateRequest(-n, context, replace(LONG, key=n)) for n in (2, 3)]
    for request in asked:
        async for _ in setting.router.generate(request):
            pass
    await setting.router.free([-2], dead=True)
    await setting.router.free([-3])
    await asyncio.sleep(1)
    engine.stuck = False
    await setting.router.remove("e0")
    await setting.close()
