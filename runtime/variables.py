"""Semantic variables: futures with a name that are set at most once and never hang a getter.

A variable is empty, then ready with a value or failed with a cause. Whoever waits for it gets one
of the two; a failed one poisons what reads it. Text that is still being generated can be watched.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from parrotc.runtime.errors import Failure


class State(StrEnum):
    EMPTY = "empty"
    READY = "ready"
    FAILED = "failed"


class Variable:
    """One value of a run. Belongs to one event loop."""

    __slots__ = ("_outcome", "_waiters", "name", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = State.EMPTY
        self._outcome: Any = None
        self._waiters: list[asyncio.Future[None]] | None = None

    def set(self, outcome: Any) -> None:
        """Give the value, or the `Failure`, and wake everybody. Only once."""
        if self.state is not State.EMPTY:
            raise RuntimeError(f"`{self.name}` is set twice")
        self._outcome = outcome
        self.state = State.FAILED if isinstance(outcome, Failure) else State.READY
        waiters, self._waiters = self._waiters, None
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
            await waiter
        return self._outcome


TextSink = Callable[[str], None]  # told each piece of a text while it is generated
