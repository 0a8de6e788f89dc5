"""One model's engines and queues, and the rounds in which they are brought together.

    round:  the head of the least served tenant ──▶ its group, or calls with its prefix
                 ▲                                        │ whole, or split where no engine has room
                 └──── next ◀── placed, or passed over ◀──┘

A call without room is passed over, `lookahead` times in a lane and round. When the first of those
is due, the engine that can hold it and has the least to do is reserved: it gets nothing else until
there is room for that call. So a large call waits, but not for ever. (It must be the first: the
others are not due to anything before it, by the share of their tenant or by their order.)
"""

from collections.abc import Iterator
from math import inf

from parrotc.runtime.scheduling.division import divide
from parrotc.runtime.scheduling.engines import Engine
from parrotc.runtime.scheduling.fleet import Fleet
from parrotc.runtime.scheduling.placement import choose
from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.scheduling.queues import Lane
from parrotc.runtime.scheduling.shares import Shares
from parrotc.runtime.scheduling.tasks import Dispatch, Failed, Kind, Reason, Task
from parrotc.runtime.scheduling.tickets import Bundle, Ticket

RETRY = 0.5  # seconds after which a round is held even if nothing has happened
RESERVING = 0.5  # seconds between reservations, since finding the engine means asking all


class Desk:
    """`changed` is when its engines last became fewer."""

    def __init__(self, model: str, config: SchedulerConfig, now: float) -> None:
        self.model, self.changed = model, now
        self.fleet = Fleet(config)
        self.shares = Shares(config.weights)
        self.lanes = {kind: Lane(kind, self.shares, config) for kind in Kind}
        self._config = config
        self._reserved: tuple[Ticket, Engine] | None = None
        self._may_reserve = now
        self._seen = (-1, -1)  # the state in which the last round ended
        self._again = inf  # when a round is held in the same state

    def lane(self, ticket: Ticket) -> Lane:
        return self.lanes[ticket.task.kind]

    def lost(self, task: Task, now: float, grace: float) -> Failed | None:
        """Why no engine can take `task`, and none has been able to for `grace` seconds."""
        if self.fleet.is_able(task) or now < self.changed + grace:
            return None
        if not self.fleet.engines:
            return Failed(task, Reason.NO_ENGINE, f"the model `{self.model}` has no engine left")
        most = self.fleet.largest[task.kind]
        if task.total <= most:
            message = f"all engines of `{self.model}` that are large enough have refused it"
        else:
            needed = f"{task.total:,} tokens are more than any engine of `{self.model}`"
            message = f"{needed} has room for ({most:,})"
        return Failed(task, Reason.NEVER_FITS, message)

    # --- rounds ---

    def round(self, now: float, most: float = inf) -> tuple[list[Dispatch], list[Failed]]:
        """Place what has room, and give up what has waited for an engine in vain. After `most`
        calls it stops, where a group that was begun is placed; the next round goes on."""
        sent: list[Dispatch] = []
        failed: list[Failed] = []
        state = (self.fleet.epoch, sum(lane.version for lane in self.lanes.values()))
        if not any(self.lanes.values()) or (state == self._seen and now < self._again):
            return sent, failed
        self._serve_reserved(sent, now)
        passed = dict.fromkeys(self.lanes.values(), 0)
        while len(sent) < most and (turn := self._next(passed, now)) is not None:
            lane, ticket = turn
            if (lost := self._lost(ticket, now)) is not None:
                lane.remove(ticket)
                self.cancel_reservation(ticket)
                failed.append(lost)
            elif not self._place(lane, ticket, sent, now):
                if ticket.due <= now and not any(passed.values()):
                    self._reserve(ticket, now)
                passed[lane] += 1
                lane.set_aside(ticket)
        for lane in self.lanes.values():
            lane.restore()
        if len(sent) >= most:
            self._seen = (-1, -1)
            return sent, failed
        self._seen = (self.fleet.epoch, sum(lane.version for lane in self.lanes.values()))
        given_up = self.changed + self._config.grace
        self._again = min(now + RETRY, given_up) if given_up > now else now + RETRY
        return sent, failed

    def _lost(self, ticket: Ticket, now: float) -> Failed | None:
        task = ticket.task
        if ticket.total <= self.fleet.largest[task.kind] and not task.refused:
            return None  # as for nearly all: nothing more is asked
        return self.lost(task, now, self._config.grace)

    def _next(self, passed: dict[Lane, int], now: float) -> tuple[Lane, Ticket] | None:
        """Whose turn it is: the least served tenant's; of its calls the due, then the hurried."""
        heads = [
            (lane, ticket)
            for lane, misses in passed.items()
            if misses < self._config.lookahead and (ticket := lane.head(now)) is not None
        ]
        if len(heads) < 2:
            return heads[0] if heads else None
        return min(  # on a tie the first: latency work
            heads,
            key=lambda head: (self.shares.get(head[1].task.tenant).used, head[1].due > now),
        )

    def _place(self, lane: Lane, ticket: Ticket, sent: list[Dispatch], now: float) -> bool:
        """Find room for `ticket` and those that go with it, together or else one by one."""
        if ticket.tried == self.fleet.epoch or not self.fleet.may_fit(ticket.task):
            return False
        if (
            next(self.fleet.fitting(ticket.alone(self._config)), None) is None
        ):  # then no group with it fits either
            ticket.tried = self.fleet.epoch
            return False
        lane.serve(ticket)
        group = lane.group_of(ticket, self.fleet.most_slots)
        members = group if len(group) > 1 or self._to_come(group) else lane.alike(ticket)
        parts = self._parts(members, now)
        while members:
            engine, count = next(parts, (None, len(members)))
            if engine is None:
                alone = members[0].alone(self._config)
                engine = choose(self.fleet, alone, now, self._config)
            if engine is None:
                break
            members = self._fill(engine, members[:count], sent, now) + members[count:]
            if members and members[0] not in group:
                break  # calls that only share a prefix have turns of their own
        return ticket.engine is not None

    def _parts(self, members: list[Ticket], now: float) -> Iterator[tuple[Engine, int]]:
        """Engines for the first of `members`, for those after them, and so on."""
        whole = self._find_whole(members, now)
        if len(members) > 1:
            yield from divide(self.fleet, members, whole, now, self._config)
        elif whole is not None:
            yield whole, 1

    def _find_whole(self, members: list[Ticket], now: float) -> Engine | None:
        """Where all of `members` fit, and if it can be those of their group that are to come."""
        to_come = self._to_come(members)
        engine = None
        if to_come:
            bundle = Bundle(members, self._config, to_come=to_come)
            engine = choose(self.fleet, bundle, now, self._config)
        if engine is None and 1 < len(members) <= self.fleet.most_slots:
            engine = choose(self.fleet, Bundle(members, self._config), now, self._config)
        return engine

    def _to_come(self, members: list[Ticket]) -> int:
        group = members[0].group
        if group is None or not self._config.graph_group or self.fleet.running_of(group):
            return 0
        return max(0, members[0].task.group_size - len(members))

    def _fill(
        self, engine: Engine, members: list[Ticket], sent: list[Dispatch], now: float
    ) -> list[Ticket]:
        """Dispatch `members` while they fit; gives the rest."""
        for at, ticket in enumerate(members):
            if not engine.fits(ticket.alone(self._config)):
                return members[at:]
            sent.append(self._dispatch(ticket, engine, now))
        return []

    def _dispatch(self, ticket: Ticket, engine: Engine, now: float) -> Dispatch:
        task = ticket.task
        self.lane(ticket).remove(ticket)
        self.cancel_reservation(ticket)
        ticket.charged = engine.price(task)
        self.shares.get(task.tenant).charge(ticket.charged)
        resident = task.total - task.own - engine.prefixes.missing(task.prefix)
        self.fleet.start(ticket, engine, now)
        ticket.engine = engine.spec.name
        finish = engine.busy_until + task.expected_tokens * engine.spec.cost.step(engine.held)
        return Dispatch(task, engine.spec.name, resident, finish, ticket.charged)

    # --- reservations ---

    def _serve_reserved(self, sent: list[Dispatch], now: float) -> None:
        if self._reserved is not None:
            ticket, engine = self._reserved
            if engine.fits(ticket.alone(self._config)):
                sent.append(self._dispatch(ticket, engine, now))

    def _reserve(self, ticket: Ticket, now: float) -> None:
        """Keep the least loaded engine that could hold `ticket` for it; one at a time."""
        if self._reserved is not None or now < self._may_reserve:
            return
        self._may_reserve = now + RESERVING
        if engines := self.fleet.able(ticket.task):
            engine = min(engines, key=lambda engine: (engine.held, engine.order))
            engine.reserved_for = ticket.task.id
            self.fleet.update(engine, gained=False)
            self._reserved = ticket, engine

    def cancel_reservation(self, held: Ticket | Engine) -> None:
        """The ticket, or the engine, is no more what the reservation was for."""
        if self._reserved is not None and held in self._reserved:
            engine = self._reserved[1]
            self._reserved = None
            engine.reserved_for = None
            if engine.spec.name in self.fleet.engines:
                self.fleet.update(engine, gained=True)
