"""An event loop on a thread of its own, for callers that have none, or another."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """Starts with the first work it is given; may be used from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopped = False
        self._lock = threading.Lock()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run `work` on the loop. Raises `RuntimeError` after `stop`."""
        with self._lock:
            if self._is_stopped:
                work.close()
                raise RuntimeError("the program is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                run = self._loop.run_forever
                threading.Thread(target=run, name="parrotc", daemon=True).start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for the result; leaving early (Ctrl-C) cancels the work."""
        future = self.start(work)
        try:
            return future.result()
        finally:
            future.cancel()

    def call(self, function: Callable[[], None]) -> None:
        """Call a function on the loop soon, if there is one."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function)

    def stop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancel what runs, run `last`, and end the loop. A second time does nothing."""
        with self._lock:
            loop, self._loop, self._is_stopped = self._loop, None, True
        if loop is None:
            return

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await last()

        try:
            asyncio.run_coroutine_threadsafe(end(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
