"""A router is an engine: its contexts, where they are computed, and that they go."""

import asyncio

import pytest
from faulty import FaultyEngine
from virtual import virtually

from parrotc.runtime.core.logical import LONG
from parrotc.runtime.core.router import Router
from parrotc.runtime.engines.protocol import (
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Hints,
    Hurrying,
    Sampling,
    new_context,
)
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.engines.simulated import CostModel, SimulatedEngine
from parrotc.runtime.engines.simulated import Limits as Sizes
from parrotc.runtime.scheduling.engines import EngineSpec
from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.scheduling.tasks import Criteria
from parrotc.runtime.tokenizer import ByteTokenizer

PROMPT = tuple(b"You are a parrot.")


def router_of(*engines: FaultyEngine, **config: object) -> Router:
    router = Router("m", ByteTokenizer(), config=SchedulerConfig(**config))
    for number, engine in enumerate(engines):
        router.register(f"e{number}", engine)
    return router


async def say(router: Router, parent: int, *, key: int = 0, **more: object) -> tuple[int, Finished]:
    sampling = Sampling(temperature=1.0, key=key, max_tokens=20)
    request = GenerateRequest(new_context(), parent, sampling, **more)
    *_, finished = [item async for item in router.generate(request)]
    assert isinstance(finished, Finished)
    return request.context, finished


async def filled(router: Router, ids: tuple[int, ...], parent: int | None = None, **more) -> int:
    name = new_context()
    await router.fill([FillRequest(name, parent, ids, **more)])
    return name


@virtually
async def test_a_context_is_computed_when_it_is_needed_and_once() -> None:
    engine = FaultyEngine(latency=1)
    router = router_of(engine)
    root = await filled(router, PROMPT)
    leaves = [await filled(router, (n,), root) for n in range(9)]
    assert engine.filled == []
    await asyncio.gather(*(say(router, leaf) for leaf in leaves))
    assert sorted(request.ids for request in engine.filled) == sorted(
        [PROMPT, *((n,) for n in range(9))]
    )
    first = engine.filled[:2]
    assert first[1].parent == first[0].context, "a chain is one message, parents first"
    await router.close()


@virtually
async def test_equal_tokens_are_one_context_within_a_salt() -> None:
    engine = FaultyEngine()
    router = router_of(engine)
    ends = []
    for ids, parent, salt in (
        ((*PROMPT, 5), None, "a"),
        ((5,), await filled(router, PROMPT, salt="a"), ""),
        ((*PROMPT, 5), None, "b"),
    ):
        ends.append(await say(router, await filled(router, ids, parent, salt=salt)))
    assert ends[0][1] == ends[1][1] == ends[2][1]
    assert [(request.ids, request.salt) for request in engine.filled] == [
        ((*PROMPT, 5), "a"), ((*PROMPT, 5), "b"),
    ]  # fmt: skip
    await router.close()


@virtually
async def test_what_the_plan_knows_of_the_future_is_told_to_engines() -> None:
    seen = []

    class Noting(FaultyEngine):
        async def free(self, contexts, dead: bool = False) -> None:
            seen.append(dead)
            await super().free(contexts, dead)

    engine = Noting()
    router = router_of(engine)
    root = await filled(router, PROMPT, next_use=3.0, pinned=True, shared=True)
    told, _ = await say(router, root)
    request = engine.filled[0]
    assert (request.next_use, request.pinned, request.shared) == (3.0, True, True)
    await router.free([told], dead=True)
    await router.settle()
    await router.free([root])
    await router.settle()
    assert seen == [True, False]
    await router.close()


@virtually
async def test_later_calls_find_what_is_there() -> None:
    """Also what a generation made, and though another engine has less to do."""
    engines = [FaultyEngine() for _ in range(4)]
    router = router_of(*engines)
    context = await filled(router, PROMPT)
    for _ in range(6):
        told, _ = await say(router, context)
        context = await filled(router, (9,), told)
    assert sorted(len(engine.asked) for engine in engines) == [0, 0, 0, 6]
    tokens = sum(len(request.ids) for engine in engines for request in engine.filled)
    assert tokens == len(PROMPT) + 5
    assert (await router.ping()).filled_tokens == tokens, "the scheduler knew what was there"
    await router.close()


