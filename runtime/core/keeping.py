"""What a session writes down where there is a journal: its variables, and its calls until they end.

    a call that is taken      its payload, and the variables that are new with it
    an output                 by the memory of its call, before anybody is told of it
    a call that fails         why, likewise
    a call that has ended     what it made; the rest of it is forgotten

A variable is kept as long as it is in the graph: while somebody can name it, or a call needs it.
"""

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import BaseModel

from parrotc.runtime.core.errors import Unavailable
from parrotc.runtime.core.recall import Recall, RunMemory, Told
from parrotc.runtime.core.records import Records
from parrotc.runtime.core.sessionrecords import CallRecord, SessionRecords, VariableRecord
from parrotc.runtime.core.variables import SemanticVariable
from parrotc.runtime.errors import Failure

if TYPE_CHECKING:
    from parrotc.runtime.core.graph import Call

_log = logging.getLogger(__name__)


class Keeping:
    """Does nothing without `records`. What is awaited is durable then, or raises `Unavailable`."""

    def __init__(self, records: Records | None = None, session: str = "") -> None:
        self._records = records
        self._rows: SessionRecords | None = records.of_session(session) if records else None

    def stop(self) -> None:
        """Write no more: the session is over, or another core will go on with it."""
        self._rows = None

    # --- variables ---

    async def made(self, variable: SemanticVariable) -> None:
        if self._rows is not None:
            await self._rows.add_variable(record_of(variable))

    async def was_set(self, variable: SemanticVariable) -> None:
        if self._rows is not None:
            await self._rows.set_variables([record_of(variable)])

    async def deleted(self, variable: SemanticVariable, *, is_needed: bool) -> None:
        """Nobody can name it any more; whether a call needed it then."""
        if self._rows is not None and is_needed:
            await self._rows.set_variables([record_of(variable)])
        elif self._rows is not None:
            await self._rows.drop_variables([variable.id])

    # --- calls ---

    async def taken(
        self,
        call: "Call",
        said: BaseModel,
        new: Iterable[SemanticVariable],
        model: str | None,
        seed: int,
    ) -> None:
        """`said` is its payload; `model` and `seed` are those of a semantic call."""
        if self._rows is not None:
            outputs = {name: variable.id for name, variable in call.outputs.items()}
            payload = said.model_dump(exclude_unset=True, exclude={"session_id", "session_auth"})
            record = CallRecord(id=call.id, said=payload, outputs=outputs, model=model, seed=seed)
            await self._rows.add_call(record, map(record_of, new))

    def memory(self, call: str, told: Told, before: Recall) -> RunMemory:
        """Of a call, which had finished `before` when it was cut off."""
        return RunMemory(call, told, self._records, before)

    async def failing(self, call: "Call", failure: Failure) -> None:
        """Before those who wait are told."""
        if self._rows is not None:
            lost = (one for one in call.outputs.values() if not one.is_settled)
            records = [VariableRecord(one.id, one.name, one.is_named, failure) for one in lost]
            try:
                await self._rows.set_variables(records)
            except Unavailable as error:
                _log.error("why a call failed is not in the journal: %s", error.message)

    def over(self, call: "Call") -> None:
        """Nothing refers to it any more."""
        if self._rows is not None:
            made = [record_of(one) for one in call.outputs.values() if one.is_needed]
            around = (*call.outputs.values(), *call.reads())
            self._rows.end_call(call.id, made, {one.id for one in around if not one.is_needed})


def record_of(variable: SemanticVariable) -> VariableRecord:
    return VariableRecord(variable.id, variable.name, variable.is_named, variable.outcome)
