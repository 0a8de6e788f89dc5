"""What is in a journal, as rows: sessions, plans, runs, and what each run has finished."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.types import Json
from parrotc.runtime.core.causes import cause_of, told
from parrotc.runtime.core.journal import Journal, Statement
from parrotc.runtime.core.sessionrecords import SessionRecords
from parrotc.runtime.core.sessions import Session
from parrotc.runtime.core.tenants import Tenant
from parrotc.runtime.core.views import RunState
from parrotc.runtime.engines.protocol import Finished
from parrotc.runtime.errors import Failed
from parrotc.runtime.terms import Path, Ran


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run as it was asked for, and how it ended, if it has. Times are Unix times."""

    id: str
    tenant: str
    session: str | None
    plan: str
    digest: str
    flow: str
    inputs: dict[str, Json]
    seed: int
    criteria: Json
    deadline: float
    started: float
    state: RunState = RunState.RUNNING
    ended: float | None = None
    result: Json = None
    diagnostic: Diagnostic | None = None


class Records:
    """The rows of one journal. What is awaited is durable then, or raises `Unavailable`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    # --- sessions ---

    async def add_session(self, session: Session) -> None:
        values = (session.id, session.tenant.name, session.token_hash, session.expires)
        await self._journal.write(("insert into sessions values (?, ?, ?, ?)", values))

    async def drop_session(self, session_id: str) -> None:
        """With its variables, and its calls and what they have finished."""
        calls = "in (select id from calls where session = ?)"
        statements = (
            f"delete from generations where run {calls}",
            f"delete from natives where run {calls}",
            "delete from calls where session = ?",
            "delete from variables where session = ?",
            "delete from sessions where id = ?",
        )
        await self._journal.write(*((statement, (session_id,)) for statement in statements))

    def of_session(self, session_id: str) -> SessionRecords:
        """Those of its variables and its calls."""
        return SessionRecords(self._journal, session_id)

    async def sessions(self) -> list[Session]:
        rows = await self._journal.read("select id, tenant, expires, token_hash from sessions")
        return [Session(id, Tenant(tenant), expires, held) for id, tenant, expires, held in rows]

    # --- plans ---

    async def add_plan(self, tenant: str, name: str, digest: str, raw: bytes) -> None:
        await self._journal.write(
            ("insert or ignore into plan_bytes values (?, ?)", (digest, raw)),
            ("insert or replace into plans values (?, ?, ?)", (tenant, name, digest)),
            _UNUSED_BYTES,
        )

    async def drop_plan(self, tenant: str, name: str) -> None:
        await self._journal.write(
            ("delete from plans where tenant = ? and name = ?", (tenant, name)), _UNUSED_BYTES
        )

    async def plans(self) -> list[tuple[str, str, bytes]]:
        """Tenants, names and contents."""
        return await self._journal.read(
            "select tenant, name, raw from plans join plan_bytes using (digest)"
        )

    async def plan_bytes(self, digest: str) -> bytes:
        """The plan of a run that is not over; empty if it is not there."""
        rows = await self._journal.read("select raw from plan_bytes where digest = ?", digest)
        return rows[0][0] if rows else b""

    # --- runs ---

    async def add_run(self, run: RunRecord, raw: bytes) -> None:
        request = json.dumps([run.inputs, run.seed, run.criteria, run.deadline])
        await self._journal.write(
            ("insert or ignore into plan_bytes values (?, ?)", (run.digest, raw)),
            (
                "insert into runs values (?, ?, ?, ?, ?, ?, ?, ?, ?, null, null)",
                (
                    run.id, run.tenant, run.session, run.plan, run.digest, run.flow, request,
                    run.started, str(run.state),
                ),
            ),
        )  # fmt: skip

    async def end_run(self, run: RunRecord) -> None:
        """Keep how a run ended, and nothing of the way there."""
        outcome = json.dumps([run.result, run.diagnostic and told(run.diagnostic)])
        await self._journal.write(
            (
                "update runs set state = ?, ended = ?, outcome = ?, request = '' where id = ?",
                (str(run.state), run.ended, outcome, run.id),
            ),
            ("delete from generations where run = ?", (run.id,)),
            ("delete from natives where run = ?", (run.id,)),
            _UNUSED_BYTES,
        )

    def drop_runs(self, ids: Iterable[str]) -> None:
        self._journal.post(*(("delete from runs where id = ?", (name,)) for name in ids))

    async def runs(self) -> list[RunRecord]:
        rows = await self._journal.read(
            "select id, tenant, session, plan, digest, flow, request, started, state, ended,"
            " outcome from runs order by started"
        )
        return [_run(row) for row in rows]

    # --- what a run, or a call of a session, has finished ---

    async def add_generation(
        self, run: str, site: str, path: Path, prompt: bytes, finished: Finished
    ) -> None:
        held = json.dumps(asdict(replace(finished, logprobs=())))
        await self._journal.write(
            (
                "insert or replace into generations values (?, ?, ?, ?, ?)",
                (run, site, _text(path), prompt, held),
            )
        )

    async def begin_native(self, run: str, place: str, path: Path) -> None:
        values = run, place, _text(path)
        await self._journal.write(("insert or replace into natives values (?, ?, ?, null)", values))

    async def end_native(self, run: str, place: str, path: Path, ran: Ran) -> None:
        values = run, place, _text(path), json.dumps(_outcome(ran))
        await self._journal.write(("insert or replace into natives values (?, ?, ?, ?)", values))

    async def generations(self, run: str) -> dict[tuple[str, Path], tuple[bytes, Finished]]:
        rows = await self._journal.read(
            "select site, path, prompt, finished from generations where run = ?", run
        )
        return {
            (site, _path(path)): (prompt, _finished(json.loads(held)))
            for site, path, prompt, held in rows
        }

    async def natives(self, run: str) -> dict[tuple[str, Path], Ran | None]:
        """How they ended; None for one that had begun."""
        rows = await self._journal.read(
            "select place, path, outcome from natives where run = ?", run
        )
        return {
            (place, _path(path)): None if held is None else _ran(json.loads(held))
            for place, path, held in rows
        }


_UNUSED_BYTES: Statement = (
    "delete from plan_bytes as held where"
    " not exists (select 1 from plans where digest = held.digest) and not exists"
    " (select 1 from runs where digest = held.digest and state = 'running')",
    (),
)


def _text(path: Path) -> str:
    return ".".join(map(str, path))


def _path(text: str) -> Path:
    return tuple(map(int, text.split("."))) if text else ()


def _finished(held: dict[str, Any]) -> Finished:
    return Finished(
        reason=held["reason"],
        text=held["text"],
        ids=tuple(held["ids"]),
        kept=held["kept"],
        rest=held["rest"],
        scores=tuple((option, p) for option, p in held["scores"]),
    )


def _outcome(ran: Ran) -> Json:
    if ran.failed is None:
        return {"value": ran.value}
    failed = ran.failed
    return {"failed": [failed.code, failed.message, list(failed.notes), failed.help]}


def _ran(held: dict[str, Any]) -> Ran:
    if "failed" not in held:
        return Ran(held["value"])
    code, message, notes, help = held["failed"]
    return Ran(failed=Failed(code, message, notes=tuple(notes), help=help))


def _run(row: tuple[Any, ...]) -> RunRecord:
    id, tenant, session, plan, digest, flow, request, started, state, ended, outcome = row
    inputs, seed, criteria, deadline = json.loads(request) if request else ({}, 0, None, 0.0)
    result, cause = json.loads(outcome) if outcome else (None, None)
    return RunRecord(
        id=id, tenant=tenant, session=session, plan=plan, digest=digest, flow=flow, inputs=inputs,
        seed=seed, criteria=criteria, deadline=deadline, started=started, state=RunState(state),
        ended=ended, result=result, diagnostic=cause and cause_of(cause),
    )  # fmt: skip
