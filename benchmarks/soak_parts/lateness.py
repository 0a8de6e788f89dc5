"""How late an event loop is, and how late the machine is that it runs on."""

import asyncio
import threading
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from parrotc.runtime.server.watchdog import TICK, Watchdog


class Lateness:
    """The machine's is that of a thread which only sleeps: nothing that the loop does can make it
    better. All in seconds."""

    def __init__(self) -> None:
        self._loop = array("d")
        self._machine = array("d")
        self._over = threading.Event()

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        thread = threading.Thread(target=self._sleep)
        watching = asyncio.create_task(Watchdog(self._loop.append).watch())
        thread.start()
        try:
            yield
        finally:
            watching.cancel()
            self._over.set()
            await asyncio.to_thread(thread.join)

    def figures(self) -> dict[str, float]:
        """Of each the 99th percentile of all looks, and the longest."""
        found = {}
        for name, looks in (("loop", self._loop), ("machine", self._machine)):
            found[f"{name} p99"] = sorted(looks)[len(looks) * 99 // 100]
            found[f"{name} longest"] = max(looks)
        return found

    def _sleep(self) -> None:
        while not self._over.is_set():
            due = time.monotonic() + TICK
            time.sleep(TICK)
            self._machine.append(time.monotonic() - due)
