"""An engine behind HTTP is the engine: the same tokens, and nobody's mistake is anybody else's."""

import asyncio
import gzip
import re
import shlex
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import aiohttp
import pytest
from aiohttp import web
from fakes import finish
from served import Broken, Gated, Lazy, Served, served, until

from parrotc.runtime.engines.http.client import Client, Room
from parrotc.runtime.engines.http.server import EngineServer, serving
from parrotc.runtime.engines.http.wire import CLIENT
from parrotc.runtime.engines.protocol import (
    Constraint,
    Engine,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
)
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.engines.registry import open_engine

CONSTRAINTS = [
    None,
    Constraint(choices=("one", "two", "three")),
    Constraint(choices=("yes", "no"), scored=True),
    Constraint(regex="[a-f]{3}"),
    Constraint(json_schema='{"type": "object", "properties": {"n": {"type": "integer"}}}'),
]


@pytest.fixture(params=["reference", "embedded"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    if request.param == "reference":
        yield ReferenceEngine()
        return
    folder: Path = request.getfixturevalue("tiny_folder")
    tiny = open_engine("embedded", str(folder), threads=1)
    yield tiny
    await tiny.close()


async def is_empty(engine: Engine) -> bool:
    info = await engine.ping()
    return (info.contexts, info.cached_tokens, info.running, info.queued) == (0, 0, 0, 0)


# --- the same tokens ---


async def test_what_is_said_over_http_is_what_is_said_in_process(engine: Engine) -> None:
    async with served(engine) as one:
        remote = await one.remote()
        fills = [FillRequest(1, None, tuple(range(20, 50))), FillRequest(2, 1, (60, 61))]
        asked = [
            GenerateRequest(10 + n, 2, Sampling(max_tokens=12, temperature=t, key=n), constraint)
            for n, (constraint, t) in enumerate((c, t) for c in CONSTRAINTS for t in (0.0, 0.9))
        ]
        said = []
        for here in (remote, engine):
            await here.fill(fills)
            said.append([await finish(here, request) for request in asked])
            await here.free([1, 2, *(request.context for request in asked)])
        for there, here in zip(*said, strict=True):
            assert replace(there, scores=()) == replace(here, scores=())
            assert [text for text, _ in there.scores] == [text for text, _ in here.scores]
            # batches differ, and so do roundings
            assert [p for _, p in there.scores] == pytest.approx(
                [p for _, p in here.scores], rel=1e-3
            )
        assert await is_empty(engine)
        assert remote.tokenizer.fingerprint == engine.tokenizer.fingerprint
        await remote.close()


async def test_a_hundred_generations_at_once(engine: Engine) -> None:
    async with served(engine) as one:
        remote = await one.remote()
        rng = Random(4)
        prompts = [
            tuple(rng.randrange(20, 250) for _ in range(rng.randrange(1, 9))) for _ in range(100)
        ]

        async def run(here: Engine, n: int) -> Finished:
            await here.fill([FillRequest(2 * n + 2, 1, prompts[n])])
            request = GenerateRequest(
                2 * n + 3, 2 * n + 2, Sampling(max_tokens=1 + n % 9, stop=(" I",))
            )
            finished = await finish(here, request)
            await here.free([2 * n + 2, 2 * n + 3])
            return finished

        said = []
        for here in (remote, engine):
            await here.fill([FillRequest(1, None, tuple(range(30, 60)))])
            said.append(await asyncio.gather(*(run(here, n) for n in range(100))))
            await here.free([1])
        assert said[0] == said[1]
        assert await is_empty(engine)
        await remote.close()


async def test_the_tokenizer_comes_along(tiny_folder: Path) -> None:
    engine = open_engine("embedded", str(tiny_folder), threads=1)
    async with served(engine) as one:
        remote = await one.remote()
        here, there = engine.tokenizer, remote.tokenizer
        for text in ("naïve café, 日本語", "<|im_end|> don't", " \n\n\tx"):
            assert there.encode(text) == here.encode(text)
            assert there.stable_prefix(text) == here.stable_prefix(text)
        assert (there.specials, there.eos, there.bos, there.vocab_size, there.context_length) == (
            here.specials, here.eos, here.bos, here.vocab_size, here.context_length,
        )  # fmt: skip
        await remote.close()
    await engine.close()


async def test_the_registry_opens_it() -> None:
    async with served() as one:
        for kind in ("remote", "http"):
            remote = await asyncio.to_thread(open_engine, kind, one.url, timeout=9.0)
            assert (await remote.ping()).engine == "reference"
            await remote.close()


# --- streams, and clients that go away ---


async def test_pieces_come_while_the_rest_is_not_there() -> None:
    engine = Gated()
    async with served(engine) as one:
        remote = await one.remote()
        await remote.fill([FillRequest(1, None, (5, 6, 8))])
        items = remote.generate(GenerateRequest(2, 1, Sampling(max_tokens=40)))
        first = await asyncio.wait_for(anext(items), 2)
        assert isinstance(first, Piece) and not engine.gate.is_set()
        engine.gate.set()
        *rest, finished = [item async for item in items]
        assert isinstance(finished, Finished)
        assert len(rest) > 1 and finished.text == "".join(p.text for p in [first, *rest])
        await remote.close()


async def test_closing_the_iterator_cancels(engine: Engine) -> None:
    async with served(engine) as one:
        remote = await one.remote()
        await remote.fill([FillRequest(1, None, (5, 6, 8))])
        for n in range(20):
            items = remote.generate(GenerateRequest(2 + n, 1, Sampling(max_tokens=150)))
            async for _ in items:
                break
            await items.aclose()
        await until(lambda: _is(one, 1))
        await remote.free([1])
        assert await is_empty(engine)
        await remote.close()


async def _is(one: Served, contexts: int) -> bool:
    info = await one.engine.ping()
    return (info.contexts, info.running, info.queued) == (contexts, 0, 0)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/generate", {"context": 2, "parent": 1, "sampling": {}}),
        ("/generate_stream", {"context": 2, "parent": 1, "sampling": {}}),
        (
            "/batch",
            [
                {"fill": {"context": 3, "parent": 1, "ids": [4]}},
                {"generate": {"context": 2, "parent": 3, "sampling": {}}},
            ],
        ),
    ],
)
async def test_a_client_that_goes_away_leaves_nothing(path: str, asked: object) -> None:
    engine = Gated()
    async with served(engine, beat=0.05) as one:
        await one.post("/fill", {"context": 1, "ids": [1, 2]})
        asking = asyncio.create_task(one.post(path, asked))
        await until(lambda: engine.open == 1)
        asking.cancel()
        await until(lambda: engine.open == 0)
        await until(lambda: _is(one, 1))
        engine.gate.set()
        status, _ = await one.post("/generate", {"context": 2, "parent": 1, "sampling": {}})
        assert status == 200, "the name can be used again"


