"""Streams go as fast as their readers, and a slow reader holds up nobody."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from fronted import Front, fronted
from served import until

from parrotc.runtime.engines.http.listening import listening
from parrotc.runtime.engines.protocol import EngineError, Finished, GenerateRequest, Piece
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.server.openai.texts import Outbox
from parrotc.runtime.server.sse import Event, tell

CHAT = "/v1/chat/completions"


class Talkative(ReferenceEngine):
    """Says `pieces` pieces of 4 KB as fast as it can; then the end, or a fault."""

    def __init__(self, pieces: int, fault: EngineError | None = None) -> None:
        super().__init__()
        self.pieces = pieces
        self.ended = 0
        self._says_fault = fault

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        for _ in range(self.pieces):
            yield Piece("x" * 4096)
            await asyncio.sleep(0)
        if self._says_fault:
            raise self._says_fault
        self.ended += 1
        yield Finished("end", "x" * 4096 * self.pieces, (120,), 0)


def asked(front: Front, **more: Any) -> dict[str, Any]:
    return {"model": front.model, "messages": [{"role": "user", "content": "Hi"}], **more}


def slow_socket(front: Front) -> socket.socket:
    """A connection that takes little before somebody reads."""
    url = aiohttp.client.URL(front.url)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect((url.host, url.port))
    return slow


def http_request(path: str, body: dict[str, Any]) -> bytes:
    raw = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw


async def test_a_slow_reader_holds_up_nobody() -> None:
    """R4: it gets fewer and larger pieces, and others do not notice."""
    engine = Talkative(3000)  # 12 MB, far more than sockets hold
    async with fronted(engine) as front:
        slow = slow_socket(front)
        slow.sendall(http_request(CHAT, asked(front, stream=True)))
        await until(lambda: engine.ended == 1)  # the engine is done, whoever reads
        assert (await front.ask("POST", CHAT, asked(front)))[0] == 200
        reader, writer = await asyncio.open_connection(sock=slow, limit=1 << 26)
        text = events = 0
        async for line in reader:
            if line.startswith(b"data: {"):
                choices = json.loads(line[6:])["choices"]
                text += sum(len(choice["delta"].get("content", "")) for choice in choices)
                events += 1
            if line.startswith(b"data: [DONE]"):
                break
        writer.close()
        assert text == 3000 * 4096 and events < 1500


async def test_what_waits_for_a_reader_is_one_update_a_text() -> None:
    outbox = Outbox(2)
    for number in range(100):
        outbox.post(0, Piece(str(number)))
        outbox.post(1, Piece("y"))
    outbox.post(0, Finished("end", "", (), 0))
    assert len(outbox) == 2
    first, second = await outbox.next(), await outbox.next()
    assert (first.index, first.text, first.finished is not None) == (
        0, "".join(map(str, range(100))), True
    )  # fmt: skip
    assert (second.index, second.text, second.finished) == (1, "y" * 100, None)
    assert not outbox.is_over


async def test_a_fault_in_the_middle_is_the_last_event() -> None:
    engine = Talkative(2, EngineError("poison", "two engines died of it"))
    async with fronted(engine) as front, front.openai() as client:
        stream = await client.chat.completions.create(**asked(front), stream=True)
        with pytest.raises(Exception, match="two engines died of it"):
            async for _ in stream:
                pass


async def test_a_fault_before_the_first_word_is_a_status() -> None:
    engine = Talkative(0, EngineError("busy", "too many"))
    async with fronted(engine) as front:
        for stream in (True, False):
            status, answer = await front.ask("POST", CHAT, asked(front, stream=stream))
            assert (status, answer["error"]["code"]) == (429, "busy")


class Restarting(ReferenceEngine):
    """Says something, then begins anew; waits in between if `is_seen`."""

    def __init__(self, is_seen: bool) -> None:
        super().__init__()
        self.is_seen = is_seen

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        yield Piece("wrong")
        if self.is_seen:
            await asyncio.sleep(0.2)
        yield Piece("right", restart=True)
        yield Finished("end", "right", (1,), 1)


async def test_a_text_that_begins_anew() -> None:
    """Unseen it is as if it had never been; seen it cannot be taken back, and is an error."""
    async with fronted(Restarting(False)) as front:
        async with front.http.post(front.url + CHAT, json=asked(front, stream=True)) as response:
            text = await response.text()
        assert "right" in text and "wrong" not in text and "[DONE]" in text
    async with fronted(Restarting(True)) as front:
        async with front.http.post(front.url + CHAT, json=asked(front, stream=True)) as response:
            text = await response.text()
        assert "wrong" in text and '"code":"restart"' in text and "[DONE]" not in text
        _, answer = await front.ask("POST", CHAT, asked(front))
        assert answer["choices"][0]["message"]["content"] == "right"


# --- the stream itself ---


@asynccontextmanager
async def telling(
    events: AsyncGenerator[Event, None], **options: Any
) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await tell(request, events, **options)

    app = web.Application()
    app.router.add_get("/", handle)
    async with listening(app, "127.0.0.1", 0, grace=1) as url, aiohttp.ClientSession() as http:
        yield url, http


async def test_a_beat_while_nothing_happens() -> None:
    gate = asyncio.Event()

    async def events() -> AsyncGenerator[Event, None]:
        yield "a", "1"
        await gate.wait()
        yield "b", "2"

    async with telling(events(), beat=0.01) as (url, http), http.get(url) as response:
        line = b""
        while not line.startswith(b":"):
            line = await response.content.readline()
        gate.set()
        rest = await response.text()
    assert "event: b\ndata: 2\n\n" in rest


async def test_a_reader_that_takes_nothing_is_cut_off() -> None:
    ended = asyncio.Event()

    async def events() -> AsyncGenerator[Event, None]:
        try:
            while True:
                yield "a", "x" * 100_000
        finally:
            ended.set()

    async with telling(events(), patience=0.2) as (url, http), http.get(url):
        async with asyncio.timeout(10):
            await ended.wait()


async def test_what_makes_the_events_is_closed_when_the_reader_goes() -> None:
    ended = asyncio.Event()

    async def events() -> AsyncGenerator[Event, None]:
        try:
            yield "a", "1"
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async with telling(events()) as (url, http):
        async with http.get(url) as response:
            await response.content.readline()
            response.close()
        async with asyncio.timeout(10):
            await ended.wait()
