"""What is in a journal of one session: its variables, and its calls that have not ended."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from parrotc.ir.types import Json
from parrotc.runtime.core.causes import cause_of, told
from parrotc.runtime.core.journal import Journal, Statement
from parrotc.runtime.errors import Failure


@dataclass(frozen=True, slots=True)
class VariableRecord:
    """A semantic variable. `outcome` is its text, or why it will have none; one that is not named
    is there for the calls that need it."""

    id: str
    name: str
    is_named: bool = True
    outcome: str | Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """A call as it was asked for, and what was decided of it: the variables that it makes, by
    parameter, and of a semantic call its model and its seed. A native one has no model."""

    id: str
    said: dict[str, Json]
    outputs: dict[str, str]
    model: str | None = None
    seed: int = 0


class SessionRecords:
    """The rows of one session. What is awaited is durable then, or raises `Unavailable`."""

    def __init__(self, journal: Journal, session: str) -> None:
        self._journal, self._session = journal, session

    async def add_variable(self, variable: VariableRecord) -> None:
        await self._journal.write(self._added(variable))

    async def add_call(self, call: CallRecord, variables: Iterable[VariableRecord]) -> None:
        """A call and the variables that are new with it."""
        request = json.dumps([call.said, call.outputs, call.model, call.seed])
        await self._journal.write(
            *map(self._added, variables),
            ("insert into calls values (?, ?, ?)", (self._session, call.id, request)),
        )

    async def set_variables(self, variables: Iterable[VariableRecord]) -> None:
        await self._journal.write(*map(self._changed, variables))

    async def drop_variables(self, ids: Iterable[str]) -> None:
        await self._journal.write(*map(self._dropped, ids))

    def end_call(
        self, call: str, variables: Iterable[VariableRecord], unneeded: Iterable[str]
    ) -> None:
        """Keep what a call has made, and nothing of the way there; `unneeded` variables go with it.

        Nobody waits for this: until it is written, what the call has finished is.
        """
        self._journal.post(
            *map(self._changed, variables),
            *map(self._dropped, unneeded),
            ("delete from calls where session = ? and id = ?", (self._session, call)),
            ("delete from generations where run = ?", (call,)),
            ("delete from natives where run = ?", (call,)),
        )

    async def variables(self) -> list[VariableRecord]:
        """In the order in which they were made."""
        rows = await self._journal.read(
            "select id, name, is_named, content, failure from variables where session = ?"
            " order by rowid",
            self._session,
        )
        return [
            VariableRecord(id, name.decode(*_UTF), bool(is_named), _outcome(content, failure))
            for id, name, is_named, content, failure in rows
        ]

    async def calls(self) -> list[CallRecord]:
        """In the order in which they came."""
        rows = await self._journal.read(
            "select id, request from calls where session = ? order by rowid", self._session
        )
        found = ((id, *json.loads(request)) for id, request in rows)
        return [
            CallRecord(id=id, said=said, outputs=outputs, model=model, seed=seed)
            for id, said, outputs, model, seed in found
        ]

    def _added(self, variable: VariableRecord) -> Statement:
        values = self._session, variable.id, variable.name.encode(*_UTF), *_changeable(variable)
        return "insert into variables values (?, ?, ?, ?, ?, ?)", values

    def _changed(self, variable: VariableRecord) -> Statement:
        values = *_changeable(variable), self._session, variable.id
        return (
            "update variables set is_named = ?, content = ?, failure = ?"
            " where session = ? and id = ?",
            values,
        )

    def _dropped(self, id: str) -> Statement:
        return "delete from variables where session = ? and id = ?", (self._session, id)


_UTF = "utf-8", "surrogatepass"  # texts of Python may have what those of SQLite may not


def _changeable(variable: VariableRecord) -> tuple[bool, bytes | None, str | None]:
    outcome = variable.outcome
    if isinstance(outcome, Failure):
        return variable.is_named, None, json.dumps(told(outcome.diagnostic))
    return variable.is_named, None if outcome is None else outcome.encode(*_UTF), None


def _outcome(content: bytes | None, failure: str | None) -> str | Failure | None:
    if failure is not None:
        return Failure(cause_of(json.loads(failure)))
    return None if content is None else content.decode(*_UTF)
