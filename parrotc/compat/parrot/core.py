"""A session of a core, over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any
from weakref import finalize

import aiohttp

from parrotc.background import Background
from parrotc.ir.diagnostic import Diagnostic
from parrotc.runtime.errors import Failed, Failure, RunError, RunTimeout

_SESSION = "/v1/session"
_CONNECT = 30.0  # seconds
_WAITING = 7200.0  # a core that lives answers at its `max_get`: an hour, if its config says nothing
_LISTENING = 60.0  # a core that lives says every few seconds that it does
_PLAIN: Mapping[str, str] = {}
_KEY = "give one to the machine: `P.VirtualMachine(…, api_key=…)`"
_EVENTS = {"Accept": "text/event-stream"}


class Core:
    """A session of a core, opened when it is first needed and closed with the process."""

    def __init__(self, address: str, api_key: str | None = None) -> None:
        self.address = address.rstrip("/")
        self._line = _Line(self.address, api_key)
        self._background = Background()
        finalize(self, self._background.stop, self._line.close)

    def start(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return self._background.start(work)

    def result(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._background.result(work)

    async def ask(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """What the core answers. Raises `RunError` for what it refuses, or has failed to do."""
        return await self._line.ask(method, path, body)

    def listen(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[tuple[str, Any]]:
        """The events of a stream: the name of each, and what it says. Raises as `ask` does."""
        return self._line.listen(path, body)


class _Line:
    """The connection, on the event loop of the core."""

    def __init__(self, address: str, api_key: str | None) -> None:
        self._address = address
        self._api_key = api_key
        self._http: aiohttp.ClientSession | None = None
        self._who: asyncio.Task[Mapping[str, str]] | None = None

    async def ask(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        return await self._send(method, path, {**await self._credentials(), **body})

    async def listen(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[tuple[str, Any]]:
        body = {**await self._credentials(), **body}
        try:
            async with self._request("GET", path, body, _LISTENING, _EVENTS) as response:
                if response.status >= 400:
                    raise _refused(response.status, await response.json(content_type=None))
                async for name, said in _events(response.content):
                    if name == "error":
                        raise _refused(0, said)
                    yield name, said
        except RunError:
            raise  # it may be a `TimeoutError`, which is an `OSError`
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._unanswered(error) from None

    async def close(self) -> None:
        if self._http is None:
            return
        if self._who is not None and self._who.done() and not self._who.exception():
            who = self._who.result()
            with suppress(RunError):  # it may be gone already
                await self._send("DELETE", f"{_SESSION}/{who['session_id']}", who)
        await self._http.close()

    async def _credentials(self) -> Mapping[str, str]:
        """The session's, which is opened now if it is not."""
        if self._who is None:
            self._who = asyncio.ensure_future(self._open())
        return await asyncio.shield(self._who)

    async def _open(self) -> Mapping[str, str]:
        body = {"api_key": self._api_key} if self._api_key else {}
        opened = await self._send("POST", _SESSION, body, _KEY)
        return {name: opened[name] for name in ("session_id", "session_auth")}

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any], unknown: str = ""
    ) -> Any:
        """`unknown` says what to do where the core does not know who asks."""
        try:
            async with self._request(method, path, body, _WAITING) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._unanswered(error) from None
        if response.status >= 400:
            raise _refused(response.status, answer, unknown if response.status == 401 else "")
        return answer

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any],
        silence: float,
        headers: Mapping[str, str] = _PLAIN,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """`silence` is how long the core may say nothing, in seconds."""
        if self._http is None:
            self._http = aiohttp.ClientSession()
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=silence)
        url = self._address + path
        return self._http.request(method, url, json=body, headers=headers, timeout=limits)

    def _unanswered(self, error: Exception) -> RunError:
        message = f"the core at {self._address} did not answer: {error or type(error).__name__}"
        return RunError(Failed("E0624", message, help="start one with `parrotc serve`").at(None))


async def _events(stream: aiohttp.StreamReader) -> AsyncIterator[tuple[str, Any]]:
    """Server-sent events whose data is JSON; lines of any length."""
    held = b""
    async for chunk in stream.iter_any():
        *whole, held = (held + chunk).split(b"\n\n")
        for event in whole:
            lines = dict(line.partition(": ")[::2] for line in event.decode().splitlines())
            if "data" in lines:  # and no comment
                yield lines.get("event", ""), json.loads(lines["data"])


def _refused(status: int, answer: Mapping[str, Any], help: str = "") -> RunError:
    """What a core says of a request that it did not do, or did not do to its end."""
    error = answer.get("error", {})
    code = str(error.get("code", ""))
    message = str(error.get("message", "")) or f"the core answered with status {status}"
    known = code if code[:1] == "E" and code[1:].isdigit() else "E0624"
    if status == 408:
        return RunTimeout(Failed("E0612", message).at(None))
    notes = tuple(map(str, error.get("notes") or ()))
    diagnostic = Diagnostic(known, message, notes=notes, help=help or str(error.get("help") or ""))
    return RunError(Failure(diagnostic))
