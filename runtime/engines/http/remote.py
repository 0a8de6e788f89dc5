"""An engine in another process or on another machine, reached over HTTP: `Engine` all the same.

    engine = open_remote("http://localhost:9001")      # blocks for the first exchange

It takes a random name, so its contexts are its own at the server, and says goodbye when it is
closed. While it holds contexts and asks nothing it lets the server hear of it, or its lease would
end. A server that cannot be reached, or is silent for longer than its beat, is an `EngineError`
with the code `unavailable`; nothing here waits for ever.
"""

import asyncio
import secrets
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from parrotc.runtime.engines.http import wire
from parrotc.runtime.engines.http.handshake import Handshake
from parrotc.runtime.engines.protocol import (
    ContextId,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.models import ModelError

_CONNECT, _SILENCE = 10.0, 30.0  # seconds: to be let in; without a byte, six beats of the server
_PAUSE = 0.5  # before a server that does not hear is told again, then twice as long each time
_GOODBYE = 5.0  # seconds that a server has to hear of it
_LONGEST_LINE = 64 << 20  # bytes

Event = dict[str, Any]


def open_remote(url: str, *, timeout: float = 3600.0) -> "RemoteEngine":
    """Meet the engine at `url`. `timeout` (seconds) bounds every single request from then on.

    Blocks. Raises `ModelError` when there is no engine, or one whose tokenizer cannot be had.
    """
    return RemoteEngine(url, fetch_handshake(url), timeout=timeout)


def fetch_handshake(url: str) -> Handshake:
    """What the engine at `url` says of itself, all that compiling for it needs. Raises
    `ModelError`."""
    if not _is_address(url):
        raise ModelError(
            f"`{url}` is not the address of an engine", help="give it as in http://localhost:9001"
        )
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/tokenizer", timeout=_SILENCE) as answer:
            return Handshake.from_json(answer.read())
    except (OSError, urllib.error.URLError) as error:
        raise ModelError(
            f"the engine at {url} cannot be reached: {getattr(error, 'reason', error)}",
            help="start one with `parrotc engine`, and give the address that it prints",
        ) from None
    except (ValueError, HTTPException) as error:
        raise ModelError(f"{url} cannot be used: {error}") from None


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


class RemoteEngine:
    """Implements `Engine`. All calls come from one event loop, the one of the first call."""

    def __init__(self, url: str, handshake: Handshake, *, timeout: float = 3600.0) -> None:
        """Raises `ModelError` for a tokenizer that cannot be had."""
        self._url = url.rstrip("/")
        try:
            self.tokenizer = handshake.make_tokenizer()
        except ValueError as error:
            raise ModelError(f"the tokenizer of {url} cannot be used: {error}") from None
        self._lease = handshake.lease
        self._timeout = aiohttp.ClientTimeout(
            total=timeout, sock_connect=_CONNECT, sock_read=_SILENCE
        )
        self._name = secrets.token_hex(16)
        self._session: aiohttp.ClientSession | None = None
        self._filling: dict[ContextId, asyncio.Event] = {}  # set when the server knows of it
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        names = [request.context for request in requests]
        arrived = asyncio.Event()
        # as a batch of one, because that is answered with a beat while the engine computes
        filling = self._events("/batch", [{"fill": requests}], arrived)
        self._filling |= dict.fromkeys(names, arrived)
        try:
            with self._abandoning(names):
                async with aclosing(filling):
                    async for event in filling:
                        _raise_error(event)
        finally:
            arrived.set()
            for name in names:
                self._filling.pop(name, None)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        finished: Finished | None = None
        with self._abandoning([request.context]):
            async with aclosing(self._events("/generate_stream", request)) as events:
                async for event in events:
                    _raise_error(event)
                    if "finished" in event:
                        finished = _validated(wire.FINISHED, event["finished"])
                    else:
                        yield _validated(wire.PIECE, event.get("piece"))
            if finished is None:
                raise EngineError("unavailable", f"{self._url} broke off in the middle of a text")
        yield finished

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        await self._answer("POST", "/free_context", {"contexts": contexts, "dead": dead})

    async def hurry(self, contexts: Sequence[ContextId]) -> None:
        for arrived in {self._filling[name] for name in contexts if name in self._filling}:
            await arrived.wait()  # or the server would not know yet what is meant
        await self._answer("POST", "/hurry", {"contexts": contexts})

    async def ping(self) -> EngineInfo:
        info: EngineInfo = _validated(wire.INFO, _json(await self._answer("GET", "/ping")))
        return info

    async def close(self) -> None:
        """Leave the server, which frees what is left there. What goes on here is cancelled."""
        session, self._session = self._session, None
        self._is_closed = True
        if session is None:
            return
        self._keeping.cancel()
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with asyncio.timeout(_GOODBYE):
                await session.delete(f"{self._url}/client/{self._name}")
        for task in self._tasks:  # there is nothing left that they could cancel
            task.cancel()
        await session.close()

    # --- one exchange ---

    async def _answer(self, method: str, path: str, data: object = None) -> bytes:
        """The body of the answer. Raises the `EngineError` that it tells of, or `unavailable`."""
        body = None if data is None else wire.write(data)
        try:
            async with self._open().request(method, self._url + path, data=body) as response:
                return await _body(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unavailable(error) from None

    async def _events(
        self, path: str, data: object, arrived: asyncio.Event | None = None
    ) -> AsyncGenerator[Event, None]:
        """The lines of the answer; `arrived` is set when it begins. Raises like `_answer`."""
        body = wire.write(data)
        try:
            async with self._open().post(self._url + path, data=body) as response:
                if response.status != 200:
                    await _body(response)
                if arrived is not None:
                    arrived.set()
                buffer = bytearray()
                async for chunk in response.content.iter_any():
                    buffer += chunk
                    if len(buffer) > _LONGEST_LINE:
                        raise EngineError("internal", f"{self._url} sends a line without an end")
                    for line in wire.lines(buffer):
                        yield _event(line)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unavailable(error) from None

    def _open(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise EngineError("cancelled", "the engine is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=0),  # as many as there are generations
                headers={
                    wire.CLIENT: self._name,
                    wire.TOKENIZER: self.tokenizer.fingerprint,
                    "Content-Type": "application/json",
                },
            )
            self._keeping = asyncio.create_task(self._keep())
        return self._session

    def _unavailable(self, error: Exception) -> EngineError:
        if self._is_closed:
            return EngineError("cancelled", "the engine is closed")
        what = "it does not answer" if isinstance(error, TimeoutError) else str(error)
        return EngineError("unavailable", f"the engine at {self._url} cannot be reached: {what}")

    # --- around it ---

    @contextmanager
    def _abandoning(self, contexts: Sequence[ContextId]) -> Iterator[None]:
        """If nobody waits any more, or nobody knows how it ended, let nothing remain of it there.

        The server sees a connection that is closed, but not whether its last word was heard.
        """
        try:
            yield
        except EngineError as error:
            if error.code in ("unavailable", "internal"):
                self._soon(self._cancel(contexts))
            raise
        except BaseException:
            self._soon(self._cancel(contexts))
            raise

    async def _cancel(self, contexts: Sequence[ContextId]) -> None:
        """Until the server has heard of it, or we are closed: it may only have been stopped, and
        what it holds for a client that lives it would hold for ever."""
        pause = _PAUSE
        while not self._is_closed:
            try:
                await self._answer("POST", "/cancel", {"contexts": contexts})
                return
            except EngineError as error:
                if error.code != "unavailable":
                    return
            await asyncio.sleep(pause)
            pause = min(self._lease / 3, 2 * pause)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            with suppress(EngineError):
                await self._answer("GET", "/ping")

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = await response.read()
    if response.status == 200:
        return body
    try:
        told = from_json(body)
    except ValueError:
        told = f"{response.status} {response.reason}"
    raise wire.error_of(told)


def _event(line: bytes) -> Event:
    event = _json(line)
    if not isinstance(event, dict):
        raise EngineError("internal", f"the engine answered with what is no event: {line[:200]!r}")
    return event


def _json(text: bytes) -> Any:
    try:
        return from_json(text)
    except ValueError:
        raise EngineError("internal", f"the engine's answer is no JSON: {text[:200]!r}") from None


def _raise_error(event: Event) -> None:
    if "error" in event:
        raise wire.error_of(event["error"])


def _validated(adapter: TypeAdapter[Any], data: Any) -> Any:
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        raise EngineError("internal", f"the engine's answer is not well formed: {error}") from None
