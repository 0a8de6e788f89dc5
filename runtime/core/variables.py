"""Semantic variables of a session: texts that are there, or will be, or will never be.

    empty ──▶ running ──▶ ready
                   └────▶ failed       whoever waits gets one of the two

A variable is set once: by a client, or by the call that makes it. It is `named` until the client
deletes it; one that nobody can name any more lives as long as calls need it.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from parrotc.ir.diagnostic import Diagnostic
from parrotc.runtime.engines.protocol import Piece
from parrotc.runtime.errors import Failed, Failure
from parrotc.runtime.goals import NOBODY_WAITS
from parrotc.runtime.variables import State, Variable

if TYPE_CHECKING:
    from parrotc.runtime.core.graph import Call

CANCELLED = "E0613"


class VariableState(StrEnum):
    EMPTY = "empty"  # nobody has set it yet, and what would is not running
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class VariableView:
    """A semantic variable as it is now; `content` when ready, `diagnostic` when failed."""

    id: str
    name: str
    state: VariableState
    content: str | None = None
    diagnostic: Diagnostic | None = None


class SemanticVariable:
    """`producer` is the call that will set it, until it has; `depth` counts the generations up to
    it on the longest way. `consumers` are calls that wait for it."""

    __slots__ = ("_value", "consumers", "depth", "goal", "id", "is_named", "name", "producer")

    def __init__(self, name: str, id: str = "") -> None:
        """`id` is that of a variable which is there again."""
        self.id = id or f"v-{token_urlsafe(12)}"
        self.name = name
        self.producer: Call | None = None
        self.consumers: set[Call] = set()
        self.depth = 0
        self.goal = NOBODY_WAITS
        self.is_named = True
        self._value = Variable(name)

    @property
    def is_settled(self) -> bool:
        return self._value.state is not State.EMPTY

    @property
    def is_needed(self) -> bool:
        """Whether anybody may ask for it, or a call reads it or will set it."""
        return self.is_named or bool(self.consumers) or self.producer is not None

    @property
    def outcome(self) -> "str | Failure | None":
        outcome: str | Failure | None = self._value.outcome if self.is_settled else None
        return outcome

    def view(self) -> VariableView:
        match self._value.state:
            case State.READY:
                content = self._value.outcome
                return VariableView(self.id, self.name, VariableState.READY, content)
            case State.FAILED:
                found = self._value.outcome.diagnostic
                return VariableView(self.id, self.name, VariableState.FAILED, None, found)
        is_running = self.producer is not None and self.producer.has_begun
        state = VariableState.RUNNING if is_running else VariableState.EMPTY
        return VariableView(self.id, self.name, state)

    def set(self, outcome: "str | Failure") -> None:
        """Give it its value or failure, unless it has one: a call that was cancelled may end."""
        if not self.is_settled:
            self._value.set(outcome)
            self.producer = None

    def cancel(self, why: str) -> None:
        self.set(Failed(CANCELLED, why).at(None))

    def tell(self, piece: Piece) -> None:
        """Some more of what will be its text."""
        if not self.is_settled:
            self._value.tell(piece)

    async def wait(self) -> "str | Failure":
        outcome: str | Failure = await self._value.wait()
        return outcome

    async def pieces(self) -> AsyncGenerator[Piece | Failure, None]:
        """Its text as it comes, in pieces of any size, the whole of which it is; or why it ends.

        What comes while nobody asks is joined: who is slow gets larger pieces and delays nobody.
        """
        told: list[Piece] = []
        came = asyncio.Event()

        def tell(piece: Piece) -> None:
            if piece.restart:
                told.clear()
            told.append(piece)
            came.set()

        self._value.watch(tell)
        settled = asyncio.ensure_future(self._value.wait())
        settled.add_done_callback(lambda _: came.set())
        said: list[str] = []
        try:
            while not settled.done():
                await came.wait()
                came.clear()
                if told:
                    is_anew = told[0].restart
                    text = "".join(piece.text for piece in told)
                    told.clear()
                    if is_anew:
                        said.clear()
                    said.append(text)
                    yield Piece(text, restart=is_anew)
            outcome = settled.result()
            if isinstance(outcome, Failure):
                yield outcome
            elif outcome != (before := "".join(said)):
                goes_on = outcome.startswith(before)
                yield Piece(outcome.removeprefix(before), restart=not goes_on)
        finally:
            settled.cancel()
            self._value.unwatch(tell)
