"""The state of one semantic variable, for any thread: what it will be, is, or why it is not.

A cell is set once: to plain data, to a `Failure`, or to an error that kept its segment from running
at all. Text that is still being generated can be watched.
"""

from collections.abc import Callable
from concurrent.futures import Future
from enum import StrEnum
from threading import Lock
from typing import Any

from parrotc.ir.diagnostic import Diagnostic
from parrotc.runtime.errors import Failure

Watcher = Callable[[str | None], None]  # told pieces of the text, and None at the end


class State(StrEnum):
    WAITING = "waiting"  # captured, or an input that is not set
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"


class Cell:
    """`outcome` is done when the value is there, or never will be; it never raises."""

    __slots__ = ("_lock", "_pieces", "_watchers", "is_running", "outcome")

    def __init__(self) -> None:
        self.outcome: Future[Any] = Future()
        self.is_running = False
        self._lock = Lock()
        self._pieces: list[str] = []
        self._watchers: list[Watcher] = []

    @property
    def state(self) -> State:
        if not self.outcome.done():
            return State.RUNNING if self.is_running else State.WAITING
        return State.FAILED if is_failed(self.outcome.result()) else State.READY

    def set(self, outcome: Any) -> bool:
        """Set it, unless it is set; whether it was."""
        with self._lock:
            if self.outcome.done():
                return False
            watchers, self._watchers = self._watchers, []
            self.outcome.set_result(outcome)
        for watcher in watchers:
            watcher(None)
        return True

    def tell(self, piece: str) -> None:
        """Some more of the text that will be the value."""
        with self._lock:
            self._pieces.append(piece)
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher(piece)

    def watch(self, watcher: Watcher) -> None:
        """Have `watcher` told all pieces, from the first, and the end."""
        with self._lock:
            for piece in self._pieces:
                watcher(piece)
            if not self.outcome.done():
                self._watchers.append(watcher)
                return
        watcher(None)

    def ignore(self, watcher: Watcher) -> None:
        with self._lock:
            if watcher in self._watchers:
                self._watchers.remove(watcher)


def is_failed(outcome: Any) -> bool:
    return isinstance(outcome, Failure | Exception)


def as_failure(outcome: Any) -> Any:
    """An outcome as a run takes it: an error becomes the failure that it tells of."""
    if not isinstance(outcome, Exception):
        return outcome
    found = getattr(outcome, "diagnostics", ())
    return Failure(found[0] if found else Diagnostic("E0608", str(outcome)))
