"""An answer as server-sent events, to a reader who may be slow or gone.

    return await tell(call.request, events)      # an async generator of (name, data)

It goes as fast as the reader, and holds up nobody: whoever makes the events keeps what waits
bounded. A reader who takes nothing for `patience` seconds is cut off. What fails before the first
event is raised, for an answer with a status; what fails later is the last event.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from aiohttp import web
from pydantic_core import to_json

from parrotc.runtime.core.log import REQUEST
from parrotc.runtime.server import middleware

BEAT = 5.0  # seconds without an event after which a comment says that we are still there
PATIENCE = 60.0  # seconds

T = TypeVar("T")
Event = tuple[str, str]  # its name, or nothing; and one line of data


async def tell(
    request: web.Request,
    events: AsyncGenerator[Event, None],
    *,
    error: str = "error",
    beat: float = BEAT,
    patience: float = PATIENCE,
) -> web.StreamResponse:
    """`error` is the name of the event that tells of a failure. Closes `events`."""
    async with aclosing(events), aclosing(_beating(events, beat)) as items:
        item = await _next(items)
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                middleware.HEADER: REQUEST.get(),
            }
        )
        await response.prepare(request)
        try:
            while item != _END:
                await _write(request, response, item, patience)
                item = await _next(items)
        except ConnectionError:
            raise
        except Exception as failure:
            refusal = middleware.refusal_of(failure)
            last = (error, to_json(refusal.to_json()).decode())
            await _write(request, response, last, patience)
        await response.write_eof()
        return response


_END: Event = ("", "")


async def _beating(
    events: AsyncGenerator[Event, None], beat: float
) -> AsyncGenerator[Event | None, None]:
    """The events, and None for every `beat` seconds without one."""
    while True:
        pending = asyncio.create_task(_next(events))
        try:
            while not (await asyncio.wait({pending}, timeout=beat))[0]:
                yield None
        finally:
            if not pending.done():
                pending.cancel()
                await asyncio.wait({pending})
        if (item := pending.result()) == _END:
            return
        yield item


async def _next(events: AsyncGenerator[T, None]) -> T | Event:
    """`anext` with a default, which Python 3.11 cannot await in a task."""
    try:
        return await anext(events)
    except StopAsyncIteration:
        return _END


async def _write(
    request: web.Request, response: web.StreamResponse, item: Event | None, patience: float
) -> None:
    """A comment for no event: clients pass over it, and both sides notice who has gone."""
    name, data = item or ("", "")
    head = f"event: {name}\n" if name else ""
    text = f"{head}data: {data}\n\n" if item else ": still here\n\n"
    try:
        async with asyncio.timeout(patience):
            await response.write(text.encode())
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the reader takes nothing") from None