@virtually
async def test_an_early_fill_goes_where_its_parent_is_and_only_there() -> None:
    engines = [FaultyEngine(), FaultyEngine()]
    router = router_of(*engines)
    root = await filled(router, PROMPT)
    await filled(router, (1,), root, early=True)
    await asyncio.sleep(1)
    assert [engine.filled for engine in engines] == [[], []], "its parent is nowhere"
    await say(router, root)
    early = await filled(router, (2,), root, early=True)
    await asyncio.sleep(1)
    (engine,) = (engine for engine in engines if engine.filled)
    assert [(request.ids, request.early) for request in engine.filled] == [
        (PROMPT, False), ((2,), True),
    ]  # fmt: skip
    await say(router, early)
    assert len(engine.filled) == 2
    await router.close()


@virtually
async def test_an_early_fill_that_is_needed_is_hurried() -> None:
    cost = CostModel(step=1.0, fill=0.0, row=0.0, read=0.0)
    engine = SimulatedEngine(cost=cost, limits=Sizes(early=1))
    router = Router("m", ByteTokenizer())
    assert isinstance(router, Hurrying)
    router.register("a", engine)
    root = await filled(router, PROMPT)
    keeping_busy = asyncio.create_task(say(router, root))
    await asyncio.sleep(2.5)
    early = await filled(router, (7,) * 100, root, early=True)
    await asyncio.sleep(1)
    begun = asyncio.get_running_loop().time()
    await say(router, early)
    assert asyncio.get_running_loop().time() - begun < 50
    await keeping_busy
    await router.close()


@virtually
async def test_a_long_talk_stays_a_short_chain() -> None:
    """However many rounds it has; and all of it can be computed again, from any point that
    somebody kept."""
    router = router_of(FaultyEngine())
    context, ids = await filled(router, PROMPT), PROMPT
    kept = {}
    for round in range(60):
        told, finished = await say(router, context, key=round)
        after = await filled(router, (round,), told)
        if round in (25, 26, 40):
            kept[context] = ids
        await router.free([told] if context in kept else [context, told])
        ids += (*finished.ids[: finished.kept], round)
        context = after
        assert len(list(router._tree.get(context).path())) <= LONG + 3 + 2 * len(kept)
    kept[context] = ids
    other = FaultyEngine()
    router.register("e0", other)
    for name, whole in kept.items():
        quiet = ReferenceEngine()
        await quiet.fill([FillRequest(1, None, whole)])
        told, finished = await say(router, name)
        assert finished == (await say(quiet, 1))[1]
        await router.free([name, told])
    await router.settle()
    assert len(router._tree) == 0 and other.contexts == 0
    await router.close()


@virtually
async def test_requests_that_make_no_sense() -> None:
    router = router_of(FaultyEngine())
    root = await filled(router, PROMPT)
    for requests, code in (
        ([FillRequest(root, None, (1,))], "invalid"),
        ([FillRequest(-1, None, (1,)), FillRequest(-1, None, (2,))], "invalid"),
        ([FillRequest(-1, None, (1,)), FillRequest(-2, -9, (2,))], "unknown_context"),
        ([FillRequest(-1, None, (999,))], "invalid"),
        ([FillRequest(-1, None, (-1,))], "invalid"),
        ([FillRequest(-1, None, (1,)), FillRequest(-2, -1, (1,) * 1_000_000)], "context_length"),
    ):
        with pytest.raises(EngineError) as caught:
            await router.fill(requests)
        assert caught.value.code == code
        assert len(router._tree) == 1, "all or none"
    for request, code in (
        (GenerateRequest(root, root, Sampling()), "invalid"),
        (GenerateRequest(-1, -9, Sampling()), "unknown_context"),
        (GenerateRequest(-1, root, Sampling(), hints=Hints(group_size=0)), "invalid"),
        (GenerateRequest(-1, root, Sampling(), hints=Hints(criteria=Criteria.TTFT)), "invalid"),
    ):
        with pytest.raises(EngineError) as caught:
            await anext(router.generate(request))
        assert caught.value.code == code
    with pytest.raises(EngineError) as caught:
        await router.free([-9])
    assert caught.value.code == "unknown_context"
    await router.free([root])
    assert len(router._tree) == 0 and not router._dispatcher.calls and not router._making
    await router.close()


