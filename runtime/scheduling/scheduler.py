"""The global scheduler: which engine runs which call, one decision a group.

    scheduler = Scheduler()
    scheduler.add_engine(EngineSpec(name="a", model="m"), now=0.0)
    scheduler.submit(task, now=0.0)
    for dispatch in scheduler.schedule(now=0.0).dispatched: ...
    scheduler.finish(task.id, now=1.0)

It is told what happens and answers what to do: no clock, no thread, no input or output, the same
answers for the same events. Call `schedule` after events, and once a second or so while anything
waits, since waiting alone makes calls due.

A task is in one place at any time: it waits in a lane or runs on an engine, and what has finished,
failed or been cancelled has left no trace but the share of its tenant.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import inf

from parrotc.runtime.scheduling.desk import Desk
from parrotc.runtime.scheduling.engines import Engine, EngineSpec
from parrotc.runtime.scheduling.policies import SchedulerConfig, due_time, order_key
from parrotc.runtime.scheduling.prefixes import Chain
from parrotc.runtime.scheduling.tasks import Digest, Dispatch, Failed, Reason, Refused, Task
from parrotc.runtime.scheduling.tickets import Ticket


@dataclass(frozen=True, slots=True)
class Decisions:
    """What `schedule` decided: calls to send, in this order, and calls that will never run."""

    dispatched: tuple[Dispatch, ...]
    failed: tuple[Failed, ...]
    more: bool = False  # whether it stopped before it had looked at all


@dataclass(frozen=True, slots=True)
class Counts:
    queued: int
    running: int
    engines: int


class Scheduler:
    def __init__(self, config: SchedulerConfig | None = None) -> None:
        self.config = config or SchedulerConfig()
        self._desks: dict[str, Desk] = {}
        self._engines: dict[str, Engine] = {}
        self._tickets: dict[str, Ticket] = {}
        self._queued: Counter[str] = Counter()  # by tenant
        self._waiting = 0  # the sum of those
        self._arrivals = self._registrations = 0

    # --- engines ---

    def add_engine(self, spec: EngineSpec, now: float) -> None:
        """Use an engine from now on. Raises `ValueError` while one with its name is there."""
        if spec.name in self._engines:
            raise ValueError(f"engine {spec.name} is registered already")
        self._registrations += 1
        engine = self._engines[spec.name] = Engine(spec, self._registrations, self.config)
        desk = self._desks.get(spec.model)
        if desk is None:
            desk = self._desks[spec.model] = Desk(spec.model, self.config, now)
        desk.fleet.add(engine)

    def drain(self, name: str, now: float) -> None:
        """Place nothing on an engine any more; it is forgotten when its last call has ended."""
        engine, desk = self._engine(name)
        desk.cancel_reservation(engine)
        desk.fleet.drain(engine)
        desk.changed = now
        self._drop_if_drained(engine, desk)

    def engine_died(
        self, name: str, now: float, cause: str, *, blame: Collection[str] | None = None
    ) -> tuple[Failed, ...]:
        """An engine is gone: its calls wait again, in their old places.

        `blame` has the ids of those of which it may have died, None: all that ran there. A blamed
        call runs beside no other blamed one afterwards; when `SchedulerConfig.kills` engines have
        died of it, it is among those given back, and `cause` in their message.
        """
        engine, desk = self._engine(name)
        desk.cancel_reservation(engine)
        self._drop(engine, desk)
        desk.changed = now
        failed = []
        for ticket in engine.running.values():
            ticket.engine = None
            if blame is None or ticket.task.id in blame:
                ticket.blame(name)
            if len(ticket.killers) >= self.config.kills:
                failed.append(_poisoned(ticket, cause))
                self._forget(ticket, now)
            else:
                self._queue(ticket)
        return tuple(failed)

    def has_engine(self, name: str) -> bool:
        return name in self._engines

    def running_on(self, name: str) -> tuple[str, ...]:
        """Ids of the calls that run on an engine. Raises `KeyError` for one that is not there."""
        return tuple(self._engine(name)[0].running)

    def learn_prefix(self, name: str, chain: Chain) -> None:
        """An engine says that it holds `chain`, though nothing of it runs there."""
        engine, desk = self._engine(name)
        desk.fleet.learn(engine, chain)

    def forget_prefixes(self, name: str, digests: Iterable[Digest]) -> None:
        """An engine says that it has given up prefixes."""
        engine, desk = self._engine(name)
        desk.fleet.forget(engine, digests)

    # --- calls ---

    def submit(self, task: Task, now: float) -> None:
        """Let `task` wait for its engine. Raises `Refused`, and then keeps nothing of it."""
        desk = self._admit(task, now)
        self._arrivals += 1
        key = order_key(task, self._arrivals, self.config)
        due = due_time(task, now, self.config)
        ticket = self._tickets[task.id] = Ticket(task, self._arrivals, now, key, due)
        desk.shares.begin(task.tenant)
        self._queue(ticket)

    def finish(self, task_id: str, now: float, *, seconds: float | None = None) -> None:
        """A running call has ended, well or not; it took `seconds` of its engine, if known.

        Raises `KeyError` for one that is not running.
        """
        ticket = self._tickets[task_id]
        if ticket.engine is None:
            raise KeyError(f"task {task_id} is not running")
        self._leave_engine(ticket, seconds)
        self._forget(ticket, now)

    def cancel(self, task_id: str, now: float) -> str | None:
        """Nobody wants a call any more. Gives the engine where it ran, which is to be told.

        Raises `KeyError` for one that is not here.
        """
        ticket = self._tickets[task_id]
        name = ticket.engine
        if name is None:
            desk = self._desks[ticket.task.model]
            desk.lane(ticket).remove(ticket)
            desk.cancel_reservation(ticket)
            self._left_queue(ticket.task.tenant)
        else:
            self._leave_engine(ticket, None)
        self._forget(ticket, now)
        return name

    def schedule(self, now: float, most: float = inf) -> Decisions:
        """Place whatever has room; of each model about `most` calls at once, then there may be
        `more`."""
        dispatched: list[Dispatch] = []
        failed: list[Failed] = []
        more = False
        for desk in self._desks.values():
            sent, lost = desk.round(now, most)
            more |= len(sent) >= most
            for dispatch in sent:
                self._left_queue(dispatch.task.tenant)
            for each in lost:
                self._left_queue(each.task.tenant)
                self._forget(self._tickets[each.task.id], now)
            dispatched += sent
            failed += lost
        return Decisions(tuple(dispatched), tuple(failed), more)

    def counts(self) -> Counts:
        return Counts(self._waiting, len(self._tickets) - self._waiting, len(self._engines))

    # --- admission ---

    def _admit(self, task: Task, now: float) -> Desk:
        """The desk for `task`. Raises `Refused` for what cannot be or may not be now."""
        desk = self._desks.get(task.model)
        if desk is None:
            raise Refused(Reason.UNKNOWN_MODEL, f"no engine serves the model `{task.model}`")
        if task.id in self._tickets:
            raise Refused(Reason.DUPLICATE, f"the task {task.id} is here already")
        grace = 0.0 if desk.fleet.engines else self.config.grace
        if (lost := desk.lost(task, now, grace)) is not None:
            raise Refused(lost.reason, lost.message)
        limit = self.config.tenant_queue_limit
        if self._queued[task.tenant] >= limit:
            raise Refused(
                Reason.TENANT_QUEUE_FULL, f"{limit:,} calls of this tenant are waiting already"
            )
        if self._waiting >= self.config.queue_limit:
            raise Refused(
                Reason.QUEUE_FULL, f"{self.config.queue_limit:,} calls are waiting already"
            )
        return desk

    # --- where a call is ---

    def _queue(self, ticket: Ticket) -> None:
        self._desks[ticket.task.model].lane(ticket).add(ticket)
        self._queued[ticket.task.tenant] += 1
        self._waiting += 1

    def _left_queue(self, tenant: str) -> None:
        self._waiting -= 1
        self._queued[tenant] -= 1
        if not self._queued[tenant]:
            del self._queued[tenant]

    def _leave_engine(self, ticket: Ticket, seconds: float | None) -> None:
        assert ticket.engine is not None
        engine, desk = self._engine(ticket.engine)
        desk.fleet.end(ticket, engine)
        if seconds is not None:
            desk.shares.get(ticket.task.tenant).settle(ticket.charged, seconds)
        self._drop_if_drained(engine, desk)

    def _forget(self, ticket: Ticket, now: float) -> None:
        del self._tickets[ticket.task.id]
        ticket.unbundle()
        self._desks[ticket.task.model].shares.end(ticket.task.tenant, now)

    # --- where an engine is ---

    def _engine(self, name: str) -> tuple[Engine, Desk]:
        engine = self._engines[name]
        return engine, self._desks[engine.spec.model]

    def _drop(self, engine: Engine, desk: Desk) -> None:
        del self._engines[engine.spec.name]
        desk.fleet.remove(engine)

    def _drop_if_drained(self, engine: Engine, desk: Desk) -> None:
        if engine.is_draining and not engine.running:
            self._drop(engine, desk)


def _poisoned(ticket: Ticket, cause: str) -> Failed:
    engines = ticket.killers
    message = f"{len(engines)} engines died while they ran it ({', '.join(engines)}): {cause}"
    return Failed(ticket.task, Reason.POISON, message, engines)
