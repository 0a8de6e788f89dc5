"""ServeCore behind HTTP: every route, and what is around them.

    await serve(core, "localhost", 9000, announce=print)         # until SIGTERM, which drains

    async with listening(make_app(core), "localhost", 0, grace=10) as url: …

`docs/http.md` describes the routes, and `/openapi.json` to the letter.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import cache
from typing import Any

from aiohttp import web

from parrotc.runtime.core.core import ServeCore
from parrotc.runtime.engines.http.listening import listening, until_told
from parrotc.runtime.server import engines, health, openapi, parrot, plans
from parrotc.runtime.server.metrics import Metrics
from parrotc.runtime.server.middleware import Open, around
from parrotc.runtime.server.openai import handlers as openai
from parrotc.runtime.server.process import responsive
from parrotc.runtime.server.routes import Route, handler
from parrotc.runtime.server.watchdog import Watchdog

WATCHDOG = web.AppKey("watchdog", Watchdog)
OPEN = web.AppKey("open", Open)
ROUTES = web.AppKey("routes", tuple)

_GRACE = 5.0  # seconds, after draining, for answers that are still being read


def make_app(core: ServeCore) -> web.Application:
    """The routes of `core`, which is the caller's to start and to close."""
    metrics, open_ = Metrics(core), Open()
    routes = _routes(metrics)
    app = web.Application(
        client_max_size=core.config.max_body, middlewares=[around(metrics, open_)]
    )
    for route in routes:
        app.router.add_route(route.method, route.path, handler(route, core))
    app[ROUTES] = routes
    app[OPEN] = open_
    app[WATCHDOG] = Watchdog(metrics.loop_delay.observe)
    app.cleanup_ctx.append(_watching)
    return app


async def serve(
    core: ServeCore, host: str, port: int, *, announce: Callable[[str], None] = lambda url: None
) -> None:
    """Start the core and serve it until SIGINT or SIGTERM; `announce` is told the URL.

    Then `/health` says that it drains, new work is refused, and what was begun has the config's
    `drain` seconds to end. Raises `OSError` when the port is taken.
    """
    await core.start()
    try:
        app = make_app(core)
        async with (
            responsive(lambda: app[OPEN].are_none),
            listening(app, host, port, grace=_GRACE) as url,
        ):
            announce(url)
            await until_told()
            with suppress(TimeoutError):
                async with asyncio.timeout(core.config.drain):
                    await core.drain(core.config.drain)
                    await app[OPEN].ended()
    finally:
        await core.close()


def _routes(metrics: Metrics) -> tuple[Route, ...]:
    @cache
    def document() -> Any:
        return openapi.document(table)

    table: tuple[Route, ...] = (
        *openai.routes(metrics),
        *parrot.routes(),
        *plans.routes(),
        *engines.routes(),
        *health.routes(metrics, document),
    )
    return table


async def _watching(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(app[WATCHDOG].watch())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
