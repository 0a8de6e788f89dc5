"""What a client had made at an engine elsewhere goes, though the word of it may be lost."""

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from served import Gated, served, until

from parrotc.runtime.engines.http import remote, wire
from parrotc.runtime.engines.http.handshake import Handshake
from parrotc.runtime.engines.http.remote import RemoteEngine
from parrotc.runtime.engines.protocol import (
    ContextId,
    EngineError,
    FillRequest,
    GenerateRequest,
    Sampling,
)
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.tokenizer import ByteTokenizer


class Slow(ReferenceEngine):
    """Frees when it is told that it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_free = asyncio.Event()
        self.is_freeing = False

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        self.is_freeing = True
        await self.may_free.wait()
        await super().free(contexts, dead)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/free_context", {"contexts": [1, 2]}),
        ("POST", "/cancel", {"contexts": [1, 2]}),
        ("DELETE", "/client/me", None),
    ],
)
async def test_a_client_that_goes_while_its_contexts_are_freed(
    method: str, path: str, body: Any
) -> None:
    """Their names are gone by then, so nobody could ask for them again."""
    engine = Slow()
    async with served(engine) as one:
        headers = {wire.CLIENT: "me"}
        for name in (1, 2):
            asked = {"context": name, "ids": [65]}
            assert (await one.post("/fill", asked, headers=headers))[0] == 200
        assert await one.contexts() == 2
        async with aiohttp.ClientSession(headers=headers) as leaving:
            asking = asyncio.create_task(leaving.request(method, one.url + path, json=body))
            await until(lambda: engine.is_freeing)
            asking.cancel()
        await asyncio.sleep(0.1)  # until the server has noticed
        engine.may_free.set()
        await until(lambda: _is_empty(engine))


async def test_a_client_that_says_goodbye_and_goes_while_it_fills() -> None:
    """Nobody waits for the end of that but the server."""
    engine = Gated()
    engine.fills.clear()
    async with served(engine) as one:
        headers = {wire.CLIENT: "me"}
        asked = {"context": 1, "ids": [65]}
        filling = asyncio.create_task(one.post("/fill", asked, headers=headers))
        await until(lambda: engine.asked)
        async with aiohttp.ClientSession() as leaving:
            asking = asyncio.create_task(leaving.delete(f"{one.url}/client/me"))
            await asyncio.sleep(0.1)  # until the server has begun
            asking.cancel()
        await asyncio.sleep(0.1)  # until it has noticed
        engine.fills.set()
        await filling
        await until(lambda: _is_empty(engine))


async def _is_empty(engine: ReferenceEngine) -> bool:
    return (await engine.ping()).contexts == 0


class Stopped:
    """A server that answers a generation with `said`, and hears of nothing else `deaf` times."""

    def __init__(self, said: bytes, deaf: int) -> None:
        self.said, self.deaf = said, deaf
        self.cancelled: list[Any] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/cancel" and not self.deaf:
            self.cancelled.append((await request.json())["contexts"])
            return web.json_response({})
        response = web.StreamResponse()
        if request.path == "/generate_stream":
            await response.prepare(request)
            await response.write(self.said)
        else:
            self.deaf -= 1
        assert request.transport is not None
        request.transport.close()
        return response


@pytest.mark.parametrize(
    ("said", "code"),
    [(b'{"piece": {"text": "a"}}\n', "unavailable"), (b"what is this\n", "internal")],
)
async def test_what_nobody_knows_the_end_of_is_cancelled_until_the_server_hears(
    said: bytes, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_PAUSE", 0.01)
    server = Stopped(said, deaf=3)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    engine = RemoteEngine(
        f"http://127.0.0.1:{runner.addresses[0][1]}", Handshake.of(ByteTokenizer(), None, 60.0)
    )
    with pytest.raises(EngineError) as caught:
        async for _ in engine.generate(GenerateRequest(7, 1, Sampling())):
            pass
    assert caught.value.code == code
    await until(lambda: server.cancelled)
    assert server.cancelled == [[7]]
    await engine.close()
    await runner.cleanup()


async def test_a_client_that_is_closed_cancels_no_more() -> None:
    """Whoever closes it need not wait for a server that is gone."""
    engine = RemoteEngine("http://127.0.0.1:9", Handshake.of(ByteTokenizer(), None, 60.0))
    with pytest.raises(EngineError):
        await engine.fill([FillRequest(1, None, (65,))])
    assert engine._tasks
    await engine.close()
    await asyncio.sleep(0)
    assert not engine._tasks
