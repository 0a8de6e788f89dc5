"""What a run tells while it goes on: counters that are always right, and events when they change.

    calls_done / calls_total_known     progress; the total grows when a map learns its items
    tokens_filled / tokens_without_sharing    what sharing saves

Nothing here waits or stores: a watcher gets each event at once and must return quickly.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(slots=True)
class Counters:
    """Totals of one run. `tokens_without_sharing` is what each call's prompt would cost alone."""

    calls_total_known: int = 0
    calls_running: int = 0
    calls_done: int = 0
    calls_failed: int = 0
    natives_running: int = 0
    natives_done: int = 0
    tokens_generated: int = 0
    tokens_filled: int = 0
    tokens_without_sharing: int = 0

    def copy(self) -> "Counters":
        return replace(self)

    def add(self, other: "Counters") -> None:
        """Count what another run has counted too."""
        for spec in fields(self):
            setattr(self, spec.name, getattr(self, spec.name) + getattr(other, spec.name))


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened at `site`: `calls`, `started`, `text`, `finished`, `failed`, `filled`,
    `native`. `counters` are the live totals: copy them to keep them."""

    kind: str
    site: str
    counters: Counters
    path: tuple[int, ...] = ()
    text: str = ""


Watcher = Callable[[Event], None]


class Trace:
    """The counters of a run and whoever watches them.

    `finished()` gives what is done so far, as `RunError.finished` does: for who ends a run early.
    """

    def __init__(self, watcher: Watcher | None = None) -> None:
        self.counters = Counters()
        self.finished: Callable[[], dict[str, Any]] = dict
        self._watcher = watcher

    def tell(self, kind: str, site: str = "", path: tuple[int, ...] = (), text: str = "") -> None:
        if self._watcher is not None:
            self._watcher(Event(kind, site, self.counters, path, text))
