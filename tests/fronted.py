"""A core on one engine of ours behind HTTP, on a free port, for tests; and plain requests to it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from queue import Queue
from threading import Thread
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from fakes import finish

from parrotc.program import counting
from parrotc.runtime.core.config import CoreConfig
from parrotc.runtime.core.core import ServeCore, Services
from parrotc.runtime.core.engines import Opened
from parrotc.runtime.core.sessions import Clock
from parrotc.runtime.engines.config import EngineConfig
from parrotc.runtime.engines.http.listening import listening
from parrotc.runtime.engines.protocol import FillRequest, GenerateRequest, Sampling, new_context
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.plan import ChatTemplate
from parrotc.runtime.server.app import ROUTES, make_app
from parrotc.runtime.server.routes import SESSION, TOKEN
from parrotc.runtime.tokenizer import ByteTokenizer
from parrotc.served import compile_template


@dataclass
class Parrot:
    """A client with a session, which says who it is in every body, as Parrot's do."""

    front: "Front"
    session_id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {SESSION: self.session_id, TOKEN: self.token}

    async def ask(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        who = {"session_id": self.session_id, "session_auth": self.token}
        return await self.front.ask(method, path, {**who, **body})

    async def call(self, template: str, parameters: list[dict[str, Any]]) -> Any:
        body = {"template": template, "parameters": parameters}
        status, taken = await self.ask("POST", "/v1/semantic_call", body)
        assert status == 200, taken
        return taken

    async def output(self, template: str, parameters: list[dict[str, Any]]) -> str:
        """The variable of the first output of a call."""
        taken = await self.call(template, parameters)
        return next(one["var_id"] for one in taken["param_info"] if one["is_output"])


@dataclass
class Front:
    """`engine` is the one that the core has; `model` is what it is called."""

    core: ServeCore
    engine: Any
    app: web.Application
    url: str
    http: aiohttp.ClientSession
    model: str = "reference"

    @property
    def routes(self) -> list[tuple[str, str]]:
        return [(route.method, route.path) for route in self.app[ROUTES]]

    def openai(self, key: str = "none") -> Any:
        """The real client; a test that asks for it is skipped where that is not installed."""
        openai = pytest.importorskip("openai")
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    async def parrot(self, key: str | None = None) -> Parrot:
        status, opened = await self.ask("POST", "/v1/session", {"api_key": key})
        assert status == 200, opened
        return Parrot(self, opened["session_id"], opened["session_auth"])

    async def ask(
        self, method: str, path: str, data: Any = None, **options: Any
    ) -> tuple[int, Any]:
        """The status, and the JSON that every answer is."""
        if isinstance(data, bytes):
            options["data"] = data
        elif data is not None:
            options["json"] = data
        async with self.http.request(method, self.url + path, **options) as response:
            assert response.content_type == "application/json", await response.text()
            return response.status, json.loads(await response.read())

    async def says(self, prompt: str) -> str:
        """What the reference model says after `prompt`, with the tokens of ChatML."""
        engine = ReferenceEngine()
        specials = engine.tokenizer.specials
        ids: list[int] = []
        while prompt:
            special = next((text for text in specials if prompt.startswith(text)), "")
            ids += [specials[special]] if special else prompt[0].encode()
            prompt = prompt[len(special) or 1 :]
        fill, name = new_context(), new_context()
        await engine.fill([FillRequest(fill, None, tuple(ids))])
        sampling = Sampling(max_tokens=1 << 20)
        return (await finish(engine, GenerateRequest(name, fill, sampling))).text

    async def is_empty(self) -> bool:
        return (await self.engine.ping()).contexts == 0


def core_on(engine: Any, *, clock: Clock = time.time, **config: Any) -> ServeCore:
    """A core that will open `engine`. `config` are its settings."""
    template = ChatTemplate(ByteTokenizer.template)
    services = Services(compile_template, lambda config: Opened(engine, template), counting)
    engines = (EngineConfig(engine="reference", name="one"),)
    return ServeCore(CoreConfig(engines=engines, **config), services, clock=clock)


@asynccontextmanager
async def fronted(engine: Any = None, **config: Any) -> AsyncIterator[Front]:
    engine = engine or ReferenceEngine()
    core = core_on(engine, **config)
    await core.start()
    app = make_app(core)
    try:
        async with (
            aiohttp.ClientSession() as http,
            listening(app, "127.0.0.1", 0, grace=1) as url,
        ):
            yield Front(core, engine, app, url, http)
    finally:
        await core.close()


@dataclass
class ThreadedFront:
    """A core behind HTTP in a thread of its own, for clients that block. `session` are the headers
    of an open session, `routes` the method and path of each route."""

    url: str
    routes: list[tuple[str, str]]
    session: dict[str, str]


@contextmanager
def threaded(key: str | None = None, **config: Any) -> Iterator[ThreadedFront]:
    """`key` opens its session, where the core wants one."""
    ready: Queue[ThreadedFront] = Queue()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def run() -> None:
        async with fronted(**config) as front:
            parrot = await front.parrot(key)
            ready.put(ThreadedFront(front.url, front.routes, parrot.headers))
            await over.wait()

    thread = Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        yield ready.get(timeout=30)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
