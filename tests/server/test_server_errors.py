"""Whatever a client sends, the answer is JSON with a code, and the server is there afterwards."""

import gzip
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from fronted import Front, fronted

from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.source import Source, Span
from parrotc.runtime.core.errors import Busy, Failed, Invalid
from parrotc.runtime.engines.protocol import EngineError
from parrotc.runtime.server.middleware import refusal_of
from parrotc.runtime.server.refusals import Refusal

CHAT = "/v1/chat/completions"
SECRET = "the-secret-of-somebody"


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    async with fronted(max_body=100_000) as front:
        yield front


def asked(front: Front, **more: Any) -> dict[str, Any]:
    return {"model": front.model, "messages": [{"role": "user", "content": "Hi"}], **more}


async def test_request_ids(front: Front) -> None:
    async def answered(given: str | None) -> str:
        headers = {} if given is None else {"X-Request-Id": given}
        async with front.http.get(f"{front.url}/health", headers=headers) as response:
            return response.headers["X-Request-Id"]

    assert await answered("mine:1.2-3_4") == "mine:1.2-3_4"
    made = await answered(None)
    assert len(made) == 32 and made != await answered(None)
    for strange in ("x" * 129, "a b", 'a"b', "é"):
        assert await answered(strange) != strange
    async with front.http.post(
        front.url + CHAT, json=asked(front, stream=True), headers={"X-Request-Id": "streamed"}
    ) as response:
        assert response.headers["X-Request-Id"] == "streamed"
        await response.read()


@pytest.mark.parametrize(
    ("method", "path", "data", "status", "code"),
    [
        ("GET", "/nothing/here", None, 404, "not_found"),
        ("PATCH", CHAT, None, 405, "method_not_allowed"),
        ("POST", CHAT, b"{", 400, "invalid_json"),
        ("POST", CHAT, b"\xff\xfe", 400, "invalid_json"),
        ("POST", CHAT, b"[" * 90_000, 400, "invalid_json"),
        ("POST", CHAT, b"", 400, "invalid"),
        ("POST", CHAT, b"[]", 400, "invalid"),
        ("POST", CHAT, b"x" * 100_001, 413, "too_large"),
        ("POST", CHAT, b'{"model": NaN}', 400, "invalid"),
    ],
)
async def test_what_is_no_request(
    front: Front, method: str, path: str, data: bytes | None, status: int, code: str
) -> None:
    found, answer = await front.ask(method, path, data)
    assert (found, answer["error"]["code"]) == (status, code), answer
    assert answer["error"]["message"]
    assert (await front.ask("GET", "/health"))[0] == 200


async def test_a_405_says_what_is_allowed(front: Front) -> None:
    async with front.http.put(front.url + CHAT) as response:
        assert response.headers["Allow"] == "POST"


async def test_an_unknown_field_is_named_and_its_value_is_not(front: Front) -> None:
    status, answer = await front.ask("POST", CHAT, asked(front, tempratur=SECRET))
    assert status == 400 and answer["error"]["param"] == "tempratur"
    assert "`tempratur`" in answer["error"]["message"]
    assert "temperature" in answer["error"]["help"]
    assert SECRET not in json.dumps(answer)


async def test_a_broken_compression(front: Front) -> None:
    raw = gzip.compress(json.dumps(asked(front)).encode())
    headers = {"Content-Encoding": "gzip"}
    assert (await front.ask("POST", CHAT, raw, headers=headers))[0] == 200
    assert (await front.ask("POST", CHAT, raw[:30], headers=headers))[0] == 400
    bomb = gzip.compress(b" " * 10_000_000)
    assert (await front.ask("POST", CHAT, bomb, headers=headers))[0] == 413


async def test_a_client_that_stops_in_the_middle(front: Front) -> None:
    _, writer = await aiohttp_connection(front)
    writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n{{".encode())
    await writer.drain()
    writer.close()
    assert (await front.ask("GET", "/health"))[0] == 200


async def aiohttp_connection(front: Front) -> Any:
    import asyncio

    url = aiohttp.client.URL(front.url)
    return await asyncio.open_connection(url.host, url.port)


async def test_what_nobody_foresaw_is_told_by_an_id(
    front: Front, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(front.core, "models", broken)
    with caplog.at_level(logging.ERROR):
        status, answer = await front.ask("GET", "/v1/models", headers={"X-Request-Id": "bug-7"})
    assert status == 500 and answer["error"]["code"] == "internal"
    assert "bug-7" in answer["error"]["message"] and SECRET not in json.dumps(answer)
    (record,) = caplog.records
    assert "bug-7" in record.getMessage() and record.exc_info is not None
    assert (await front.ask("GET", "/health"))[0] == 200


async def test_too_many_is_a_429_that_says_when() -> None:
    async with fronted(max_sessions_num=2) as front:
        first, _ = await front.parrot(), await front.parrot()
        async with front.http.post(f"{front.url}/v1/session", json={}) as response:
            assert response.status == 429 and int(response.headers["Retry-After"]) >= 1
            assert (await response.json())["error"]["type"] == "rate_limit_error"
        await first.ask("DELETE", f"/v1/session/{first.session_id}", {})
        await front.parrot()


# --- errors as answers ---

SPAN = Span(Source("plan", "flow f():\n    return g()\n"), 21, 24)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (EngineError("busy", "x"), 429, "busy"),
        (EngineError("unavailable", "x"), 503, "unavailable"),
        (EngineError("context_length", "x"), 400, "context_length_exceeded"),
        (EngineError("poison", "x"), 500, "poison"),
        (EngineError("internal", SECRET), 500, "internal"),
        (Busy("x", retry_after=2.4), 429, "busy"),
        (Invalid("x"), 400, "invalid"),
        (Failed("x", diagnostic=Diagnostic("E0605", "y", SPAN)), 422, "E0605"),
        (ValueError(SECRET), 500, "internal"),
    ],
)
def test_errors(error: Exception, status: int, code: str) -> None:
    refusal = refusal_of(error)
    assert (refusal.status, refusal.code) == (status, code)
    assert SECRET not in json.dumps(refusal.to_json())


def test_later_is_said_in_seconds() -> None:
    assert refusal_of(Busy("x", retry_after=2.4)).headers == {"Retry-After": "3"}
    assert refusal_of(EngineError("busy", "x")).headers == {"Retry-After": "1"}


def test_the_place_of_a_fault() -> None:
    refusal = refusal_of(Failed("x", diagnostic=Diagnostic("E0605", "y", SPAN, help="z")))
    told = refusal.to_json()["error"]
    assert told["span"] == {"source": "plan", "line": 2, "column": 12, "start": 21, "end": 24}
    assert told["help"] == "z"


@pytest.mark.parametrize(
    ("status", "type_"),
    [(400, "invalid_request_error"), (401, "authentication_error"), (429, "rate_limit_error"),
     (503, "server_error")],
)  # fmt: skip
def test_whose_fault_it_is(status: int, type_: str) -> None:
    assert Refusal(status, "x", "y").to_json()["error"]["type"] == type_