async def test_a_fill_nobody_waits_for_leaves_nothing() -> None:
    engine = Gated()
    engine.fills.clear()
    async with served(engine) as one:
        remote = await one.remote()
        for asked, fill in enumerate(
            (
                remote.fill([FillRequest(1, None, (5,))]),
                one.post("/fill", {"context": 1, "text": "a"}),
            ),
            start=1,
        ):
            filling = asyncio.create_task(fill)
            await until(lambda asked=asked: engine.asked == asked)
            filling.cancel()
        await asyncio.sleep(0.2)  # the server has to hear that the plain client has gone
        engine.fills.set()
        await until(lambda: _has_filled(engine, 2))
        await until(lambda: _is(one, 0))
        await remote.close()


async def _has_filled(engine: Engine, tokens: int) -> bool:
    return (await engine.ping()).filled_tokens == tokens


async def test_cancel_from_another_connection() -> None:
    engine = Gated()
    async with served(engine, beat=0.05) as one:
        await one.post("/fill", {"context": 1, "text": "ab"})
        asking = asyncio.create_task(
            one.post("/generate_stream", {"context": 2, "parent": 1, "sampling": {}})
        )
        await until(lambda: engine.open == 1)
        assert await one.post("/cancel", [2, 7]) == (200, {})
        status, events = await asking
        assert (status, events[-1]["error"]["code"]) == (200, "cancelled")
        assert await one.post("/cancel", {"contexts": [1]}) == (200, {})
        assert await one.contexts() == 0


