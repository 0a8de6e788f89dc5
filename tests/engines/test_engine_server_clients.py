"""Clients of one engine server: what is whose, how long it lasts, and in which order it is done."""

import asyncio
from collections.abc import Sequence

import aiohttp
import pytest
from aiohttp import web
from fakes import finish
from served import Gated, Lazy, holds, is_empty, served, until

from parrotc.runtime.engines.http.client import Client, Room
from parrotc.runtime.engines.http.server import EngineServer, serving
from parrotc.runtime.engines.http.wire import CLIENT
from parrotc.runtime.engines.protocol import (
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
)
from parrotc.runtime.engines.reference import ReferenceEngine

# --- clients ---


async def test_clients_do_not_see_each_other() -> None:
    async with served() as one:
        a, b = {CLIENT: "a"}, {CLIENT: "b"}
        await one.post("/fill", {"context": 1, "text": "aaa"}, headers=a)
        status, error = await one.post("/fill", {"context": 2, "parent": 1, "text": "x"}, headers=b)
        assert (status, error["code"]) == (404, "unknown_context")
        assert (await one.post("/free_context", [1], headers=b))[0] == 404
        assert (await one.post("/fill", {"context": 1, "text": "b"}, headers=b))[0] == 200
        ask = {"context": 2, "parent": 1, "sampling": {"max_tokens": 30}}
        said = [(await one.post("/generate", ask, headers=h))[1]["text"] for h in (a, b)]
        assert said[0] != said[1]
        assert await one.ask("DELETE", "/client/a") == (200, {})
        assert await one.contexts() == 2
        assert (await one.ask("DELETE", "/client/a"))[0] == 404
        assert (await one.post("/free_context", [1, 2], headers=b))[1]["context_len"] >= 1
        assert await one.contexts() == 0


async def test_a_silent_client_loses_its_contexts_and_a_waiting_one_does_not() -> None:
    engine = Gated()
    async with served(engine, lease=0.2, beat=0.05) as one:
        await one.post("/fill", {"context": 1, "text": "a"}, headers={CLIENT: "silent"})
        await one.post("/fill", {"context": 1, "text": "a"}, headers={CLIENT: "waiting"})
        remote = await one.remote()
        await remote.fill([FillRequest(1, None, (1,))])
        asking = asyncio.create_task(
            one.post(
                "/generate",
                {"context": 2, "parent": 1, "sampling": {}},
                headers={CLIENT: "waiting"},
            )
        )
        await until(lambda: holds(one, 2))
        await asyncio.sleep(0.6)
        assert await one.contexts() == 2, "the remote engine keeps its own alive"
        engine.gate.set()
        assert (await asking)[0] == 200
        await finish(remote, GenerateRequest(2, 1, Sampling()))
        await remote.close()
        await until(lambda: holds(one, 0))


async def test_a_closed_remote_engine_leaves_nothing_and_does_nothing() -> None:
    engine = Gated()
    async with served(engine, beat=0.05) as one:
        remote = await one.remote()
        await remote.fill([FillRequest(1, None, (1,))])
        running = asyncio.create_task(finish(remote, GenerateRequest(2, 1, Sampling())))
        await until(lambda: engine.open == 1)
        await remote.close()
        await remote.close()
        with pytest.raises(EngineError) as caught:
            await running
        assert caught.value.code == "cancelled"
        assert await one.contexts() == 0
        with pytest.raises(EngineError) as caught:
            await remote.ping()
        assert caught.value.code == "cancelled"


async def test_another_tokenizer_is_noticed() -> None:
    async with served() as one:
        remote = await one.remote()
        remote.tokenizer.fingerprint = "of another model"
        with pytest.raises(EngineError, match="another tokenizer"):
            await remote.fill([FillRequest(1, None, (1,))])
        await remote.close()


# --- order ---


async def test_who_continues_what_is_being_made_waits() -> None:
    engine = Gated()
    engine.gate.set()
    engine.fills.clear()
    async with served(engine) as one:
        filling = asyncio.create_task(one.post("/fill", {"context": 1, "text": "abc"}))
        await asyncio.sleep(0.05)
        later = asyncio.create_task(
            one.post("/generate", {"context": 2, "parent": 1, "sampling": {}})
        )
        await asyncio.sleep(0.05)
        status, error = await one.post("/fill", {"context": 1, "text": "x"})
        assert (status, error["message"]) == (400, "context 1 exists already")
        engine.fills.set()
        assert [(await filling)[0], (await later)[0]] == [200, 200]


async def test_a_context_that_is_read_is_freed_afterwards() -> None:
    engine = Gated()
    async with served(engine, beat=0.05) as one:
        await one.post("/fill", {"context": 1, "text": "abc"})
        asking = asyncio.create_task(
            one.post("/generate", {"context": 2, "parent": 1, "sampling": {}})
        )
        await until(lambda: engine.open == 1)
        assert await one.post("/free_context", [1]) == (200, {"context_len": 3})
        assert (await one.post("/free_context", [1]))[0] == 404
        engine.gate.set()
        assert (await asking)[0] == 200
        await until(lambda: holds(one, 1))


async def test_a_free_that_comes_later_takes_nothing_from_what_came_before() -> None:
    """Even if nothing has been begun when it comes."""
    async with served() as one:
        await one.post("/fill", {"context": 1, "text": "abc"})
        client = Client(one.engine, iter(range(1000, 2000)).__next__, Room(9))
        items: asyncio.Queue = asyncio.Queue()
        await client.fill([FillRequest(1, None, (1, 2))])
        freeing = asyncio.create_task(client.free([1]))
        client.generate(GenerateRequest(2, 1, Sampling()), items.put_nowait)
        await freeing
        while isinstance(item := await items.get(), Piece):
            pass
        assert isinstance(item, Finished)
        await client.close()
        assert await one.contexts() == 1


