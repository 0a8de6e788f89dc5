"""What is asked of a server by those who look after it: `/health`, `/metrics`, `/openapi.json`."""

from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic_core import to_json

from parrotc.runtime.server.metrics import CONTENT_TYPE, Metrics
from parrotc.runtime.server.routes import Call, Nothing, Route, Who, json_response


class Health(BaseModel):
    """`status` is ok, or draining: what was begun goes on, and nothing new is taken."""

    status: str


def routes(metrics: Metrics, document: Callable[[], Any]) -> Iterator[Route]:
    async def scrape(call: Call[Nothing]) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def openapi(call: Call[Nothing]) -> web.Response:
        return web.Response(body=to_json(document()), content_type="application/json")

    yield Route("GET", "/health", _health, "Whether requests are taken.", answer=Health,
                who=Who.ANYBODY)  # fmt: skip
    yield Route("GET", "/metrics", scrape, "Numbers for Prometheus.", gives="text/plain",
                who=Who.OPERATOR)  # fmt: skip
    yield Route("GET", "/openapi.json", openapi, "This document.", gives="application/json")


async def _health(call: Call[Nothing]) -> BaseModel | web.Response:
    """503 while draining, so that whoever balances load sends nothing more."""
    if call.core.is_draining:
        return json_response(Health(status="draining"), 503)
    return Health(status="ok")