async def test_random_clients_with_cancellations_leave_nothing(engine: Engine) -> None:
    """Each context that a client believes it has is there, and what it frees is gone."""
    rng = Random(11)
    async with served(engine) as one:

        async def live(name: int) -> None:
            remote = await one.remote()
            own = [1]
            await remote.fill([FillRequest(1, None, tuple(range(20, 40)))])
            for context in range(2, 26):
                parent = rng.choice(own)
                match rng.randrange(4):
                    case 0:
                        await remote.fill([FillRequest(context, parent, (40 + context,))])
                        own.append(context)
                    case 1:
                        request = GenerateRequest(context, parent, Sampling(max_tokens=6))
                        await finish(remote, request)
                        own.append(context)
                    case 2:
                        items = remote.generate(GenerateRequest(context, parent, Sampling()))
                        for _ in range(rng.randrange(3)):
                            await anext(items, None)
                        await items.aclose()
                    case 3 if len(own) > 1:
                        own.remove(parent)
                        await remote.free([parent])
            if name % 2:
                await remote.free(own)
            await remote.close()

        await asyncio.gather(*map(live, range(6)))
        await until(lambda: is_empty(engine))


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
        await until(lambda: _is_held(one, 2))
        await asyncio.sleep(0.6)
        assert await one.contexts() == 2, "the remote engine keeps its own alive"
        engine.gate.set()
        assert (await asking)[0] == 200
        await finish(remote, GenerateRequest(2, 1, Sampling()))
        await remote.close()
        await until(lambda: _is_held(one, 0))


async def _is_held(one: Served, contexts: int) -> bool:
    return await one.contexts() == contexts


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
        await until(lambda: _is_held(one, 1))


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


# --- Parrot's requests ---


async def test_parrots_requests() -> None:
    """A context grows in place: fill, generate, fill, generate under one name."""
    base = {"pid": 0, "tid": 0, "context_id": 7, "parent_context_id": -1, "end_flag": False}
    config = {"temperature": 0.0, "max_gen_length": 6, "stop_str": None, "stop_token_ids": []}
    async with served() as one:
        assert await one.post("/fill", {**base, "token_ids": [97, 98], "text": None}) == (
            200, {"filled_len": 2},
        )  # fmt: skip
        assert (await one.post("/fill", {**base, "text": "cd"}))[1] == {"filled_len": 2}
        _, first = await one.post("/generate", {**base, "sampling_config": config})
        _, events = await one.post("/generate_stream", {**base, "sampling_config": config})
        second = events[-1]["finished"]
        fork = {**base, "context_id": 8, "parent_context_id": 7, "text": "!"}
        assert (await one.post("/fill", fork))[0] == 200

        alone = ReferenceEngine()
        await alone.fill([FillRequest(1, None, tuple(b"abcd"))])
        ends = []
        for n in (1, 2):
            ends.append(await finish(alone, GenerateRequest(n + 1, n, Sampling(max_tokens=6))))
        assert first == {"generated_text": ends[0].text, "generated_ids": list(ends[0].ids)}
        assert second["text"] == ends[1].text
        kept = ends[0].kept + ends[1].kept
        assert (await one.post("/free_context", {"context_id": 7}))[1] == {"context_len": 4 + kept}
        status, pong = await one.post("/ping", {})
        assert status == 200 and pong["pong"] is True
        assert pong["runtime_info"]["num_cached_tokens"] == 5 + kept
        await one.post("/free_context", {"context_id": 8})
        await until(lambda: _is_held(one, 0))


async def test_growing_requests_take_turns() -> None:
    async with served() as one:
        texts = [chr(97 + n) for n in range(12)]
        asked = [{"fill": {"context_id": 1, "text": text}} for text in texts]
        asked.append({"generate": {"context_id": 1, "sampling_config": {"max_gen_length": 9}}})
        _, events = await one.post("/batch", asked)
        alone = ReferenceEngine()
        await alone.fill([FillRequest(1, None, tuple("".join(texts).encode()))])
        finished = await finish(alone, GenerateRequest(2, 1, Sampling(max_tokens=9)))
        assert events[-1]["finished"]["text"] == finished.text
        await until(lambda: _is_held(one, 1))


# --- the page about it ---

PAGE = Path(__file__).parent.parent.parent / "docs" / "engine.md"