async def test_the_engine_hears_what_is_dead() -> None:
    """From a client far away, from a batch, and of what goes later because somebody reads it."""

    class Hearing(ReferenceEngine):
        def __init__(self) -> None:
            super().__init__(latency=0.01)
            self.freed: list[tuple[int, bool]] = []

        async def free(self, contexts: Sequence[int], dead: bool = False) -> None:
            self.freed.append((len(contexts), dead))
            await super().free(contexts, dead)

    engine = Hearing()
    async with served(engine) as one:
        remote = await one.remote()
        await remote.fill([FillRequest(n, None, (n,)) for n in range(1, 6)])
        await remote.free([1, 2], dead=True)
        await remote.free([3])
        assert engine.freed == [(2, True), (1, False)]
        talk = asyncio.create_task(finish(remote, GenerateRequest(9, 4, Sampling(max_tokens=2))))
        await until(lambda: engine._running)
        await remote.free([4], dead=True)
        await talk
        await until(lambda: (1, True) in engine.freed)
        await one.post("/fill", {"context": 1, "text": "a"})
        await one.post("/batch", [{"free": {"contexts": [1], "dead": True}}])
        assert engine.freed[-1] == (1, True)
        await remote.close()


async def test_who_grows_waits_for_the_last_of_those_before() -> None:
    engine = Gated()
    client = Client(engine, iter(range(1000, 2000)).__next__, Room(9))

    def fill(token: int) -> "asyncio.Task[int]":
        return client.fill([FillRequest(1, None, (token,))], grows=True)

    first, second = fill(5), fill(6)
    await first
    engine.fills.clear()
    await until(lambda: engine.asked == 2)
    third = fill(7)
    await asyncio.sleep(0.05)
    assert not second.done() and engine.asked == 2, "the third waits for the second"
    engine.fills.set()
    await asyncio.gather(second, third)
    assert (await engine.ping()).cached_tokens == 3
    assert await client.free([1]) == 3
    await client.close()
    assert await is_empty(engine)


async def test_nothing_is_kept_of_clients_that_have_nothing() -> None:
    server = EngineServer(ReferenceEngine())
    async with serving(server) as url, aiohttp.ClientSession() as http:
        for n in range(20):
            headers = {CLIENT: str(n)}
            await http.post(url + "/free_context", json=[1], headers=headers)
            await http.post(url + "/fill", json={"context": 1, "text": "a"}, headers=headers)
            assert len(server._clients._entries) == 1
            await http.post(url + "/free_context", json=[1], headers=headers)
            assert len(server._clients._entries) == 0


async def test_a_fill_that_is_late_is_hurried_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = EngineServer._batch

    async def late(self: EngineServer, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return await batch(self, request)

    monkeypatch.setattr(EngineServer, "_batch", late)
    async with served(Lazy(), beat=0.05) as one:
        remote = await one.remote()
        filling = asyncio.create_task(remote.fill([FillRequest(1, None, (1,), early=True)]))
        await asyncio.sleep(0)
        await asyncio.wait_for(remote.hurry([1]), 5)
        await asyncio.wait_for(filling, 5)
        await remote.close()


async def test_early_fills_wait_until_they_are_hurried() -> None:
    engine = Lazy()
    async with served(engine, beat=0.05) as one:
        remote = await one.remote()
        first = FillRequest(1, None, (1,), early=True)
        filling = [asyncio.create_task(remote.fill([first]))]
        await asyncio.sleep(0)
        # at once: the fill may still be on its way to the server
        await asyncio.wait_for(remote.hurry([1, 99]), 5)
        await asyncio.wait_for(filling[0], 5)
        chain = [FillRequest(n, n - 1, (n,), early=True) for n in (2, 3)]
        for request in chain:  # the second waits at the server for the first
            filling.append(asyncio.create_task(remote.fill([request])))
            await asyncio.sleep(0.1)
        assert not filling[1].done()
        await remote.hurry([2, 3])
        await asyncio.wait_for(asyncio.gather(*filling), 5)
        await remote.hurry([1, 2, 3])
        assert await one.contexts() == 3
        await remote.close()


async def test_a_batch_is_a_chain_and_a_group() -> None:
    async with served() as one:
        asked = [
            {"fill": [{"context": 1, "text": "ab"}, {"context": 2, "parent": 1, "text": "c"}]},
            {"generate": {"context": 3, "parent": 2, "sampling": {"max_tokens": 8}}},
            {"fill": {"context": 4, "parent": 3, "text": " and"}},
            {"generate": {"context": 5, "parent": 4, "sampling": {"max_tokens": 8}}},
            {"generate": {"context": 6, "parent": 9, "sampling": {}}},
            {"free": [1, 2, 3, 4, 5]},
        ]
        status, events = await one.post("/batch", {"primitives": asked})
        assert status == 200
        ends = {event["index"]: event for event in events if "piece" not in event}
        assert ends[0] == {"index": 0, "filled_len": 3}
        assert ends[2] == {"index": 2, "filled_len": 4}
        assert ends[4]["error"]["code"] == "unknown_context"
        alone = ReferenceEngine()
        kept = ends[1]["finished"]["ids"][: ends[1]["finished"]["kept"]]
        await alone.fill([FillRequest(1, None, (*b"abc", *kept, *b" and"))])
        finished = await finish(alone, GenerateRequest(2, 1, Sampling(max_tokens=8)))
        assert ends[3]["finished"]["text"] == finished.text
        assert ends[5]["context_len"] == 7 + len(kept) + ends[3]["finished"]["kept"]
        assert await one.contexts() == 0
