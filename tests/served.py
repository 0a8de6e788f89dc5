"""Engines behind a real server on a free port, for tests, and engines that misbehave."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from parrotc.runtime.engines.http.remote import RemoteEngine, open_remote
from parrotc.runtime.engines.http.server import EngineServer, ServerLimits, serving
from parrotc.runtime.engines.protocol import (
    ContextId,
    Engine,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.engines.reference import ReferenceEngine


@dataclass
class Served:
    """An engine that is served, and plain requests to its server."""

    engine: Engine
    url: str
    http: aiohttp.ClientSession

    async def post(self, path: str, data: Any = None, **options: Any) -> tuple[int, Any]:
        """The status of the answer, and what it says: the events, if it is lines of them."""
        return await self.ask("POST", path, data, **options)

    async def get(self, path: str) -> tuple[int, Any]:
        return await self.ask("GET", path)

    async def ask(
        self, method: str, path: str, data: Any = None, **options: Any
    ) -> tuple[int, Any]:
        if isinstance(data, bytes):
            options["data"] = data
        elif data is not None:
            options["json"] = data
        async with self.http.request(method, self.url + path, **options) as response:
            if response.content_type == "application/x-ndjson":
                lines = (await response.text()).splitlines()
                return response.status, [json.loads(line) for line in lines if line]
            assert response.content_type == "application/json", await response.text()
            return response.status, await response.json()

    async def remote(self) -> RemoteEngine:
        return await asyncio.to_thread(open_remote, self.url)

    async def contexts(self) -> int:
        return (await self.engine.ping()).contexts


@asynccontextmanager
async def served(engine: Engine | None = None, **limits: Any) -> AsyncIterator[Served]:
    engine = engine or ReferenceEngine()
    server = EngineServer(engine, limits=ServerLimits(**{"grace": 1.0, **limits}))
    async with aiohttp.ClientSession() as http, serving(server) as url:
        yield Served(engine, url, http)


async def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    """Wait until `condition`, which may be a coroutine function, holds."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.005)


class Gated(ReferenceEngine):
    """Its generations say one piece, and go on when `gate` is set; fills wait for `fills`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.fills = asyncio.Event()
        self.fills.set()
        self.open = 0  # generations that have begun and not ended
        self.asked = 0  # fills

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        self.asked += 1
        await self.fills.wait()
        await super().fill(requests)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        self.open += 1
        try:
            async for item in super().generate(request):
                yield item
                await self.gate.wait()
        finally:
            self.open -= 1


class Lazy(ReferenceEngine):
    """Early fills wait until they are hurried, for ever if need be."""

    def __init__(self) -> None:
        super().__init__()
        self.hurried: dict[ContextId, asyncio.Event] = {}

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        for request in requests:
            if request.early:
                await self.hurried.setdefault(request.context, asyncio.Event()).wait()
        await super().fill(requests)

    async def hurry(self, contexts: Sequence[ContextId]) -> None:
        for context in contexts:
            self.hurried[context].set()  # a KeyError for one that it does not have


class Broken(ReferenceEngine):
    """Has a bug that shows in what has the token, or draws with the key, `bad`."""

    def __init__(self, bad: int) -> None:
        super().__init__()
        self.bad = bad

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        if any(self.bad in request.ids for request in requests):
            raise ZeroDivisionError("a bug")
        await super().fill(requests)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        async for item in super().generate(request):
            yield item
            if request.sampling.key == self.bad:
                raise ZeroDivisionError("a bug")


async def is_empty(engine: Engine) -> bool:
    info = await engine.ping()
    return (info.contexts, info.cached_tokens, info.running, info.queued) == (0, 0, 0, 0)


async def rests(one: Served, contexts: int) -> bool:
    """Whether nothing goes on, and so many contexts are there."""
    info = await one.engine.ping()
    return (info.contexts, info.running, info.queued) == (contexts, 0, 0)


async def holds(one: Served, contexts: int) -> bool:
    return await one.contexts() == contexts
