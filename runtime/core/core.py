"""ServeCore: sessions, semantic variables, plans, the scheduler and the engines as one object.

    core = ServeCore(config, services)
    await core.start()
    opened = await core.open_session(core.tenant(api_key))
    session = core.session(opened.id, opened.token)
    call = await core.semantic_call(session, {"template": "Say {{q}}: {{a}}", "parameters": […]})
    text = await core.get_variable(session, call.parameters[1].var_id, timeout=30)
    await core.close()

It knows no HTTP and no compiler: a server translates requests to these methods, and what turns a
template into a plan is handed in (`Services`). All methods belong to one event loop, and none of
them blocks it. Whatever goes wrong is a `CoreError` (`errors.py`); what a caller has no right to is
`NotFound`, the same as what never was.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from parrotc.ir.types import Json
from parrotc.runtime.core.base import Core
from parrotc.runtime.core.compiled import Compile, Compiled
from parrotc.runtime.core.config import CoreConfig
from parrotc.runtime.core.engines import Open
from parrotc.runtime.core.errors import Invalid, NotFound, Unauthorized, Unavailable
from parrotc.runtime.core.journal import Journal
from parrotc.runtime.core.limits import Allowance, check_size
from parrotc.runtime.core.natives import AllowedNatives, Standard
from parrotc.runtime.core.plans import Plans, read_plan
from parrotc.runtime.core.programs import Programs, Salts
from parrotc.runtime.core.records import Records, RunRecord
from parrotc.runtime.core.registry import RouterLimits
from parrotc.runtime.core.resuming import Resuming
from parrotc.runtime.core.runs import Runs
from parrotc.runtime.core.sessions import Clock, OpenedSession, Session, Sessions
from parrotc.runtime.core.spaces import Space
from parrotc.runtime.core.tenants import Tenant, read_tenants
from parrotc.runtime.core.variables import VariableView
from parrotc.runtime.core.views import CallView, PlanView, RunEvent, RunView
from parrotc.runtime.core.working import Caller, Tools
from parrotc.runtime.engines.protocol import Engine, Piece
from parrotc.runtime.errors import RunError
from parrotc.runtime.goals import read_goal
from parrotc.runtime.natives import Natives
from parrotc.runtime.scheduling.engines import Role
from parrotc.runtime.values import inputs as checked_inputs

_log = logging.getLogger(__name__)

SWEEP = 1.0  # seconds between looks at what has expired


@dataclass(frozen=True, slots=True)
class Services:
    """What whoever starts a core hands in: `compile` makes a plan of a template, `open` an engine
    of its config, `standard` finds the functions of the standard library."""

    compile: Compile
    open: Open
    standard: Standard


class ServeCore(Core):
    """`clock` gives Unix time."""

    def __init__(self, config: CoreConfig, services: Services, *, clock: Clock = time.time) -> None:
        """Raises `ConfigError` for keys that cannot be read."""
        limits = RouterLimits(engines=config.max_engines_num, silence=config.max_silence)
        super().__init__(config.scheduling, limits)
        self.config = config
        self.is_draining = False
        self._services = services
        self._clock = clock
        self._tenants = read_tenants(config)
        self._sessions = Sessions(config, clock)
        self._spaces: dict[str, Space] = {}
        self._plans = Plans(config.max_plans)
        self._sweeper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._journal: Journal | None = None
        self._records: Records | None = None
        self._natives = AllowedNatives(
            Natives([Path(config.native_path).resolve()], services.standard({}),
                    workers=config.native_workers),
            services.standard, config.natives, config.native_workers,
        )  # fmt: skip
        salts = Salts(secrets.token_hex(8), is_shared=config.share_prefixes_across_tenants)
        self._salts = salts
        self._programs = Programs(self._natives, salts)
        self._tools = Tools(
            config=config,
            models=self._models,
            compiled=Compiled(services.compile, config.max_compiled),
            programs=self._programs,
            natives=self._natives,
            calls=Allowance(config.max_tenant_queue_size, "calls of this tenant are going on"),
        )
        self._runs = Runs(config, self._models, self._programs, clock)

    # --- life ---

    async def start(self) -> None:
        """Open the engines of the config and the journal, and go on with what it holds.

        Raises `ConfigError` for a journal that cannot be used, and what opening engines raises.
        """
        if self.config.journal:
            self._journal = await Journal.open(Path(self.config.journal))
            self._records = self._runs.records = Records(self._journal)
        await self._engines.open(self._services.open, self.config.engines)
        if self._records is not None:
            await Resuming(
                self._records, self._sessions, self._plans, self._runs, self._natives,
                self._clock, self._begin_session,
            ).all()  # fmt: skip
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def drain(self, timeout: float) -> bool:
        """Take nothing new, and wait up to `timeout` seconds for the rest; whether all ended."""
        self.is_draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._runs.drain()
                for space in list(self._spaces.values()):
                    await space.drain()
        return not self._runs.going_on and not self._tools.calls.total()

    async def close(self) -> None:
        """Cancel what goes on and give everything back, the engines too."""
        self.is_draining = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        spaces, self._spaces = self._spaces, {}
        await self._runs.close()
        for space in spaces.values():
            await space.close("the core is stopping")
        while self._closing:
            await asyncio.wait(self._closing)
        await self._programs.close()
        await super().close()
        await self._natives.close()
        if self._journal is not None:
            await self._journal.close()

    def stats(self) -> dict[str, int]:
        """How many there are of what, at this moment."""
        return {
            "sessions": len(self._sessions),
            "calls": self._tools.calls.total(),
            "queued": sum(model.router.queued for model in self._models),
            "runs_going_on": self._runs.going_on,
            "runs_remembered": len(self._runs),
            "plans": sum(1 for _ in self._plans),
            "programs": len(self._programs),
            "models": len(self._models),
            "engines": len(self.engines()),
        }

    # --- who ---

    def tenant(self, api_key: str | None) -> Tenant:
        """Raises `Unauthorized`. Without keys in the config everybody is the tenant `default`."""
        return self._tenants.find(api_key)

    def operator(self, api_key: str | None) -> Tenant:
        """Whoever may add engines and see all: one of the config's `operators`, or anybody where
        it names no keys. Raises `Unauthorized`."""
        tenant = self._tenants.find(api_key)
        if self._tenants.are_known and tenant.name not in self.config.operators:
            raise Unauthorized("the key of an operator is needed")
        return tenant

    # --- sessions ---

    # Where there is a journal, what is awaited below is durable when it returns. `Unavailable` is
    # raised where it cannot be, and while the core is stopping.

    async def open_session(self, tenant: Tenant) -> OpenedSession:
        """Raises `Busy` when there are as many as there may be."""
        self._require_open()
        for session in self._sessions.expired():
            self._end_session(session)
        opened = self._sessions.open(tenant)
        session = self._sessions.find(opened.id, opened.token)
        self._begin_session(session)
        if self._records is not None:
            try:
                await self._records.add_session(session)
            except Unavailable:
                self._end_session(session)
                raise
        return opened

    def session(self, session_id: str, token: str) -> Session:
        """Raises `NotFound` for any pair that is not one: unknown, wrong token, expired, closed."""
        return self._sessions.find(session_id, token)

    async def close_session(self, session: Session) -> None:
        """Forget it and its variables, and cancel its calls and runs."""
        task = self._end_session(session)
        if task is not None:
            await asyncio.shield(task)

    # --- variables ---

    async def create_variable(
        self, session: Session, name: str, content: str | None = None
    ) -> VariableView:
        """An empty variable, or one that is set. Raises `Busy`, `TooLarge`."""
        return await self._space(session).create(name, content)

    def variables(self, session: Session) -> list[VariableView]:
        return self._space(session).views()

    def variable(self, session: Session, var_id: str) -> VariableView:
        """Raises `NotFound`."""
        return self._space(session).view(var_id)

    async def set_variable(self, session: Session, var_id: str, content: str) -> VariableView:
        """Raises `Conflict` for one that is set or will be by a call, `TooLarge`, `NotFound`."""
        return await self._space(session).set(var_id, content)

    async def get_variable(
        self,
        session: Session,
        var_id: str,
        *,
        criteria: Json = None,
        timeout: float | None = None,
    ) -> str:
        """The text, when it is there.

        `criteria` is a name (`latency`, the default, or `throughput`) or an object of seconds
        (`{"ttft": 0.3}`, `{"tpot": 0.05}`, `{"deadline": 30}`), and reaches all that the variable
        depends on. `timeout` is in seconds; `max_get` is the default and the most. Raises `Failed`,
        `TimedOut`, `Cancelled`, `Invalid`, `NotFound`.
        """
        return await self._space(session).get(var_id, criteria, timeout)

    def stream_variable(
        self,
        session: Session,
        var_id: str,
        *,
        criteria: Json = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Piece]:
        """The text in pieces, from its first; one with `restart` begins it anew. Raises as
        `get_variable` does, `NotFound` and `Invalid` at once."""
        return self._space(session).stream(var_id, criteria, timeout)

    async def delete_variable(self, session: Session, var_id: str) -> None:
        """Nobody wants it any more: calls that nobody else needs are cancelled."""
        await self._space(session).delete(var_id)

    # --- calls ---

    async def semantic_call(self, session: Session, payload: Mapping[str, Json]) -> CallView:
        """Parrot's payload (`payloads.py`): `template`, `parameters` (each `name`, `is_output`, and
        `value` or `var_id`, `sampling_config`), `models`, `output_criteria`. Raises `Invalid` (with
        a diagnostic that points into the template), `NotFound`, `TooLarge`, `Busy`, `Conflict`."""
        self._require_open()
        return await self._space(session).semantic_call(payload)

    async def native_call(self, session: Session, payload: Mapping[str, Json]) -> CallView:
        """`func_name` is one of the config's `natives`; `parameters` are as above. Raises `Invalid`
        for code and for a function that is not allowed."""
        self._require_open()
        return await self._space(session).native_call(payload)

    # --- plans ---

    async def put_plan(self, tenant: Tenant, name: str, raw: bytes) -> PlanView:
        """Store or replace. Raises `Invalid` with the plan's own diagnostic, `TooLarge`, `Busy`."""
        self._require_open()
        check_size("the name", len(name), 256)
        plan = await asyncio.to_thread(read_plan, name, raw)
        self._natives.check(plan.plan)
        before = self._plans.put(tenant.name, plan)
        if before is not None and before.digest != plan.digest:
            self._programs.forget(before.digest, tenant.name)
        if self._records is not None:
            await self._records.add_plan(tenant.name, name, plan.digest, raw)
        return plan.view()

    def plans(self, tenant: Tenant) -> list[PlanView]:
        return [plan.view() for plan in self._plans.of(tenant.name)]

    def plan(self, tenant: Tenant, name: str) -> PlanView:
        """Raises `NotFound`."""
        return self._plans.find(tenant.name, name).view()

    def plan_bytes(self, tenant: Tenant, name: str) -> bytes:
        """The plan as it was stored. Raises `NotFound`."""
        return self._plans.find(tenant.name, name).raw

    async def delete_plan(self, tenant: Tenant, name: str) -> None:
        """Runs that go on keep it until they end. Raises `NotFound`."""
        plan = self._plans.delete(tenant.name, name)
        self._programs.forget(plan.digest, tenant.name)
        if self._records is not None:
            await self._records.drop_plan(tenant.name, name)

    # --- runs ---

    async def invoke(
        self,
        tenant: Tenant,
        plan: str,
        flow: str,
        inputs: Mapping[str, Json],
        *,
        session: Session | None = None,
        seed: int = 0,
        timeout: float | None = None,
        criteria: Json = None,
    ) -> RunView:
        """Begin a run of a flow, which a `session` takes along when it ends.

        With a journal the run is durable when this returns. `timeout` is in seconds (`max_run` is
        the default and the most); `criteria` as for variables, by default what the plan says.
        Raises `Invalid` for inputs, `NotFound`, `Busy`, `Unavailable`.
        """
        self._require_open()
        stored = self._plans.find(tenant.name, plan)
        declared = stored.flow(flow)
        if session is not None and (session.tenant != tenant or session.id not in self._spaces):
            raise NotFound("there is no such session")
        now = self._clock()
        try:
            given = checked_inputs(declared, stored.plan.type_table, inputs)
            if criteria is not None:
                read_goal(criteria, now)
        except RunError as error:
            raise Invalid(error.diagnostic.message, diagnostic=error.diagnostic) from None
        except ValueError as error:
            raise Invalid(str(error)) from None
        most = self.config.max_run
        record = RunRecord(
            id=f"r-{secrets.token_urlsafe(12)}",
            tenant=tenant.name,
            session=session.id if session else None,
            plan=plan,
            digest=stored.digest,
            flow=flow,
            inputs=given,
            seed=seed,
            criteria=criteria,
            deadline=now + (most if timeout is None else min(timeout, most)),
            started=now,
        )
        return (await self._runs.start(record, stored)).view()

    def runs(self, tenant: Tenant) -> list[RunView]:
        return [run.view() for run in self._runs.of(tenant.name)]

    def run(self, tenant: Tenant, run_id: str) -> RunView:
        """Raises `NotFound`."""
        return self._runs.find(tenant.name, run_id).view()

    async def wait_run(
        self, tenant: Tenant, run_id: str, *, timeout: float | None = None
    ) -> RunView:
        """The run when it is over, in whatever way. Raises `TimedOut`, `NotFound`."""
        return await self._runs.wait(self._runs.find(tenant.name, run_id), timeout)

    def stream_run(self, tenant: Tenant, run_id: str) -> AsyncIterator[RunEvent]:
        """What happens from now on, and how it ends; a text that is being generated comes from its
        first character. Raises `NotFound` at once."""
        return self._runs.events(self._runs.find(tenant.name, run_id))

    async def cancel_run(self, tenant: Tenant, run_id: str) -> RunView:
        """Stop a run; one that is over stays as it ended. Raises `NotFound`."""
        return await self._runs.cancel(self._runs.find(tenant.name, run_id))

    # --- models and engines ---

    def client(self, tenant: Tenant, model: str, *, application: str = "") -> Engine:
        """An engine to fill and generate on for a tenant, through the scheduler: close it after
        one request. Raises `NotFound`, `Unavailable`."""
        self._require_open()
        salt = self._salts.of(tenant.name)
        router = self._models.find(model).router
        return router.client(tenant=tenant.name, application=application, salt=salt)

    async def register_engine(
        self, url: str, *, model: str, name: str = "", role: Role = Role.MIXED
    ) -> str:
        """An engine that listens at `url`; gives the name for its heartbeats, which must come from
        now on. Raises `Invalid`, `Unavailable`, `Busy`."""
        self._require_open()
        return await self._engines.meet(url, model, name, role)

    # --- inside ---

    def _require_open(self) -> None:
        if self.is_draining:
            raise Unavailable("the core is stopping, and takes nothing new")

    def _space(self, session: Session) -> Space:
        """Raises `NotFound` for a session that was closed meanwhile."""
        space = self._spaces.get(session.id)
        if space is None:
            raise NotFound("there is no such session, or the token is not its")
        return space

    def _begin_session(self, session: Session) -> Space:
        began = asyncio.get_running_loop().time()
        caller = Caller(session.tenant.name, session.id, began)
        space = self._spaces[session.id] = Space(self._tools, caller, self._records)
        return space

    def _end_session(self, session: Session) -> "asyncio.Task[None] | None":
        """Forget a session at once; gives the work of cancelling what it began."""
        space = self._spaces.pop(session.id, None)
        if self._sessions.close(session.id) is None or space is None:
            return None

        async def end() -> None:
            await space.close("the session was closed, or has expired")
            await self._runs.cancel_session(session.id)
            if self._records is not None:
                await self._records.drop_session(session.id)

        task = asyncio.get_running_loop().create_task(end())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            try:
                for session in self._sessions.expired():
                    self._end_session(session)
                self._runs.sweep()
            except Exception:  # or nothing would ever expire again
                _log.exception("looking for what has expired failed")
