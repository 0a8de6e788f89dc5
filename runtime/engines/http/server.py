"""An engine behind HTTP: any object that implements `Engine`, for any number of clients.

    async with serving(EngineServer(engine), port=9001) as url: …

`docs/engine.md` describes the routes. Answers are JSON, and errors too: `{"code", "message"}` with
a status that says whose fault it is. What takes long is answered as lines of JSON, one event each,
with a blank line now and then while nothing happens, so that both sides notice when the other has
gone. A request whose client has gone is cancelled, and leaves no context.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, TypeVar

from aiohttp import web

from parrotc.runtime.engines.http import wire
from parrotc.runtime.engines.http.client import Client
from parrotc.runtime.engines.http.clients import Clients
from parrotc.runtime.engines.http.events import Event, Events, abandoning, start
from parrotc.runtime.engines.http.handshake import Handshake
from parrotc.runtime.engines.http.listening import listening
from parrotc.runtime.engines.protocol import Engine, EngineError, EngineInfo, Finished, Piece
from parrotc.runtime.plan import ChatTemplate

_log = logging.getLogger(__name__)
T = TypeVar("T")

_LONGEST_NAME = 128
_LARGE = 1 << 16  # bytes: bodies above are read on another thread, so that others need not wait
_PATIENCE = 10.0  # seconds that an engine has to answer a ping before it counts as ill
_STATUS = {
    "invalid": 400,
    "context_length": 400,
    "unknown_context": 404,
    "cancelled": 409,
    "constraint": 422,
    "capacity": 429,
    "busy": 429,
    "unavailable": 503,
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Times are in seconds. A client is forgotten after `lease` without a request; a blank line is
    sent after `beat` without an event; a server that is stopped waits `grace` for what goes on."""

    max_requests: int = 1024  # fills and generations at the same time
    max_body: int = 16 << 20  # bytes
    lease: float = 600.0
    beat: float = 5.0
    grace: float = 10.0


