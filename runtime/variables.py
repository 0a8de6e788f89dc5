"""Semantic variables: futures with a name that are set at most once and never hang a getter.

A variable is empty, then ready with a value or failed with a cause. Whoever waits for it gets one
of the two; a failed one poisons what reads it. Text that is still being generated can be watched.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from parrotc.runtime.engines.protocol import Piece
from parrotc.runtime.errors import Failure

TextSink = Callable[[str], None]  # told each piece of a text while it is generated
PieceSink = Callable[[Piece], None]


class State(StrEnum):
    EMPTY = "empty"
    READY = "ready"
    FAILED = "failed"


class Variable:
    """One value of a run. Belongs to one event loop."""

    __slots__ = ("_outcome", "_pieces", "_waiters", "_watchers", "name", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = State.EMPTY
        self._outcome: Any = None
        self._waiters: list[asyncio.Future[None]] | None = None
        self._pieces: list[Piece] | None = None
        self._watchers: list[PieceSink] | None = None

    def tell(self, piece: Piece) -> None:
        """Some more of the text that will be the value, or its beginning anew."""
        self._pieces = [] if piece.restart else self._pieces or []
        self._pieces.append(piece)
        for watcher in self._watchers or ():
            watcher(piece)

    def watch(self, watcher: PieceSink) -> None:
        """Have `watcher` told all pieces of the text: those that were there, then the others."""
        for piece in self._pieces or ():
            watcher(piece)
        if self.state is State.EMPTY:
            self._watchers = self._watchers or []
            self._watchers.append(watcher)

    def unwatch(self, watcher: PieceSink) -> None:
        """Tell `watcher` no more."""
        if self._watchers is not None and watcher in self._watchers:
            self._watchers.remove(watcher)

    def set(self, outcome: Any) -> None:
        """Give the value, or the `Failure`, and wake everybody. Only once."""
        if self.state is not State.EMPTY:
            raise RuntimeError(f"`{self.name}` is set twice")
        self._outcome = outcome
        self.state = State.FAILED if isinstance(outcome, Failure) else State.READY
        waiters, self._waiters = self._waiters, None
        self._pieces = self._watchers = None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    @property
    def outcome(self) -> Any:
        """The value or the `Failure`; only once it is set."""
        if self.state is State.EMPTY:
            raise RuntimeError(f"`{self.name}` has no value yet")
        return self._outcome

    async def wait(self) -> Any:
        """The outcome, as soon as there is one."""
        if self.state is State.EMPTY:
            waiter = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:  # who waits in vain again and again leaves nothing
                if self._waiters is not None:
                    self._waiters.remove(waiter)
                raise
        return self._outcome
