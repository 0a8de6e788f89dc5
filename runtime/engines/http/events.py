"""What is told of requests while they are being done, and requests that are done together.

events = Events(2)
start(client, primitive, partial(events.post, index=0)); …
while not events.are_over:
    event = await events.next(beat=5)        # None: nothing happened for so many seconds
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from parrotc.runtime.engines.http import wire
from parrotc.runtime.engines.http.client import Client
from parrotc.runtime.engines.http.wire import Fill, Free, Generate, Primitive
from parrotc.runtime.engines.protocol import ContextId, EngineError, Finished, Piece

_log = logging.getLogger(__name__)

Event = dict[str, Any]


class Events:
    """What is told of `count` primitives, until each has had its last word."""

    def __init__(self, count: int = 1) -> None:
        self._left = count
        self._queue: asyncio.Queue[Event] = asyncio.Queue()

    @property
    def are_over(self) -> bool:
        return self._left == 0

    def post(self, item: Piece | Finished | EngineError | Event, index: int | None = None) -> None:
        event = _event(item)
        self._queue.put_nowait(event if index is None else {"index": index, **event})

    async def next(self, beat: float) -> Event | None:
        """The next event, or None if nothing happens for `beat` seconds."""
        try:
            async with asyncio.timeout(beat):
                event = await self._queue.get()
        except TimeoutError:
            return None
        if "piece" not in event:
            self._left -= 1
        return event


def _event(item: Piece | Finished | EngineError | Event) -> Event:
    match item:
        case Piece():
            return {"piece": item}
        case Finished():
            return {"finished": item}
        case EngineError():
            return {"error": wire.error_json(item)}
    return item


def start(client: Client, primitive: Primitive, post: Callable[[Any], None]) -> bool:
    """Start one of a batch; False if it is refused at once, of which `post` is told too."""

    def told(name: str) -> Callable[[asyncio.Task[int]], None]:
        return lambda task: post(_outcome(name, task))

    try:
        match primitive:
            case Fill(requests, grows):
                client.fill(requests, grows=grows).add_done_callback(told("filled_len"))
            case Generate(request, grows):
                client.generate(request, post, grows=grows)
            case Free(contexts, dead):
                free = asyncio.get_running_loop().create_task(client.free(contexts, dead))
                free.add_done_callback(told("context_len"))
    except EngineError as error:
        post(error)
        return False
    return True


def _outcome(name: str, task: asyncio.Task[int]) -> Event | EngineError:
    if task.cancelled():
        return EngineError("cancelled", "the server is being stopped")
    error = task.exception()
    if error is None:
        return {name: task.result()}
    if isinstance(error, EngineError):
        return error
    _log.error("a request failed", exc_info=error)
    return EngineError("internal", f"{type(error).__name__}: {error}")


@contextmanager
def abandoning(client: Client, asked: Sequence[Primitive]) -> Iterator[None]:
    """If the client goes away in the meantime: cancel what it asked for, and keep nothing of it.

    What grows in place stays as far as it has come: nobody could go back.
    """
    try:
        yield
    except (asyncio.CancelledError, ConnectionError):
        client.abandon([name for one in asked for name in _made(one)])
        raise


def _made(primitive: Primitive) -> list[ContextId]:
    match primitive:
        case Fill(requests, grows=False):
            return [request.context for request in requests]
        case Generate(request, grows=False):
            return [request.context]
    return []
