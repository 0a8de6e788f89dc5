"""What belongs to one session: its variables, and the calls that make them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from parrotc.ir.types import Json
from parrotc.runtime.core.calling import Caller, Tools, native_call, semantic_call
from parrotc.runtime.core.errors import Cancelled, Conflict, CoreError, Failed, Invalid, TimedOut
from parrotc.runtime.core.graph import Graph
from parrotc.runtime.core.limits import check_size
from parrotc.runtime.core.payloads import read_native_call, read_semantic_call
from parrotc.runtime.core.variables import CANCELLED, SemanticVariable, VariableView
from parrotc.runtime.core.views import CallView
from parrotc.runtime.engines.protocol import Piece
from parrotc.runtime.errors import Failure
from parrotc.runtime.goals import Goal, read_goal

_LONGEST_NAME = 256


class Space:
    """All methods raise `NotFound` for a variable that is not this session's."""

    def __init__(self, tools: Tools, caller: Caller) -> None:
        self._tools = tools
        self._caller = caller
        self._graph = Graph(tools.config.max_variables)

    @property
    def calls(self) -> int:
        return len(self._graph)

    # --- variables ---

    def create(self, name: str, content: str | None) -> VariableView:
        """Raises `Busy`, `TooLarge`."""
        check_size("the name", len(name), _LONGEST_NAME)
        check_size(f"the text of `{name}`", len(content or ""), self._tools.config.max_variable)
        (variable,) = self._graph.create(name)
        if content is not None:
            variable.set(content)
        return variable.view()

    def views(self) -> list[VariableView]:
        return [variable.view() for variable in self._graph]

    def view(self, var_id: str) -> VariableView:
        return self._graph.find(var_id).view()

    def set(self, var_id: str, content: str) -> VariableView:
        """Raises `Conflict`, `TooLarge`."""
        variable = self._graph.find(var_id)
        what = f"the text of `{variable.name}`"
        check_size(what, len(content), self._tools.config.max_variable)
        if variable.is_settled or variable.producer is not None:
            raise Conflict(f"the variable `{variable.name}` is set already, or will be by a call")
        variable.set(content)
        return variable.view()

    def delete(self, var_id: str) -> None:
        self._graph.delete(var_id)

    async def get(self, var_id: str, criteria: Json, timeout: float | None) -> str:
        """Raises `Failed`, `Cancelled`, `TimedOut`, `Invalid`."""
        variable, seconds = self._ask(var_id, criteria, timeout)
        try:
            async with asyncio.timeout(seconds):
                outcome = await variable.wait()
        except TimeoutError:
            raise _too_late(variable, seconds) from None
        return _text(outcome)

    def stream(self, var_id: str, criteria: Json, timeout: float | None) -> AsyncIterator[Piece]:
        """The text as it comes. Raises as `get` does: the first two at once."""
        variable, seconds = self._ask(var_id, criteria, timeout)
        return _pieces(variable, seconds)

    def _ask(
        self, var_id: str, criteria: Json, timeout: float | None
    ) -> tuple[SemanticVariable, float]:
        variable = self._graph.find(var_id)
        self._graph.demand(variable, _goal(criteria))
        most = self._tools.config.max_get
        return variable, most if timeout is None else min(timeout, most)

    # --- calls ---

    def semantic_call(self, payload: Mapping[str, Json]) -> CallView:
        said = read_semantic_call(payload)
        goal = None if said.output_criteria is None else _goal(said.output_criteria)
        return semantic_call(self._tools, self._caller, self._graph, said, goal)

    def native_call(self, payload: Mapping[str, Json]) -> CallView:
        return native_call(self._tools, self._caller, self._graph, read_native_call(payload))

    # --- the end ---

    async def drain(self) -> None:
        """Wait until no call goes on."""
        await self._graph.drain()

    async def close(self, why: str) -> None:
        """Cancel all calls; whoever waits for a variable is told `why`."""
        await self._graph.close(why)


def _goal(criteria: Json) -> Goal:
    try:
        return read_goal(criteria, asyncio.get_running_loop().time())
    except ValueError as error:
        raise Invalid(str(error)) from None


def _text(outcome: str | Failure) -> str:
    if isinstance(outcome, Failure):
        raise _error(outcome)
    return outcome


def _error(failure: Failure) -> CoreError:
    found = failure.diagnostic
    kind = Cancelled if found.code == CANCELLED else Failed
    return kind(found.message, found.help, diagnostic=found)


async def _pieces(variable: SemanticVariable, seconds: float) -> AsyncIterator[Piece]:
    until = asyncio.get_running_loop().time() + seconds
    async with aclosing(variable.pieces()) as pieces:
        while True:
            try:
                async with asyncio.timeout_at(until):
                    piece = await anext(pieces, None)
            except TimeoutError:
                raise _too_late(variable, seconds) from None
            if piece is None:
                return
            if isinstance(piece, Failure):
                raise _error(piece)
            yield piece


def _too_late(variable: SemanticVariable, seconds: float) -> TimedOut:
    """Says what it waits for: a text that nobody has given is the usual reason."""
    message = f"the variable `{variable.name}` has no text after {seconds:g} s"
    unset = _unset(variable)
    if unset is variable:
        return TimedOut(f"{message}: no call makes it, and nobody has set it", "set it first")
    if unset is not None:
        return TimedOut(
            f"{message}: it waits for `{unset.name}`, which no call makes and nobody has set",
            f"set `{unset.name}` first",
        )
    return TimedOut(message, "its call goes on: ask again")


def _unset(variable: SemanticVariable) -> SemanticVariable | None:
    """A variable that `variable` waits for and that nothing will set."""
    waiting, seen = [variable], set[SemanticVariable]()
    while waiting:
        one = waiting.pop()
        if one in seen or one.is_settled:
            continue
        seen.add(one)
        if one.producer is None:
            return one
        waiting += one.producer.reads()
    return None
