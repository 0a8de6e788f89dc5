"""What an engine holds for a router is freed in the end, whatever comes between the two."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from faulty import FaultyEngine, once
from routed import LONG, Setting
from virtual import virtually

from parrotc.runtime.core.logical import LONG as LONG_CHAIN
from parrotc.runtime.engines.protocol import (
    ContextId,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)

SILENCE = 20  # seconds that a fill or a free may take
TURNS = 8  # of the loop, in which whatever is to meet meets


class Deaf(FaultyEngine):
    """Answers no free while it is `deaf`, and refuses it while it is `rude`. It takes `pause`
    seconds for one, and `farewell` seconds to give one up."""

    def __init__(self) -> None:
        super().__init__()
        self.deaf = self.rude = False
        self.pause = self.farewell = 0.0
        self.asked_to_free: list[int] = []  # how many contexts each time

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        self.asked_to_free.append(len(contexts))
        try:
            await asyncio.sleep(1e9 if self.deaf else self.pause)
        except asyncio.CancelledError:
            await asyncio.sleep(self.farewell)
            raise
        if self.rude:
            raise EngineError("internal", "not now")
        await super().free(contexts, dead)


async def _down(setting: Setting, engine: Deaf) -> None:
    """Have `engine` hold a context that is to be freed, and be down."""
    context = await setting.fill()
    engine.trick = once(lambda e, r, n: setattr(e, "dead", True), 1)
    work = asyncio.create_task(setting.run(context))
    await asyncio.sleep(1)
    assert [view.state for view in setting.router.engines()] == ["down"]
    work.cancel()
    await asyncio.wait([work])
    await setting.router.free([context])


@pytest.mark.parametrize("how", ["deaf", "rude"])
@virtually
async def test_what_could_not_be_freed_when_an_engine_came_back_is_freed_later(how: str) -> None:
    engine = Deaf()
    setting = Setting(engine, silence=SILENCE)
    await _down(setting, engine)
    setattr(engine, how, True)
    engine.dead = False
    await asyncio.sleep(60)
    assert [view.state for view in setting.router.engines()] == ["up"] and engine.contexts == 1
    setattr(engine, how, False)
    await asyncio.sleep(60)
    assert engine.contexts == 0
    await setting.close()


@virtually
async def test_what_is_dropped_while_an_engine_comes_back_is_freed() -> None:
    """Between the moment in which it is asked to free what it held, and that in which it is used
    again, somebody drops something else."""
    engine = Deaf()
    setting = Setting(engine, silence=SILENCE)
    await _down(setting, engine)
    engine.pause, engine.dead = 5.0, False
    while not engine.asked_to_free:
        await asyncio.sleep(0.1)
    await engine.inner.fill([FillRequest(-5, None, (1,))])
    setting.router._registry.members["e0"].discard(-5)
    await asyncio.sleep(60)
    assert engine.contexts == 0
    await setting.close()


@virtually
async def test_an_engine_is_removed_while_it_comes_back() -> None:
    """And takes its time to give up what it was asked to free."""
    engine = Deaf()
    setting = Setting(engine, silence=SILENCE)
    await _down(setting, engine)
    engine.deaf, engine.dead, engine.farewell = True, False, 1.0
    while not engine.asked_to_free:
        await asyncio.sleep(0.1)
    engine.deaf = False
    await setting.router.remove("e0")
    assert engine.contexts == 0
    await setting.close()


@virtually
async def test_what_could_not_be_freed_when_an_engine_registered_again_is_freed_later() -> None:
    engine = Deaf()
    setting = Setting(engine, silence=SILENCE)
    await setting.run(await setting.fill())
    engine.rude = True
    setting.router.register("e0", engine)
    await asyncio.sleep(10)
    assert engine.contexts
    engine.rude = False
    await asyncio.sleep(30)
    assert engine.contexts == 0
    await setting.close()


@virtually
async def test_an_engine_that_does_not_answer_is_not_asked_for_each_context() -> None:
    engine = Deaf()
    setting = Setting(engine, silence=SILENCE)
    contexts = [await setting.fill((n,)) for n in range(50)]
    await asyncio.gather(*(setting.run(context) for context in contexts))
    await setting.router.settle()
    engine.asked_to_free.clear()
    assert engine.contexts == 50
    engine.deaf = True
    await setting.router.free(contexts)
    await asyncio.sleep(4 * SILENCE)
    assert engine.asked_to_free and set(engine.asked_to_free) == {50}
    engine.deaf = False
    await asyncio.sleep(2 * SILENCE)
    assert engine.contexts == 0
    await setting.close()


class Noting(FaultyEngine):
    """Calls `then` so many turns of the loop after it has filled, or said its end."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.turns = turns
        self.then = lambda: None

    def _later(self, turns: int) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(*((self._later, turns - 1) if turns else (self.then,)))

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        await super().fill(requests)
        self._later(self.turns)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        async for item in super().generate(request):
            if isinstance(item, Finished):
                self._later(self.turns)
            yield item


@pytest.mark.parametrize("turns", range(TURNS))
@virtually
async def test_an_engine_leaves_in_any_moment(turns: int) -> None:
    """And goes on under another name, with all that the router did not free."""
    engine = Noting(turns)
    setting = Setting(engine)
    names = iter(("e0", "e1", "e2"))
    here = next(names)

    def leave() -> None:
        nonlocal here
        after = next(names, None)
        if after:
            registry = setting.router._registry
            registry._retire(registry.members[here], "a test says so")
            setting.router.register(after, engine)
            here = after

    engine.then = leave
    root = await setting.fill()
    context = await setting.fill(tuple(b" And then?"), root)
    await asyncio.gather(*(setting.run(context, replace(LONG, key=n)) for n in range(3)))
    assert here == "e2"
    await setting.close()


@virtually
async def test_an_end_that_is_none_leaves_no_context() -> None:
    class Garbling(FaultyEngine):
        async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
            async for item in super().generate(request):
                if isinstance(item, Finished) and len(self.asked) == 1:
                    item = replace(item, ids=(-1,))
                yield item

    setting = Setting(Garbling())
    await setting.run(await setting.fill())
    await setting.close()


@virtually
async def test_a_chain_is_not_joined_while_it_is_filled() -> None:
    """What is on its way to the engine is what it was when it was asked for."""
    setting = Setting(FaultyEngine())
    tree, member = setting.router._tree, setting.router._registry.members["e0"]
    chain = [await setting.fill((1,))]
    for token in range(2, 2 * LONG_CHAIN):
        chain.append(await setting.fill((token,), chain[-1]))
    middle, end = tree.named[chain[-LONG_CHAIN]], tree.named[chain[-1]]
    await setting.router.free(
        [name for name in chain if name not in (chain[-LONG_CHAIN], chain[-1])]
    )
    await member.ensure(middle.parent)
    filling = asyncio.create_task(member.ensure(middle))
    while "e0" not in middle.places:
        await asyncio.sleep(0)
    tree.shorten(end)
    await filling
    await setting.run(chain[-LONG_CHAIN])
    assert tree.shorten(end), "now it may"
    await setting.close()
