"""An engine that belongs to a core: it registers, beats, and comes back when it was forgotten."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from served import until
from yarl import URL

from parrotc.runtime.engines.config import CoreAddress
from parrotc.runtime.engines.http.listening import listening
from parrotc.runtime.engines.http.membership import member_of

ABOUT = {"name": "a", "model": "hash"}


class Core:
    """What a core says to an engine. `is_ill`: it answers with a 500."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.told: list[tuple[str, Any]] = []
        self.keys: set[str | None] = set()
        self.is_ill = False

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.told.append((request.path, body))
        self.keys.add(request.headers.get("Authorization"))
        if self.is_ill:
            return web.Response(status=500, text="oh")
        match request.path:
            case "/register_engine":
                name = f"e{len(self.told)}"
                self.known.add(name)
                return web.json_response({"engine_id": name})
            case "/unregister_engine":
                self.known.discard(body["engine_id"])
            case "/engine_heartbeat" if body["engine_id"] not in self.known:
                return web.json_response({"error": {"message": "no"}}, status=404)
        return web.json_response({})

    def count(self, path: str) -> int:
        return sum(asked == path for asked, _ in self.told)


@asynccontextmanager
async def running(core: Core, port: int = 0) -> AsyncIterator[CoreAddress]:
    app = web.Application()
    app.router.add_post("/{path}", core.answer)
    async with listening(app, "127.0.0.1", port, grace=0.1) as url:
        found = URL(url).port
        assert found is not None
        yield CoreAddress(host="127.0.0.1", port=found)


async def test_a_life() -> None:
    core = Core()
    async with running(core) as address:
        async with member_of(address, ABOUT, "http://here:1", beat=0.01):
            await until(lambda: core.count("/engine_heartbeat") > 2)
            assert core.told[0] == (
                "/register_engine",
                {"engine_config": ABOUT, "url": "http://here:1"},
            )
            assert core.count("/register_engine") == 1
        assert not core.known, "it said goodbye"


async def test_one_that_is_forgotten_registers_again() -> None:
    core = Core()
    async with running(core) as address, member_of(address, ABOUT, "u", beat=0.01):
        for times in (1, 2, 3):
            await until(lambda times=times: core.count("/register_engine") == times and core.known)
            core.known.clear()


async def test_the_core_may_come_later_and_be_ill() -> None:
    core = Core()
    async with running(core) as address:
        pass  # the port is free again
    async with member_of(address, ABOUT, "u", beat=0.01):
        await asyncio.sleep(0.05)
        core.is_ill = True
        async with running(core, address.port):
            await until(lambda: len(core.told) > 1)
            core.is_ill = False
            await until(lambda: bool(core.known))


async def test_the_key_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORE_KEY", "k-1")
    core = Core()
    async with running(core) as address:
        address = address.model_copy(update={"key_env": "CORE_KEY"})
        async with member_of(address, ABOUT, "u", beat=0.01):
            await until(lambda: bool(core.known))
    assert core.keys == {"Bearer k-1"}
