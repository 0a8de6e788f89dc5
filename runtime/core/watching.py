"""Those who watch a run: each is told all, in order, and one that is slow delays nobody.

What a slow watcher has not taken is joined: of each text that is being generated one piece waits
for it, and of one that is finished its value alone. So what waits is never more than the texts.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from parrotc.runtime.core.views import RunEvent
from parrotc.runtime.terms import Path

Key = tuple[str, Path]  # variable and iteration
_TEXTS = ("text", "restart")
_LAST = ("done", "failed", "cancelled")


class Watcher:
    """One of them."""

    def __init__(self) -> None:
        self._waiting: dict[object, RunEvent] = {}  # in order; texts by their key
        self._came = asyncio.Event()

    def tell(self, event: RunEvent) -> None:
        key = (event.variable, event.path)
        if event.kind == "text" and key in self._waiting:
            before = self._waiting[key]
            self._waiting[key] = replace(before, text=before.text + event.text)
        elif event.kind in _TEXTS:
            self._waiting.pop(key, None)
            self._waiting[key] = event
        else:
            self._waiting.pop(key, None)
            self._waiting[object()] = event
        self._came.set()

    async def events(self) -> AsyncIterator[RunEvent]:
        """All events, up to the last one of the run."""
        while True:
            await self._came.wait()
            self._came.clear()
            waiting, self._waiting = self._waiting, {}
            for event in waiting.values():
                yield event
                if event.kind in _LAST:
                    return


class Watchers:
    """Those of one run, and the texts that are being generated, for who comes late."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()
        self._texts: dict[Key, list[str]] = {}

    def join(self) -> Watcher:
        watcher = Watcher()
        for (variable, path), pieces in self._texts.items():
            watcher.tell(RunEvent("text", variable, path, "".join(pieces)))
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)

    def tell(self, event: RunEvent) -> None:
        key = (event.variable, event.path)
        if event.kind == "text":
            self._texts.setdefault(key, []).append(event.text)
        elif event.kind == "restart":
            self._texts[key] = [event.text]
        else:
            self._texts.pop(key, None)
        for watcher in self._watchers:
            watcher.tell(event)

    def forget(self, variable: str, path: Path) -> None:
        """A generation ended without a value."""
        self._texts.pop((variable, path), None)
