"""The client's side alone: servers that are not there, go away, fall silent or talk nonsense."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from fakes import finish
from served import Gated, served, until

from parrotc.runtime.engines.http import remote as remotes
from parrotc.runtime.engines.http.handshake import Handshake
from parrotc.runtime.engines.http.remote import RemoteEngine, open_remote
from parrotc.runtime.engines.protocol import EngineError, FillRequest, GenerateRequest, Sampling
from parrotc.runtime.models import ModelError
from parrotc.runtime.plan import ChatTemplate
from parrotc.runtime.tokenizer import ByteTokenizer, Tokenizer

FILL = FillRequest(1, None, (1,))
GENERATE = GenerateRequest(2, 1, Sampling())


@asynccontextmanager
async def impostor(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], timeout: float = 5.0
) -> AsyncIterator[RemoteEngine]:
    """A remote engine whose server answers everything with `answer`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    handshake = Handshake.of(ByteTokenizer(), None, lease=60.0)
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    engine = RemoteEngine(url, handshake, timeout=timeout)
    yield engine
    await engine.close()
    await runner.cleanup()


async def failures(engine: RemoteEngine) -> list[str]:
    """The codes with which a fill, a generation, a ping and a free fail."""
    codes = []
    for work in (engine.fill([FILL]), finish(engine, GENERATE), engine.ping(), engine.free([1])):
        with pytest.raises(EngineError) as caught:
            await asyncio.wait_for(work, 5)
        codes.append(caught.value.code)
    return codes


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("body", [b"nonsense\n", b"5\n", b'"x"\n', b"\xff\n", b"[]\n"])
async def test_nonsense(status: int, body: bytes) -> None:
    async def answer(request: web.Request) -> web.Response:
        nothing_is_read = request.path == "/free_context"
        return web.Response(status=500 if nothing_is_read else status, body=body)

    async with impostor(answer) as engine:
        assert await failures(engine) == ["internal"] * 4


async def test_an_end_that_is_no_end() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b'{"finished": {"reason": "stop"}}\n')

    async with impostor(answer) as engine:
        with pytest.raises(EngineError, match="not well formed") as caught:
            await finish(engine, GENERATE)
        assert caught.value.code == "internal"


async def test_an_error_comes_with_its_code_and_words() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"code": "capacity", "message": "full"}, status=429)

    async with impostor(answer) as engine:
        with pytest.raises(EngineError, match=r"^full$"):
            await engine.fill([FILL])
        assert await failures(engine) == ["capacity"] * 4


async def test_a_server_that_hangs_up() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with impostor(answer) as engine:
        assert await failures(engine) == ["unavailable"] * 4


async def test_a_stream_that_breaks_off() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"piece": {"text": "a"}}\n')
        if request.path == "/generate_stream":
            assert request.transport is not None
            request.transport.abort()
        return response

    async with impostor(answer) as engine:
        items = engine.generate(GENERATE)
        assert (await anext(items)).text == "a"
        with pytest.raises(EngineError) as caught:
            await anext(items)
        assert caught.value.code == "unavailable"


async def test_a_stream_that_ends_without_an_end() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b'{"piece": {"text": "a"}}\n')

    async with impostor(answer) as engine:
        with pytest.raises(EngineError, match="broke off") as caught:
            await finish(engine, GENERATE)
        assert caught.value.code == "unavailable"


async def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotes, "_SILENCE", 0.1)
    monkeypatch.setattr(remotes, "_GOODBYE", 0.1)

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with impostor(answer) as engine:
        assert await failures(engine) == ["unavailable"] * 4


async def test_what_takes_longer_than_it_may_ends() -> None:
    """Though the server is alive: it sends its beat."""
    gated = Gated()
    async with served(gated, beat=0.02) as one:
        engine = await asyncio.to_thread(open_remote, one.url, timeout=0.4)
        await engine.fill([FILL])
        with pytest.raises(EngineError, match="does not answer") as caught:
            await finish(engine, GENERATE)
        assert caught.value.code == "unavailable"
        await until(lambda: gated.open == 0)
        await engine.close()


async def test_a_slow_engine_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than silence is: that is what the beat is for."""
    monkeypatch.setattr(remotes, "_SILENCE", 0.3)
    gated = Gated()
    gated.fills.clear()
    async with served(gated, beat=0.05) as one:
        engine = await one.remote()
        filling = asyncio.create_task(engine.fill([FILL]))
        await asyncio.sleep(0.8)
        gated.fills.set()
        await filling
        running = asyncio.create_task(finish(engine, GENERATE))
        await asyncio.sleep(0.8)
        gated.gate.set()
        assert (await running).text
        await engine.close()


# --- the first exchange ---


@pytest.mark.parametrize("url", ["localhost:1", "ftp://x", "", "http://"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ModelError, match="not the address of an engine"):
        open_remote(url)


@pytest.mark.parametrize("url", ["http://f\x1d\x8c", "http://[1", "http://a b/", "http://x:y"])
def test_what_looks_like_an_address_and_is_none(url: str) -> None:
    with pytest.raises(ModelError):
        open_remote(url)


def test_nobody_there() -> None:
    with pytest.raises(ModelError, match="cannot be reached") as caught:
        open_remote("http://127.0.0.1:1")
    assert "parrotc engine" in caught.value.help


async def test_somebody_else_there() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"<html>")

    async with impostor(answer) as engine:
        with pytest.raises(ModelError, match="not that of an engine"):
            await asyncio.to_thread(open_remote, engine._url)


def test_a_handshake_comes_through(small) -> None:
    tokenizer: Tokenizer = small("smollm")
    template = ChatTemplate("{{ messages }}", bos="<s>", now="2026-01-01T00:00:00")
    said = Handshake.of(tokenizer, template, lease=5.0)
    heard = Handshake.from_json(said.to_json())
    assert heard == said
    made = heard.make_tokenizer()
    assert made.fingerprint == tokenizer.fingerprint
    assert made.encode("Hello, wörld <|im_end|>") == tokenizer.encode("Hello, wörld <|im_end|>")


def test_the_tokenizer_of_the_reference_engine_is_known() -> None:
    said = Handshake.of(ByteTokenizer(), None, lease=5.0)
    assert said.template == ChatTemplate(ByteTokenizer.template)
    assert isinstance(said.make_tokenizer(), ByteTokenizer)
    with pytest.raises(ValueError, match="bytes"):
        Handshake("another", None, (), 5, 1.0).make_tokenizer()
    with pytest.raises(ModelError, match="cannot be used"):
        RemoteEngine("http://x", Handshake("f", "{}", (), 5, 1.0))
