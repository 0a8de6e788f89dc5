"""How late the event loop is: something that blocks it holds up every client.

watchdog = Watchdog()
task = asyncio.create_task(watchdog.watch())
watchdog.take_worst()        # the longest delay since the last call, in seconds
"""

import asyncio
import logging
from collections.abc import Callable

_log = logging.getLogger(__name__)

TICK = 0.05  # seconds between two looks
LIMIT = 0.25  # seconds of delay that are reported


class Watchdog:
    """`tell` hears of every delay, in seconds."""

    def __init__(self, tell: Callable[[float], None] = lambda late: None) -> None:
        self._tell = tell
        self._worst = 0.0

    async def watch(self) -> None:
        """Look for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK
            await asyncio.sleep(TICK)
            late = max(0.0, loop.time() - due)
            self._worst = max(self._worst, late)
            self._tell(late)
            if late >= LIMIT:
                _log.warning("the event loop was held up for %.0f ms", late * 1000)

    def take_worst(self) -> float:
        worst, self._worst = self._worst, 0.0
        return worst
