"""What belongs to one session: its variables, and the calls that make them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.types import Json
from parrotc.runtime.core.calling import Calling, goal_of
from parrotc.runtime.core.errors import (
    Cancelled,
    Conflict,
    CoreError,
    Failed,
    TimedOut,
    Unavailable,
)
from parrotc.runtime.core.graph import Graph
from parrotc.runtime.core.keeping import Keeping, record_of
from parrotc.runtime.core.limits import check_size
from parrotc.runtime.core.recall import Recall
from parrotc.runtime.core.records import Records
from parrotc.runtime.core.sessionrecords import CallRecord, SessionRecords
from parrotc.runtime.core.variables import CANCELLED, SemanticVariable, VariableView
from parrotc.runtime.core.views import CallView
from parrotc.runtime.core.working import Caller, Tools
from parrotc.runtime.engines.protocol import Piece
from parrotc.runtime.errors import Failure

_LONGEST_NAME = 256


class Space:
    """All methods raise `NotFound` for a variable that is not this session's. What changes
    something is in `records`, if there are any, when it returns; else it raises `Unavailable`."""

    def __init__(self, tools: Tools, caller: Caller, records: Records | None) -> None:
        self._tools = tools
        self._session = caller.session
        self._keeping = Keeping(records, caller.session)
        self._graph = Graph(tools.config.max_variables, self._keeping)
        self._calling = Calling(tools, caller, self._graph, self._keeping)

    @property
    def calls(self) -> int:
        return len(self._graph)

    # --- variables ---

    async def create(self, name: str, content: str | None) -> VariableView:
        """Raises `Busy`, `TooLarge`."""
        check_size("the name", len(name), _LONGEST_NAME)
        check_size(f"the text of `{name}`", len(content or ""), self._tools.config.max_variable)
        (variable,) = self._graph.create(name)
        if content is not None:
            variable.set(content)
        try:
            await self._keeping.made(variable)
        except Unavailable:
            self._graph.delete(variable.id)
            raise
        return variable.view()

    def views(self) -> list[VariableView]:
        return [variable.view() for variable in self._graph]

    def view(self, var_id: str) -> VariableView:
        return self._graph.find(var_id).view()

    async def set(self, var_id: str, content: str) -> VariableView:
        """Raises `Conflict`, `TooLarge`."""
        variable = self._graph.find(var_id)
        what = f"the text of `{variable.name}`"
        check_size(what, len(content), self._tools.config.max_variable)
        if variable.is_settled or variable.producer is not None:
            raise Conflict(f"the variable `{variable.name}` is set already, or will be by a call")
        variable.set(content)
        await self._keeping.was_set(variable)
        return variable.view()

    async def delete(self, var_id: str) -> None:
        variable = self._graph.find(var_id)
        is_needed = bool(variable.consumers) or variable.producer is not None
        self._graph.delete(var_id)
        await self._keeping.deleted(variable, is_needed=is_needed)

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
        self._graph.demand(variable, goal_of(criteria))
        most = self._tools.config.max_get
        return variable, most if timeout is None else min(timeout, most)

    # --- calls ---

    async def semantic_call(self, payload: Mapping[str, Json]) -> CallView:
        return await self._calling.semantic(payload)

    async def native_call(self, payload: Mapping[str, Json]) -> CallView:
        return await self._calling.native(payload)

    # --- the end, and going on ---

    async def resume(self, records: Records) -> None:
        """Go on where an earlier core was cut off, which kept `records`."""
        rows = records.of_session(self._session)
        held = {row.id: self._graph.restore(row) for row in await rows.variables()}
        calls = [
            (call, Recall(await records.generations(call.id), await records.natives(call.id)))
            for call in await rows.calls()
        ]
        for call, before in calls:  # at once: what one needs another does not end
            try:
                self._calling.resume(call, held, before)
            except KeyError:  # it was over, and one of its variables is deleted
                rows.end_call(call.id, (), ())
            except CoreError as error:
                _give_up(rows, call, held, error)
        self._graph.tidy()
        await rows.drop_variables(one.id for one in held.values() if not one.is_needed)

    async def drain(self) -> None:
        """Wait until no call goes on."""
        await self._graph.drain()

    async def close(self, why: str) -> None:
        """Cancel all calls; whoever waits for a variable is told `why`. What is kept stays so."""
        self._keeping.stop()
        await self._graph.close(why)


def _give_up(
    rows: SessionRecords,
    call: CallRecord,
    held: Mapping[str, SemanticVariable],
    error: CoreError,
) -> None:
    message = f"the call was cut off and cannot go on: {error.message}"
    failure = Failure(Diagnostic(CANCELLED, message, help=error.help))
    lost = [held[id] for id in call.outputs.values() if id in held]
    for variable in lost:
        variable.set(failure)
    rows.end_call(call.id, map(record_of, lost), ())


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
