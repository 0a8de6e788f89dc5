"""A route as data: who may ask, what is asked, what is answered, and who does it.

    Route("POST", "/v1/session", register, "Open a session.", body=Register, answer=Registered)

One table serves twice: handlers are made of it (`handler`), and the OpenAPI document. A handler
gets a `Call`, in which the body is read and checked and the caller known, and gives a
model or an answer of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from parrotc.runtime.core.core import ServeCore
from parrotc.runtime.core.errors import NotFound, Unauthorized
from parrotc.runtime.core.sessions import Session
from parrotc.runtime.core.tenants import Tenant
from parrotc.runtime.server import refusals
from parrotc.runtime.server.refusals import Refusal

_LARGE = 1 << 16  # bytes: bodies above are read on another thread, so that others need not wait

SESSION, TOKEN = "Parrotc-Session", "Parrotc-Session-Token"  # headers

B = TypeVar("B")


class Who(StrEnum):
    """Whom a route is for."""

    ANYBODY = "anybody"
    TENANT = "tenant"  # an API key, where the core wants any
    SESSION = "session"  # a session's id and token
    OPERATOR = "operator"  # the key of whoever runs the core


class Nothing(BaseModel):
    """An empty object."""


@dataclass(frozen=True)
class Call(Generic[B]):
    """One request: `body` is what it says, checked."""

    request: web.Request
    core: ServeCore
    body: B

    def path(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]

    @cached_property
    def tenant(self) -> Tenant:
        """Raises `Unauthorized`."""
        return self.core.tenant(bearer(self.request) or getattr(self.body, "api_key", None))

    @cached_property
    def session(self) -> Session:
        """By what the body says, as Parrot's clients do, or by two headers. Raises `Unauthorized`,
        whatever is wrong: who guesses learns nothing."""
        headers = self.request.headers
        name = getattr(self.body, "session_id", None) or headers.get(SESSION, "")
        token = getattr(self.body, "session_auth", None) or headers.get(TOKEN, "")
        name = self.request.match_info.get("session_id", name)
        try:
            return self.core.session(str(name), str(token))
        except NotFound:
            raise Unauthorized("there is no such session, or this is not its token") from None

    @property
    def has_session(self) -> bool:
        return SESSION in self.request.headers

    @property
    def wants_events(self) -> bool:
        """Whether the client asked for server-sent events."""
        return "text/event-stream" in self.request.headers.get("Accept", "")


Handler = Callable[[Call[Any]], Awaitable[BaseModel | web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """`about` is a sentence for people. `body` is read from JSON, or, where a request of GET or
    DELETE has none, from the query. `takes` and `gives` are media types of what is no model: of a
    body that the handler reads, of an answer."""

    method: str
    path: str
    handler: Handler
    about: str
    body: type[BaseModel] = Nothing
    answer: type[BaseModel] = Nothing
    status: int = 200
    who: Who = Who.TENANT
    streams: bool = False
    takes: str = ""
    gives: str = ""
    most: int = 0  # bytes of a body, where that is less than the core allows

    @property
    def has_body(self) -> bool:
        return self.body is not Nothing and self.method in ("POST", "PUT")


def handler(route: Route, core: ServeCore) -> Callable[[web.Request], Any]:
    """What aiohttp calls."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if route.who is Who.OPERATOR:
            core.operator(bearer(request))
        elif route.who is Who.TENANT and "api_key" not in route.body.model_fields:
            core.tenant(bearer(request))  # before anything of the body is looked at
        call = Call(request, core, None if route.takes else await _body(request, route))
        if route.who is Who.SESSION:
            _ = call.session
        answer = await route.handler(call)
        if isinstance(answer, web.StreamResponse):
            return answer
        return json_response(answer, route.status)

    return handle


def json_response(answer: BaseModel, status: int = 200) -> web.Response:
    return web.Response(
        body=answer.model_dump_json(by_alias=True).encode(),
        status=status,
        content_type="application/json",
    )


def bearer(request: web.Request) -> str | None:
    """The key of `Authorization: Bearer KEY`."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None


async def read(request: web.Request) -> bytes:
    """The whole body. Raises `Refusal` for one that cannot be read, 413 for one too large."""
    try:
        return await request.read()
    except (web.HTTPException, ConnectionError):
        raise
    except Exception as error:  # chunks or a compression that are broken
        raise Refusal(400, "invalid", f"the body cannot be read: {type(error).__name__}") from None


async def _body(request: web.Request, route: Route) -> BaseModel:
    raw = await read(request)
    if route.most and len(raw) > route.most:
        raise Refusal(413, "too_large", f"a body has at most {route.most:,} bytes here")
    if not raw and route.method in ("GET", "DELETE"):
        return _validated(route.body, lambda: route.body.model_validate_strings(_query(request)))
    parse = lambda: route.body.model_validate_json(raw or b"{}")  # noqa: E731
    if len(raw) > _LARGE:
        return await asyncio.to_thread(_validated, route.body, parse)
    return _validated(route.body, parse)


def _query(request: web.Request) -> dict[str, str]:
    return dict(request.query)


def _validated(model: type[BaseModel], parse: Callable[[], BaseModel]) -> BaseModel:
    try:
        return parse()
    except ValidationError as error:
        known = [field.alias or name for name, field in model.model_fields.items()]
        raise refusals.of_validation(error, known) from None
