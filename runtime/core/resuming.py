"""A core goes on where the last one with its journal ended: sessions, their calls, plans, runs."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from parrotc.runtime.core.errors import CoreError
from parrotc.runtime.core.natives import AllowedNatives
from parrotc.runtime.core.plans import Plans, read_plan
from parrotc.runtime.core.recall import Recall
from parrotc.runtime.core.records import Records, RunRecord
from parrotc.runtime.core.runs import Runs
from parrotc.runtime.core.sessions import Clock, Session, Sessions
from parrotc.runtime.core.spaces import Space
from parrotc.runtime.core.views import RunState

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resuming:
    """`begin` gives what belongs to a session that is open again."""

    records: Records
    sessions: Sessions
    plans: Plans
    runs: Runs
    natives: AllowedNatives
    clock: Clock
    begin: Callable[[Session], Space]

    async def all(self) -> None:
        open_ = await self._sessions()
        for tenant, name, raw in await self.records.plans():
            try:
                self.plans.put(tenant, await asyncio.to_thread(read_plan, name, raw))
            except CoreError as error:  # of a version that this one does not read
                _log.warning("the plan %s of %s is left out: %s", name, tenant, error.message)
        for record in await self.records.runs():
            if record.state is not RunState.RUNNING:
                self.runs.restore(record)
            elif record.session is not None and record.session not in open_:
                await self.runs.give_up(record, "its session has expired")
            else:
                await self._run(record)

    async def _sessions(self) -> set[str]:
        """The names of those that are still open."""
        found = set()
        for session in await self.records.sessions():
            if session.expires > self.clock():
                self.sessions.restore(session)
                await self.begin(session).resume(self.records)
                found.add(session.id)
            else:
                await self.records.drop_session(session.id)
        return found

    async def _run(self, record: RunRecord) -> None:
        try:
            raw = await self.records.plan_bytes(record.digest)
            plan = await asyncio.to_thread(read_plan, record.plan, raw)
            self.natives.check(plan.plan)
            before = Recall(
                await self.records.generations(record.id), await self.records.natives(record.id)
            )
            self.runs.resume(record, plan, before)
        except CoreError as error:
            await self.runs.give_up(record, error.message)
        else:
            _log.info("run %s goes on: %d calls were finished", record.id, len(before.generations))