async def test_the_lines_of_the_page_work() -> None:
    lines = [shlex.split(one) for one in re.findall(r"^curl .*$", PAGE.read_text(), re.MULTILINE)]
    assert len(lines) >= 10
    async with served() as one:
        for _, address, *body in lines:
            path = address.removeprefix("localhost:9001")
            method, data = ("POST", body[1].encode()) if body else ("GET", None)
            status, answer = await one.ask(method, path, data)
            assert status == 200 and "error" not in str(answer), (path, answer)
        await until(lambda: _is_held(one, 0))


async def test_the_page_names_every_route() -> None:
    app = EngineServer(ReferenceEngine()).app()
    routes = {(r.method, r.resource.canonical) for r in app.router.routes() if r.resource}
    told = set(re.findall(r"`(GET|POST|DELETE) (/[^ `]*)`", PAGE.read_text()))
    told = {(method, path.replace("NAME", "{name}")) for method, path in told}
    assert {(m, p) for m, p in routes if m != "HEAD"} == told | {("POST", "/ping")}


# --- nothing that is asked ends the server ---

GOOD = {"context": 2, "parent": 1, "sampling": {}}
BAD = [
    ("POST", "/fill", b"", 400, "invalid"),
    ("POST", "/fill", b"\xff\xfe", 400, "invalid"),
    ("POST", "/fill", b"[" * 100_000, 400, "invalid"),
    ("POST", "/fill", {"context": 5, "parent": 99, "text": "a"}, 404, "unknown_context"),
    ("POST", "/fill", {"context": 1, "text": "a"}, 400, "invalid"),
    ("POST", "/fill", [{"context": 5, "text": "a"}] * 2, 400, "invalid"),
    ("POST", "/fill", {"context": 5, "ids": [999]}, 400, "invalid"),
    ("POST", "/fill", {"context": 5, "text": "a" * 1_000_001}, 400, "context_length"),
    ("POST", "/generate", {**GOOD, "parent": 99}, 404, "unknown_context"),
    ("POST", "/generate", {**GOOD, "parent": 3}, 400, "invalid"),
    ("POST", "/generate", {**GOOD, "context": 1}, 400, "invalid"),
    ("POST", "/generate", {**GOOD, "constraint": {"regex": "(?=a)"}}, 422, "constraint"),
    ("POST", "/generate_stream", {**GOOD, "parent": 99}, 404, "unknown_context"),
    ("POST", "/generate_stream", {**GOOD, "constraint": {"regex": "(?=a)"}}, 422, "constraint"),
    ("POST", "/generate_stream", {**GOOD, "sampling": {"max_tokens": 0}}, 400, "invalid"),
    ("POST", "/free_context", [99], 404, "unknown_context"),
    ("POST", "/free_context", [1, 99], 404, "unknown_context"),
    ("POST", "/free_context", {"context_id": None}, 400, "invalid"),
    ("POST", "/cancel", 5, 400, "invalid"),
    ("POST", "/hurry", "x", 400, "invalid"),
    ("POST", "/batch", {}, 400, "invalid"),
    ("POST", "/nothing", {}, 404, "invalid"),
    ("GET", "/fill", None, 405, "invalid"),
    ("PUT", "/ping", None, 405, "invalid"),
    ("DELETE", "/client/x", None, 404, "unknown_context"),
    ("POST", "/fill", b'{"context": 9, "text": "' + b"x" * 3_000_000 + b'"}', 413, "invalid"),
]


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    """With context 1 of two tokens and an empty context 3."""
    async with served(max_body=2 << 20) as one:
        await one.post("/fill", [{"context": 1, "text": "ab"}, {"context": 3, "ids": []}])
        yield one


async def is_well(one: Served) -> bool:
    status, _ = await one.get("/health")
    left = await one.contexts()
    status_2, _ = await one.post("/generate", {"context": 77, "parent": 1, "sampling": {}})
    await one.post("/free_context", [77])
    return (status, status_2, left) == (200, 200, 2)


async def test_bad_requests_are_refused_in_words(running: Served) -> None:
    for method, path, data, status, code in BAD:
        found, error = await running.ask(method, path, data)
        assert (found, error["code"]) == (status, code), (path, data, error)
        assert error["message"] and set(error) == {"code", "message"}
    assert await is_well(running)