class EngineServer:
    """`template` is the model's chat template, for clients that compile for this engine.
    `random_seed` begins the keys of sampled generations that bring none."""

    def __init__(
        self,
        engine: Engine,
        *,
        template: ChatTemplate | None = None,
        limits: ServerLimits | None = None,
        random_seed: int = 0,
    ) -> None:
        self.limits = limits or ServerLimits()
        self._engine = engine
        self._clients = Clients(
            engine, most_requests=self.limits.max_requests, lease=self.limits.lease
        )
        self._reader = wire.Reader(engine.tokenizer, Random(random_seed))
        self._handshake = Handshake.of(engine.tokenizer, template, self.limits.lease).to_json()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=self.limits.max_body, middlewares=[self._guard])
        app.add_routes(
            [
                web.post("/fill", self._fill),
                web.post("/generate", self._generate),
                web.post("/generate_stream", self._generate_stream),
                web.post("/free_context", self._free),
                web.post("/cancel", self._cancel),
                web.post("/hurry", self._hurry),
                web.post("/batch", self._batch),
                web.delete("/client/{name}", self._remove_client),
                web.get("/ping", self._ping),
                web.post("/ping", self._parrots_ping),
                web.get("/health", self._health),
                web.get("/tokenizer", self._tokenizer),
            ]
        )
        app.cleanup_ctx.append(self._watching)
        return app

    # --- routes ---

    async def _fill(self, request: web.Request) -> web.StreamResponse:
        asked = await self._read(request, self._reader.fill)
        client = self._client(request)
        task = client.fill(asked.requests, grows=asked.grows)
        with abandoning(client, [asked]):
            return _answer({"filled_len": await asyncio.shield(task)})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        asked = await self._read(request, self._reader.generate)
        client = self._client(request)
        items: asyncio.Queue[Piece | Finished | EngineError] = asyncio.Queue()
        client.generate(asked.request, items.put_nowait, grows=asked.grows)
        with abandoning(client, [asked]):
            while isinstance(item := await items.get(), Piece):
                pass
        if isinstance(item, EngineError):
            raise item
        return _answer(_parrots_end(item) if asked.grows else item)

    async def _generate_stream(self, request: web.Request) -> web.StreamResponse:
        asked = await self._read(request, self._reader.generate)
        client = self._client(request)
        events = Events()
        client.generate(asked.request, events.post, grows=asked.grows)
        with abandoning(client, [asked]):
            return await self._stream(request, events)

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        primitives = await self._read(request, self._reader.batch)
        client = self._client(request)
        events = Events(len(primitives))
        started = [
            primitive
            for index, primitive in enumerate(primitives)
            if start(client, primitive, partial(events.post, index=index))
        ]
        with abandoning(client, started):
            return await self._stream(request, events, at_once=True)

    async def _free(self, request: web.Request) -> web.StreamResponse:
        asked = await self._read(request, self._reader.free)
        freed = await self._client(request).free(asked.contexts, asked.dead)
        return _answer({"context_len": freed})

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        asked = await self._read(request, self._reader.free)
        await self._client(request).cancel(asked.contexts)
        return _answer({})

    async def _hurry(self, request: web.Request) -> web.StreamResponse:
        asked = await self._read(request, self._reader.free)
        await self._client(request).hurry(asked.contexts)
        return _answer({})

    async def _remove_client(self, request: web.Request) -> web.StreamResponse:
        if not await self._clients.remove(request.match_info["name"]):
            raise EngineError("unknown_context", "there is no client of that name")
        return _answer({})

    async def _ping(self, request: web.Request) -> web.StreamResponse:
        return _answer(await self._info())

    async def _parrots_ping(self, request: web.Request) -> web.StreamResponse:
        info = await self._info()
        told = {
            "num_cached_tokens": info.cached_tokens,
            "num_running_jobs": info.running,
            "num_total_jobs": info.running + info.queued,
        }
        return _answer({"pong": True, "runtime_info": told})

    async def _health(self, request: web.Request) -> web.StreamResponse:
        await self._info()
        return _answer({"status": "ok"})

    async def _tokenizer(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._handshake, content_type="application/json")

    # --- around them ---

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Errors become answers here. Nothing that a request does goes further up."""
        name = request.headers.get(wire.CLIENT, "")
        self._clients.renew(name)
        try:
            return await handler(request)
        except EngineError as error:
            return _refusal(error)
        except web.HTTPException as error:
            words = f"{request.method} {request.path}: {error.reason}"
            return _refusal(EngineError("invalid", words), error.status, error.headers)
        except ConnectionError:
            raise
        except Exception as error:
            _log.exception("%s failed", request.path)
            return _refusal(EngineError("internal", f"{type(error).__name__}: {error}"))
        finally:
            self._clients.forget(name)

    async def _read(self, request: web.Request, read: Callable[[Any], T]) -> T:
        """The request's body, read by `read`. Raises `EngineError`."""
        known = self._engine.tokenizer.fingerprint
        if request.headers.get(wire.TOKENIZER, known) != known:
            raise EngineError("invalid", "the engine has another tokenizer than the client")
        try:
            body = await request.read()
        except (web.HTTPException, ConnectionError):
            raise
        except Exception as error:  # chunks or a compression that are broken
            raise EngineError("invalid", f"the body cannot be read: {error}") from None
        if len(body) > _LARGE:
            return await asyncio.to_thread(lambda: read(wire.parse(body)))
        return read(wire.parse(body))

    def _client(self, request: web.Request) -> Client:
        name = request.headers.get(wire.CLIENT, "")
        if len(name) > _LONGEST_NAME:
            raise EngineError("invalid", f"a client's name has at most {_LONGEST_NAME} characters")
        return self._clients.get(name)

    async def _info(self) -> EngineInfo:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._engine.ping()
        except (TimeoutError, EngineError) as error:
            raise EngineError("unavailable", f"the engine does not answer: {error}") from None

    async def _stream(
        self, request: web.Request, events: Events, *, at_once: bool = False
    ) -> web.StreamResponse:
        """Lines of JSON. `at_once` says that the request has been understood before anything
        happens; else a generation that fails before it says a word is answered with a status."""
        first = None if at_once else await events.next(self.limits.beat)
        if first is not None and "error" in first:
            raise wire.error_of(first["error"])
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(wire.line(first))
        while not events.are_over:
            await response.write(wire.line(await events.next(self.limits.beat)))
        await response.write_eof()
        return response

    async def _watching(self, app: web.Application) -> AsyncIterator[None]:
        watch = asyncio.create_task(self._clients.watch())
        yield
        watch.cancel()
        await self._clients.close()


def _answer(value: Any) -> web.Response:
    return web.Response(body=wire.write(value), content_type="application/json")


def _refusal(error: EngineError, status: int = 0, headers: Any = ()) -> web.Response:
    status = status or _STATUS.get(error.code, 500)
    allow = {name: value for name, value in dict(headers).items() if name == "Allow"}
    wait = {"Retry-After": "1"} if status in (429, 503) else {}
    return web.Response(
        status=status,
        body=wire.write(wire.error_json(error)),
        content_type="application/json",
        headers=allow | wait,
    )


def _parrots_end(finished: Finished) -> Event:
    return {"generated_text": finished.text, "generated_ids": finished.ids}


@asynccontextmanager
async def serving(
    server: EngineServer, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Serve until the block ends; gives the URL (port 0: any free one). Raises `OSError` when the
    port is taken. Then nothing new is begun, what goes on may end, and all contexts are freed. The
    engine is not closed."""
    async with listening(server.app(), host, port, grace=server.limits.grace) as url:
        yield url