@virtually
async def test_a_name_is_taken_while_it_is_generated() -> None:
    router = router_of(FaultyEngine(latency=1))
    root = await filled(router, PROMPT)
    request = GenerateRequest(-1, root, Sampling())
    first = asyncio.create_task(anext(router.generate(request)))
    await asyncio.sleep(0)
    with pytest.raises(EngineError, match="exists already"):
        await anext(router.generate(request))
    await first
    await router.close()


@virtually
async def test_too_many_wait() -> None:
    engine = FaultyEngine(latency=10)
    router = Router("m", ByteTokenizer(), config=SchedulerConfig(tenant_queue_limit=3))
    router.register("a", engine, EngineSpec(name="a", model="m", slots=1))
    root = await filled(router, PROMPT)
    work = [asyncio.create_task(say(router, root, hints=Hints(tenant="loud"))) for _ in range(6)]
    await asyncio.sleep(1)
    refused = [task for task in work if task.done()]
    assert len(refused) == 3
    for task in refused:
        error = task.exception()
        assert isinstance(error, EngineError) and error.code == "busy"
    await say(router, root, hints=Hints(tenant="quiet"))
    await asyncio.gather(*work, return_exceptions=True)
    assert sum(not task.exception() for task in work) == 3
    await router.close()


@virtually
async def test_a_prompt_without_room_for_an_answer() -> None:
    router = Router("m", ByteTokenizer(context_length=10))
    router.register("a", FaultyEngine())
    root = await filled(router, (5,) * 10)
    with pytest.raises(EngineError) as caught:
        await say(router, root)
    assert caught.value.code == "context_length"
    await router.close()


@virtually
async def test_clients_have_names_of_their_own_and_take_all_with_them() -> None:
    engine = FaultyEngine()
    router = router_of(engine)
    clients = [router.client(tenant=name, salt=name) for name in ("a", "b")]
    ends = []
    for number, client in enumerate(clients):
        await client.fill([FillRequest(1, None, PROMPT), FillRequest(2, 1, (number,))])
        request = GenerateRequest(3, 2, Sampling())
        ends += [item async for item in client.generate(request) if isinstance(item, Finished)]
    assert ends[0] != ends[1]
    assert {request.hints.tenant for request in engine.asked} == {"a", "b"}
    assert {request.salt for request in engine.filled if request.parent is None} == {"a", "b"}
    await clients[0].free([1])
    with pytest.raises(EngineError, match="there is no context 1"):
        await clients[0].fill([FillRequest(4, 1, ())])
    await clients[1].fill([FillRequest(4, 1, ())])
    for client in clients:
        await client.close()
        with pytest.raises(EngineError, match="closed"):
            await client.fill([FillRequest(9, None, ())])
    await router.settle()
    assert len(router._tree) == 0 and engine.contexts == 0
    await router.close()


@virtually
async def test_a_client_that_is_closed_while_it_generates() -> None:
    engine = FaultyEngine(latency=1)
    router = router_of(engine)
    client = router.client()
    await client.fill([FillRequest(1, None, PROMPT)])
    pieces = client.generate(GenerateRequest(2, 1, Sampling()))
    await anext(pieces)
    await client.close()
    async for _ in pieces:
        pass
    await router.settle()
    assert len(router._tree) == 0 and engine.contexts == 0
    await router.close()


@virtually
async def test_closing_ends_what_goes_on() -> None:
    engines = [FaultyEngine(latency=5), FaultyEngine(latency=5)]
    router = router_of(*engines)
    root = await filled(router, PROMPT)
    work = [asyncio.create_task(say(router, root, key=n)) for n in range(8)]
    await asyncio.sleep(7)
    await router.close()
    for end in await asyncio.gather(*work, return_exceptions=True):
        assert isinstance(end, EngineError) and end.code == "cancelled"
    assert [engine.contexts for engine in engines] == [0, 0]
    assert [engine.closed for engine in engines] == [1, 1]
    with pytest.raises(EngineError, match="closed"):
        await router.fill([FillRequest(-1, None, ())])