async def test_random_requests_never_break_it(running: Served) -> None:
    rng = Random(5)
    words = ["context", "parent", "ids", "text", "sampling", "constraint", "fill", "generate"]
    words += ["free", "requests", "primitives", "context_id", "max_tokens", "stop", "regex", "key"]

    def value(depth: int) -> object:
        kind = rng.randrange(9 if depth else 7)
        leaves = [None, True, 1, -1, 2.5, "a", 10**30]
        if kind < 7:
            return leaves[kind]
        inner = [value(depth - 1) for _ in range(rng.randrange(4))]
        return inner if kind == 7 else {rng.choice(words): one for one in inner}

    for _ in range(400):
        path = rng.choice(["/fill", "/generate", "/generate_stream", "/batch", "/cancel", "/hurry"])
        status, _ = await running.post(path, value(4), headers={CLIENT: "x"})
        assert status < 500
    await running.ask("DELETE", "/client/x")
    assert await is_well(running)


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"POST /fill HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        b"POST /fill HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /fill HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{}",
        b"POST /fill HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /fill HTTP/1.1\r\nHost: x\r\nParrotc-Client: " + b"n" * 200
        + b'\r\nContent-Length: 26\r\n\r\n{"context": 5, "text": ""}',
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=range(7),
)  # fmt: skip
async def test_broken_http(running: Served, raw: bytes) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw)
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer
    assert await is_well(running)


async def test_a_body_that_grows_when_it_is_unpacked_is_too_large(running: Served) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    status, error = await running.post("/fill", bomb, headers={"Content-Encoding": "gzip"})
    assert status in (400, 413) and error["code"] == "invalid"
    assert await is_well(running)


async def test_a_bug_fails_the_request_that_met_it_and_no_other() -> None:
    bad = ord("b")
    async with served(Broken(bad)) as one:
        assert (await one.post("/fill", {"context": 1, "text": "a"}))[0] == 200
        status, error = await one.post("/fill", {"context": 2, "text": "b"})
        assert (status, error["code"]) == (500, "internal") and "a bug" in error["message"]
        good = one.post("/generate", {"context": 3, "parent": 1, "sampling": {}})
        wrong = {"context": 4, "parent": 1, "sampling": {"key": bad}}
        (status, _), (_, events) = await asyncio.gather(good, one.post("/generate_stream", wrong))
        assert status == 200 and events[-1]["error"]["code"] == "internal"
        assert (await one.post("/free_context", [1, 3]))[0] == 200
        assert await one.contexts() == 0


async def test_too_many_requests_are_told_to_come_back() -> None:
    engine = Gated()
    async with served(engine, max_requests=2, beat=0.05) as one:
        await one.post("/fill", {"context": 1, "text": "a"})
        asked = [{"context": n, "parent": 1, "sampling": {}} for n in (2, 3, 4)]
        running = [asyncio.create_task(one.post("/generate", ask)) for ask in asked[:2]]
        await until(lambda: engine.open == 2)
        async with one.http.post(one.url + "/generate", json=asked[2]) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "1")
            assert (await response.json())["code"] == "capacity"
        engine.gate.set()
        assert [(await one)[0] for one in running] == [200, 200]
        assert (await one.post("/generate", asked[2]))[0] == 200


async def test_a_server_that_is_stopped_lets_what_goes_on_end() -> None:
    engine = Gated()
    async with served(engine, beat=0.05) as one:
        remote = await one.remote()
        await remote.fill([FillRequest(1, None, (1,))])
        running = asyncio.create_task(finish(remote, GenerateRequest(2, 1, Sampling())))
        await until(lambda: engine.open == 1)
        asyncio.get_running_loop().call_later(0.3, engine.gate.set)
    assert (await running).text
    assert await is_empty(engine)
    with pytest.raises(EngineError) as caught:
        await remote.ping()
    assert caught.value.code == "unavailable"
    await remote.close()


async def test_a_server_that_is_stopped_does_not_wait_for_ever() -> None:
    engine = Gated()
    async with served(engine, beat=0.05, grace=0.2) as one:
        await one.post("/fill", {"context": 1, "text": "a"})
        running = asyncio.create_task(
            one.post("/generate_stream", {"context": 2, "parent": 1, "sampling": {}})
        )
        await until(lambda: engine.open == 1)
    assert engine.open == 0 and await is_empty(engine)
    with pytest.raises(aiohttp.ClientError):
        await running
