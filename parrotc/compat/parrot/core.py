"""A session of a core, over HTTP, and its semantic variables."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any
from weakref import finalize

import aiohttp

from parrotc.background import Background
from parrotc.ir.diagnostic import Diagnostic
from parrotc.runtime.errors import Failed, Failure, RunError, RunTimeout

VARIABLE = "/v1/semantic_var"
_SESSION = "/v1/session"
_CONNECT = 30.0  # seconds


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


class _Line:
    """The connection, on the event loop of the core."""

    def __init__(self, address: str, api_key: str | None) -> None:
        self._address = address
        self._api_key = api_key
        self._http: aiohttp.ClientSession | None = None
        self._who: asyncio.Task[Mapping[str, str]] | None = None

    async def ask(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        if self._who is None:
            self._who = asyncio.ensure_future(self._open())
        return await self._send(method, path, {**await asyncio.shield(self._who), **body})

    async def close(self) -> None:
        if self._http is None:
            return
        if self._who is not None and self._who.done() and not self._who.exception():
            who = self._who.result()
            with suppress(RunError):  # it may be gone already
                await self._send("DELETE", f"{_SESSION}/{who['session_id']}", who)
        await self._http.close()

    async def _open(self) -> Mapping[str, str]:
        body = {"api_key": self._api_key} if self._api_key else {}
        opened = await self._send("POST", _SESSION, body)
        return {name: opened[name] for name in ("session_id", "session_auth")}

    async def _send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        if self._http is None:
            limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
            self._http = aiohttp.ClientSession(timeout=limits)
        try:
            async with self._http.request(method, self._address + path, json=body) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            message = f"the core at {self._address} did not answer: {error or type(error).__name__}"
            failed = Failed("E0624", message, help="start one with `parrotc serve`")
            raise RunError(failed.at(None)) from None
        if response.status >= 400:
            raise _refused(response.status, answer.get("error", {}))
        return answer


class RemoteVariable:
    """A variable of a core. `taken` gives its id, when the core has named it; `filling`, if it is
    there, is done when this process has set it. `sources` are what it is made from."""

    def __init__(
        self,
        core: Core,
        taken: "Future[str]",
        sources: "Sequence[RemoteVariable]" = (),
    ) -> None:
        self._core = core
        self.taken = taken
        self.filling: Future[None] | None = None
        self._sources = tuple(sources)
        self._value: str | None = None

    @property
    def var_id(self) -> str:
        return self.taken.result()

    @property
    def is_ready(self) -> bool:
        return self._value is not None or bool(self._core.result(self._is_ready()))

    def get(self, criteria: str | None = None, *, timeout: float | None = None) -> str:
        return str(self._core.result(self.value(criteria, timeout)))

    async def aget(self, criteria: str | None = None, *, timeout: float | None = None) -> str:
        work = self._core.start(self.value(criteria, timeout))
        return str(await asyncio.wrap_future(work))

    def set(self, value: Any) -> None:
        self._core.result(self.fill(str(value)))

    # on the event loop of the core

    async def fill(self, value: str) -> None:
        name = await known(self.taken)
        await self._core.ask("POST", f"{VARIABLE}/{name}", {"content": value})

    async def value(self, criteria: str | None, timeout: float | None = None) -> str:
        """What the core gives. Raises the first cause, also where that lies in this process."""
        if self._value is None:
            try:
                name = await known(self.taken)
                body = {"criteria": criteria, "timeout": timeout}
                asked = {name: value for name, value in body.items() if value is not None}
                answer = await self._core.ask("GET", f"{VARIABLE}/{name}", asked)
            except RunError as error:
                raise self._failed() or error from None
            self._value = answer["content"]
            self._sources = ()
        return self._value

    def _failed(self) -> BaseException | None:
        """What kept this process from setting it, or what it is made from."""
        if self.filling is not None and self.filling.done():
            return self.filling.exception()
        found = (source._failed() for source in self._sources)
        return next((error for error in found if error is not None), None)

    async def _is_ready(self) -> bool:
        name = await known(self.taken)
        listed = await self._core.ask("GET", VARIABLE, {})
        return any(one["var_id"] == name and one["state"] == "ready" for one in listed["vars"])


async def known(taken: "Future[str]") -> str:
    """The id of a variable, when the core has named it."""
    return await asyncio.shield(asyncio.wrap_future(taken))


def _refused(status: int, error: Mapping[str, Any]) -> RunError:
    """What a core says of a request that it did not do."""
    code = str(error.get("code", ""))
    message = str(error.get("message", "")) or f"the core answered with status {status}"
    known = code if code[:1] == "E" and code[1:].isdigit() else "E0624"
    if status == 408:
        return RunTimeout(Failed("E0612", message).at(None))
    notes = tuple(map(str, error.get("notes") or ()))
    diagnostic = Diagnostic(known, message, notes=notes, help=str(error.get("help") or ""))
    return RunError(Failure(diagnostic))
