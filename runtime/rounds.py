"""The rounds of a fold that begins each of them while the one before it runs.

    round 0   params ─ fills ─ generation ────────┐ carried
    round 1            fills of what is known ─────┴─ the rest ─ generation ──

Before its turn a round runs what is known and needs no waiting; generations, natives and regions
stand at its gate until `go`.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from parrotc.runtime.frames import Frame, ended
from parrotc.runtime.prompts import Prompt


class Round:
    """One round; `work` gives what it yields."""

    def __init__(self, frame: Frame, work: asyncio.Task[list[Any]]) -> None:
        self.work = work
        self._frame = frame
        self._is_taken = False

    def go(self, carried: Sequence[Any]) -> None:
        """It is this round's turn. Takes over the holds of `carried`."""
        gate = self._frame.gate
        assert gate is not None
        for name, outcome in zip(self._frame.code.block.params[2:], carried, strict=True):
            self._frame.assign(name, outcome)
        gate.set()

    def flow_into(self, after: "Round") -> None:
        """What this round carries is read by the next while it is still being generated."""
        params = after._frame.code.block.params[2:]
        for name, param in zip(self._frame.code.block.yields, params, strict=True):
            self._frame.find(name).watch(after._frame.find(param).tell)

    async def take(self) -> list[Any]:
        """What the round yields, with the holds of contexts among it."""
        await asyncio.wait((self.work,))
        self._is_taken = True
        return self.work.result()

    async def abandon(self) -> None:
        """Stop the round, and drop what it yields if nobody took it."""
        if not self._is_taken:
            self.work.cancel()
            await ended((self.work,))
            if not self.work.cancelled() and self.work.exception() is None:
                drop(self.work.result())


def drop(outcomes: Iterable[Any]) -> None:
    """Give back the holds of contexts among values."""
    for outcome in outcomes:
        if isinstance(outcome, Prompt):
            outcome.drop()
