"""Runs of flows: started, watched, cancelled, remembered for a while, and begun again where they
were when the core ended in the middle of them.

A run is in memory until `run_life_span` seconds after its end; with a journal also on disk, from
before it begins. What is over is a record alone: its result, or its cause.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.types import Json
from parrotc.runtime.core.config import CoreConfig
from parrotc.runtime.core.errors import CoreError, NotFound, TimedOut
from parrotc.runtime.core.limits import Allowance
from parrotc.runtime.core.models import RETURN, Models, ServedModel
from parrotc.runtime.core.plans import StoredPlan
from parrotc.runtime.core.programs import Programs
from parrotc.runtime.core.recall import NOTHING, Recall, RunMemory
from parrotc.runtime.core.records import Records, RunRecord
from parrotc.runtime.core.sessions import Clock
from parrotc.runtime.core.views import RunEvent, RunState, RunView
from parrotc.runtime.core.watching import Watchers
from parrotc.runtime.engines.protocol import Finished, Hints
from parrotc.runtime.errors import RunError
from parrotc.runtime.goals import read_goal
from parrotc.runtime.terms import Path, Terms
from parrotc.runtime.trace import Event, Trace

_log = logging.getLogger(__name__)


class Run:
    """One run: what is known of it, those who watch it, and its work while it goes on."""

    __slots__ = ("_variables", "over", "record", "watchers", "work")

    def __init__(self, record: RunRecord, variables: Mapping[str, str]) -> None:
        self.record = record
        self.watchers = Watchers()
        self.over = asyncio.Event()
        self.work: asyncio.Task[Json] | None = None
        self._variables = variables

    @property
    def is_over(self) -> bool:
        return self.record.state is not RunState.RUNNING

    def view(self) -> RunView:
        held = self.record
        return RunView(
            held.id, held.plan, held.flow, held.state, held.started, held.ended, held.result,
            held.diagnostic,
        )  # fmt: skip

    def last_event(self) -> RunEvent:
        held = self.record
        return RunEvent(str(held.state), result=held.result, diagnostic=held.diagnostic)

    def trace(self, event: Event) -> None:
        """What the executor tells."""
        if event.kind in ("text", "restart"):
            variable = self._variables[event.site]
            self.watchers.tell(RunEvent(event.kind, variable, event.path, event.text))
        elif event.kind == "failed":
            self.watchers.forget(self._variables[event.site], event.path)

    def generated(self, site: str, path: Path, finished: Finished) -> None:
        self.watchers.tell(RunEvent("value", self._variables[site], path, finished.text))


class Runs:
    """Those of all tenants."""

    def __init__(
        self,
        config: CoreConfig,
        models: Models,
        programs: Programs,
        clock: Clock,
    ) -> None:
        self.records: Records | None = None  # where they are kept, if anywhere
        self._config = config
        self._models = models
        self._programs = programs
        self._clock = clock
        self._runs: dict[str, Run] = {}
        self._finished: dict[str, OrderedDict[str, float]] = {}  # by tenant: when they ended
        self._of_tenants = Allowance(config.max_runs, "runs are going on")
        self._of_sessions = Allowance(config.max_runs, "runs of this session are going on")
        self._drivers: set[asyncio.Task[None]] = set()
        self._is_closing = False

    @property
    def going_on(self) -> int:
        return len(self._drivers)

    def __len__(self) -> int:
        return len(self._runs)

    # --- from outside ---

    async def start(self, record: RunRecord, plan: StoredPlan) -> Run:
        """Begin a run that was checked. Raises `Busy`, `NotFound` and `Invalid` for its models, and
        `Unavailable` where it cannot be kept."""
        models = {model.name: self._models.match(model) for model in plan.plan.models}
        self._take(record)
        try:
            if self.records is not None:
                await self.records.add_run(record, plan.raw)
        except BaseException:
            self._give(record)
            raise
        return self._begin(record, plan, lambda: _ready(models), NOTHING)

    def resume(self, record: RunRecord, plan: StoredPlan, before: Recall) -> None:
        """Go on with a run that was cut off, as soon as its models are served."""
        self._take(record)

        async def models() -> dict[str, ServedModel]:
            return {m.name: await self._models.wait(m, RETURN) for m in plan.plan.models}

        self._begin(record, plan, models, before)

    async def give_up(self, record: RunRecord, why: str) -> None:
        """End a run that cannot go on."""
        found = Diagnostic("E0613", f"the run was cut off and cannot go on: {why}")
        ended = replace(
            record, state=RunState.FAILED, ended=self._clock(), diagnostic=found, inputs={}
        )
        if self.records is not None:
            await self.records.end_run(ended)
        self.restore(ended)

    def restore(self, record: RunRecord) -> None:
        """Remember a run that had ended."""
        self._runs[record.id] = Run(record, {})
        self._finished.setdefault(record.tenant, OrderedDict())[record.id] = record.ended or 0.0

    def find(self, tenant: str, run_id: str) -> Run:
        """Raises `NotFound`."""
        run = self._runs.get(run_id)
        if run is None or run.record.tenant != tenant:
            raise NotFound("there is no such run")
        return run

    def of(self, tenant: str) -> list[Run]:
        return [run for run in self._runs.values() if run.record.tenant == tenant]

    async def wait(self, run: Run, timeout: float | None) -> RunView:
        """The run when it is over. Raises `TimedOut`."""
        try:
            async with asyncio.timeout(timeout):
                await run.over.wait()
        except TimeoutError:
            raise TimedOut(f"the run is not over after {timeout:g} s") from None
        return run.view()

    async def events(self, run: Run) -> AsyncIterator[RunEvent]:
        """What happens from now on, and how it ended."""
        if run.is_over:
            yield run.last_event()
            return
        watcher = run.watchers.join()
        try:
            async for event in watcher.events():
                yield event
        finally:
            run.watchers.leave(watcher)

    async def cancel(self, run: Run) -> RunView:
        """Stop a run; one that is over stays as it ended."""
        if run.work is not None:
            run.work.cancel()
        await run.over.wait()
        return run.view()

    async def cancel_session(self, session_id: str) -> None:
        """Stop and forget the runs of a session."""
        runs = [run for run in self._runs.values() if run.record.session == session_id]
        for run in runs:
            await self.cancel(run)
        self._forget(runs)

    def sweep(self) -> None:
        """Forget what ended long ago."""
        oldest = self._clock() - self._config.run_life_span
        old = []
        for ended in self._finished.values():
            for run_id, at in ended.items():
                if at > oldest:
                    break
                old.append(self._runs[run_id])
        self._forget(old)

    async def drain(self) -> None:
        """Wait until nothing goes on."""
        while self._drivers:
            await asyncio.wait(self._drivers)

    async def close(self) -> None:
        """Stop all. With a journal they are not over: the next core goes on with them."""
        self._is_closing = True
        for run in self._runs.values():
            if run.work is not None:
                run.work.cancel()
        await self.drain()

    # --- one run ---

    def _begin(self, record: RunRecord, plan: StoredPlan, models: "_Models", before: Recall) -> Run:
        flow = plan.flow(record.flow)
        run = self._runs[record.id] = Run(record, plan.variables(flow))
        memory = RunMemory(record.id, run.generated, self.records, before)
        work = self._work(run, plan, models, memory)
        run.work = asyncio.get_running_loop().create_task(work)
        driver = asyncio.get_running_loop().create_task(self._drive(run, run.work))
        self._drivers.add(driver)
        driver.add_done_callback(self._drivers.discard)
        return run

    async def _work(self, run: Run, plan: StoredPlan, models: "_Models", memory: RunMemory) -> Json:
        held = run.record
        now = asyncio.get_running_loop().time()
        terms = Terms(
            hints=Hints(tenant=held.tenant, application=held.id, begun=now),
            goal=None if held.criteria is None else read_goal(held.criteria, now),
            memory=memory,
        )
        served = await models()
        async with self._programs.use(held.digest, held.tenant, plan.plan, served) as program:
            return await program.run(
                held.flow,
                held.inputs,
                seed=held.seed,
                timeout=max(0.0, held.deadline - self._clock()),
                trace=Trace(run.trace),
                terms=terms,
            )

    async def _drive(self, run: Run, work: "asyncio.Task[Json]") -> None:
        """See a run to its end, in whatever way it ends."""
        await asyncio.wait([work])
        run.work = None
        try:
            if self._is_closing and work.cancelled():
                return
            run.record = self._ended(run.record, work)
            if self.records is not None:
                await self.records.end_run(run.record)
        except CoreError as error:
            _log.error("the end of run %s is not in the journal: %s", run.record.id, error.message)
        finally:
            self._give(run.record)
            self._remember(run)
            run.over.set()
            run.watchers.tell(run.last_event() if run.is_over else RunEvent("cancelled"))

    def _ended(self, record: RunRecord, work: "asyncio.Task[Json]") -> RunRecord:
        changes: dict[str, Any] = {"ended": self._clock(), "inputs": {}}
        if work.cancelled():
            return replace(record, state=RunState.CANCELLED, **changes)
        error = work.exception()
        if error is None:
            return replace(record, state=RunState.DONE, result=work.result(), **changes)
        if isinstance(error, RunError):
            found = error.diagnostic
        elif isinstance(error, CoreError):
            found = error.diagnostic or Diagnostic("E0610", error.message, help=error.help)
        else:
            _log.error("run %s failed for a reason of our own", record.id, exc_info=error)
            found = Diagnostic("I0001", "something went wrong inside the core")
        return replace(record, state=RunState.FAILED, diagnostic=found, **changes)

    # --- what is remembered, and what is allowed ---

    def _remember(self, run: Run) -> None:
        if run.record.id not in self._runs or not run.is_over:
            return
        ended = self._finished.setdefault(run.record.tenant, OrderedDict())
        ended[run.record.id] = run.record.ended or self._clock()
        if len(ended) > self._config.max_finished_runs:
            self._forget([self._runs[next(iter(ended))]])

    def _forget(self, runs: list[Run]) -> None:
        for run in runs:
            self._runs.pop(run.record.id, None)
            ended = self._finished.get(run.record.tenant)
            if ended is not None:
                ended.pop(run.record.id, None)
                if not ended:
                    del self._finished[run.record.tenant]
        if self.records is not None and runs:
            self.records.drop_runs(run.record.id for run in runs)

    def _take(self, record: RunRecord) -> None:
        self._of_tenants.take(record.tenant)
        if record.session is not None:
            try:
                self._of_sessions.take(record.session)
            except CoreError:
                self._of_tenants.give(record.tenant)
                raise

    def _give(self, record: RunRecord) -> None:
        self._of_tenants.give(record.tenant)
        if record.session is not None:
            self._of_sessions.give(record.session)


_Models = Callable[[], Awaitable[dict[str, ServedModel]]]


async def _ready(models: dict[str, ServedModel]) -> dict[str, ServedModel]:
    return models
