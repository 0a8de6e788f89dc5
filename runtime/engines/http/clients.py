"""All clients of an engine: each has contexts of its own, and loses them when it has gone.

client "a"  7 ──► engine 103        A client goes when it says goodbye, or when it has not been
client "b"  7 ──► engine 104        heard of for the length of its lease.
"""

import asyncio
import logging
from dataclasses import dataclass

from parrotc.runtime.engines.http.client import Client, Room
from parrotc.runtime.engines.protocol import Engine, new_context

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Entry:
    client: Client
    heard: float  # the loop's time when it last asked for something


class Clients:
    """All clients of an engine, by the names they gave themselves. `lease` is in seconds."""

    def __init__(self, engine: Engine, *, most_requests: int, lease: float) -> None:
        self.lease = lease
        self._engine = engine
        self._room = Room(most_requests)
        self._entries: dict[str, _Entry] = {}
        self._closing: set[asyncio.Task[None]] = set()  # clients that are no more known

    def get(self, name: str) -> Client:
        """The client of that name, a new one if need be."""
        entry = self._entries.get(name)
        if entry is None:
            client = Client(self._engine, new_context, self._room)
            entry = self._entries[name] = _Entry(client, asyncio.get_running_loop().time())
        return entry.client

    def renew(self, name: str) -> None:
        """Begin the lease of a client anew, if there is one of that name."""
        if name in self._entries:
            self._entries[name].heard = asyncio.get_running_loop().time()

    def forget(self, name: str) -> None:
        """Keep nothing of a client that has nothing."""
        entry = self._entries.get(name)
        if entry is not None and entry.client.is_empty:
            del self._entries[name]

    async def remove(self, name: str) -> bool:
        """Drop a client and all it has, though whoever asks may go in the middle. False if there is
        none of that name."""
        entry = self._entries.pop(name, None)
        if entry is not None:
            closing = asyncio.get_running_loop().create_task(entry.client.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            await asyncio.shield(closing)
        return entry is not None

    async def watch(self) -> None:
        """For ever remove clients whose lease has ended. One that waits for an answer is heard."""
        while True:
            await asyncio.sleep(self.lease / 4)
            now = asyncio.get_running_loop().time()
            for name, entry in list(self._entries.items()):
                if entry.client.is_busy:
                    entry.heard = now
                elif now - entry.heard > self.lease:
                    _log.warning("the lease of a client has ended: what it left is freed")
                    await self.remove(name)

    async def close(self) -> None:
        for name in list(self._entries):
            await self.remove(name)
        while self._closing:
            await asyncio.wait(self._closing)
