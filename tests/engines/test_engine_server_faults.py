"""Nothing that is asked ends an engine server, and nobody's mistake is anybody else's."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from random import Random

import aiohttp
import pytest
from fakes import finish
from served import Broken, Gated, Served, is_empty, served, until

from parrotc.runtime.engines.http.wire import CLIENT
from parrotc.runtime.engines.protocol import (
    EngineError,
    FillRequest,
    GenerateRequest,
    Sampling,
)

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
