"""Around every request: its id, its time, errors as answers, and no new work while draining.

Whatever a handler raises ends here as JSON. What nobody foresaw is logged with its traceback under
an id, and the client is told the id: never the text, which may hold a secret.
"""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from math import ceil

from aiohttp import web
from pydantic_core import to_json

from parrotc.runtime.core import errors as core_errors
from parrotc.runtime.core.errors import CoreError
from parrotc.runtime.core.log import REQUEST
from parrotc.runtime.engines.protocol import EngineError
from parrotc.runtime.server import refusals
from parrotc.runtime.server.metrics import Metrics
from parrotc.runtime.server.refusals import Refusal

_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADER = "X-Request-Id"
_RIGHT_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)

_STATUS: Mapping[type[CoreError], int] = {
    core_errors.Unauthorized: 401,
    core_errors.NotFound: 404,
    core_errors.Invalid: 400,
    core_errors.Conflict: 409,
    core_errors.TooLarge: 413,
    core_errors.Busy: 429,
    core_errors.Unavailable: 503,
    core_errors.TimedOut: 408,
    core_errors.Cancelled: 409,
    core_errors.Failed: 422,
}
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class Open:
    """The requests that are being answered."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def enter(self) -> None:
        self._count += 1
        self._none.clear()

    def leave(self) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    @property
    def are_none(self) -> bool:
        return not self._count

    async def ended(self) -> None:
        """Wait until there is none."""
        await self._none.wait()


def around(metrics: Metrics, open_: Open) -> Callable[..., Awaitable[web.StreamResponse]]:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = _request_id(request)
        REQUEST.set(name)
        began = time.monotonic()
        status = 499  # the client has gone
        metrics.open.inc()
        open_.enter()
        try:
            response = await _answered(request, handler)
            status = response.status
            if not response.prepared:
                response.headers[HEADER] = name
            return response
        finally:
            route = route_of(request)
            metrics.open.dec()
            open_.leave()
            metrics.requests.labels(route, str(status)).inc()
            metrics.seconds.labels(route).observe(time.monotonic() - began)
            _log.info("%s %s %d", request.method, route, status)

    return middleware


def route_of(request: web.Request) -> str:
    """The pattern of the path: names in it are the clients', and there is no end of them."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def refusal_of(error: Exception) -> Refusal:
    """Any error as what a client may be told of it."""
    match error:
        case Refusal():
            return error
        case CoreError():
            return _of_core(error)
        case EngineError() if error.code != "internal":
            return refusals.of_engine(error)
        case web.HTTPException():
            return _of_http(error)
    request_id = REQUEST.get()
    _log.error("a request failed, error id %s", request_id, exc_info=error)
    return Refusal(500, "internal", f"the server failed; in its log this is the error {request_id}")


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ConnectionError:
        raise
    except Exception as error:
        refusal = refusal_of(error)
        return web.Response(
            status=refusal.status,
            body=to_json(refusal.to_json()),
            content_type="application/json",
            headers=refusal.headers,
        )


def _of_core(error: CoreError) -> Refusal:
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    cause = error.diagnostic
    headers = {}
    if isinstance(error, core_errors.Busy):
        headers["Retry-After"] = str(max(1, ceil(error.retry_after)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Refusal(
        status,
        cause.code if cause else error.code,
        error.message,
        help=error.help or (cause.help if cause else ""),
        notes=cause.notes if cause else (),
        span=cause.span if cause else None,
        headers=headers,
    )


def _of_http(error: web.HTTPException) -> Refusal:
    headers = {name: value for name, value in error.headers.items() if name == "Allow"}
    code = _CODES.get(error.status, "invalid")
    if error.status == 404:
        return Refusal(404, code, "there is no such route", headers=headers)
    return Refusal(error.status, code, error.reason, headers=headers)


def _request_id(request: web.Request) -> str:
    """The client's own, if it is one that may stand in a log."""
    given = request.headers.get(HEADER, "")
    return given if _RIGHT_ID.fullmatch(given) else secrets.token_hex(16)
