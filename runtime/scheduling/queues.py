"""Who waits, in the order in which they will be served.

    Lane (one kind of work of one model)
      └─ tenants, least served first
           └─ Backlog: those that are due, earliest first; then the others, by policy

Beside the heaps are two indexes: queued calls by group, and by prefix node. Everything is taken
out of the middle at no cost: a heap's entry is worth nothing once its ticket has another stamp.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from itertools import islice
from typing import TypeVar

from parrotc.runtime.scheduling.policies import Key, SchedulerConfig
from parrotc.runtime.scheduling.shares import Share, Shares
from parrotc.runtime.scheduling.tasks import Digest, Kind
from parrotc.runtime.scheduling.tickets import Group, Ticket

K = TypeVar("K", bound=Hashable)
SWEEP = 32  # dead entries that a heap may always have


class Heap:
    """Tickets by a key, least first."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[tuple[Key, int, Ticket]] = []

    def push(self, key: Key, ticket: Ticket, live: int) -> None:
        """`live` is how many of its entries are worth something, with this one."""
        if len(self._entries) > 2 * live + SWEEP:
            self._entries = [entry for entry in self._entries if entry[1] == entry[2].stamp]
            heapify(self._entries)
        heappush(self._entries, (key, ticket.stamp, ticket))

    def peek(self) -> Ticket | None:
        entries = self._entries
        while entries and entries[0][1] != entries[0][2].stamp:
            heappop(entries)
        return entries[0][2] if entries else None


class Backlog:
    """What one tenant has waiting in one lane."""

    __slots__ = ("_by_due", "_by_policy", "live", "share", "turn")

    def __init__(self, share: Share) -> None:
        self.share = share
        self.turn = share.used  # the key of its entry among the turns; others are dead
        self.live = 0
        self._by_due = Heap()
        self._by_policy = Heap()

    def push(self, ticket: Ticket) -> None:
        self.live += 1
        self._by_policy.push(ticket.key, ticket, self.live)
        self._by_due.push((ticket.due, ticket.number), ticket, self.live)

    def drop(self, ticket: Ticket) -> None:
        """`ticket` is in line no more; its entries are dead."""
        ticket.stamp += 1
        self.live -= 1

    def peek(self, now: float) -> Ticket | None:
        first = self._by_due.peek()
        return first if first is None or first.due <= now else self._by_policy.peek()


class Lane:
    """The queue of one kind of work for one model."""

    def __init__(self, kind: Kind, shares: Shares, config: SchedulerConfig) -> None:
        self.kind = kind
        self.waiting: dict[str, Ticket] = {}
        self.version = 0  # counts what comes and goes
        self._shares = shares
        self._config = config
        self._backlogs: dict[str, Backlog] = {}
        self._turns: list[tuple[float, str]] = []
        self._aside: dict[str, Ticket] = {}
        self._groups: dict[Group, OrderedDict[str, Ticket]] = {}
        self._prefixes: dict[Digest, OrderedDict[str, Ticket]] = {}
        self._floor = 0.0  # the share of whoever was served last

    def __len__(self) -> int:
        return len(self.waiting)

    # --- in and out ---

    def add(self, ticket: Ticket) -> None:
        self.version += 1
        self.waiting[ticket.task.id] = ticket
        self._line_up(ticket, is_new=True)
        if (group := self._group(ticket)) is not None:
            self._groups.setdefault(group, OrderedDict())[ticket.task.id] = ticket
        elif self._config.ctx_group:
            for node in ticket.task.prefix:
                self._prefixes.setdefault(node.digest, OrderedDict())[ticket.task.id] = ticket

    def remove(self, ticket: Ticket) -> None:
        """Take `ticket` out, wherever it stands."""
        self.version += 1
        task = ticket.task
        del self.waiting[task.id]
        if self._aside.pop(task.id, None) is None:
            self._backlogs[task.tenant].drop(ticket)
        if (group := self._group(ticket)) is not None:
            _discard(self._groups, group, task.id)
        elif self._config.ctx_group:
            for node in task.prefix:
                _discard(self._prefixes, node.digest, task.id)

    def set_aside(self, ticket: Ticket) -> None:
        """Let those behind `ticket` come to the front, until `restore`."""
        self._backlogs[ticket.task.tenant].drop(ticket)
        self._aside[ticket.task.id] = ticket

    def restore(self) -> None:
        for ticket in self._aside.values():
            self._line_up(ticket, is_new=False)
        self._aside.clear()

    def _line_up(self, ticket: Ticket, *, is_new: bool) -> None:
        tenant = ticket.task.tenant
        backlog = self._backlogs.get(tenant)
        if backlog is None or not backlog.live:
            share = self._shares.get(tenant)
            if is_new:
                share.raise_to(self._floor)
            backlog = self._backlogs[tenant] = Backlog(share)
            heappush(self._turns, (share.used, tenant))
        backlog.push(ticket)

    # --- who is next ---

    def head(self, now: float) -> Ticket | None:
        """The next to be served."""
        turns = self._turns
        while turns:
            used, tenant = turns[0]
            backlog = self._backlogs.get(tenant)
            if backlog is None or backlog.turn != used:
                heappop(turns)  # of a backlog that has ended
            elif not backlog.live:
                heappop(turns)
                del self._backlogs[tenant]
            elif backlog.share.used != used:  # it was served since: shares only grow
                backlog.turn = backlog.share.used
                heapreplace(turns, (backlog.turn, tenant))
            else:
                return backlog.peek(now)
        return None

    def serve(self, ticket: Ticket) -> None:
        """`ticket` is the one whose turn it was: who comes new does so on equal terms with it."""
        self._floor = max(self._floor, self._shares.get(ticket.task.tenant).used)

    def group_of(self, ticket: Ticket, most: int) -> list[Ticket]:
        """Up to `most` that are waited for together with `ticket`, itself among them first."""
        group = self._group(ticket)
        if group is None:
            return [ticket]
        return _first(ticket, iter(self._groups[group].values()), most)

    def alike(self, ticket: Ticket) -> list[Ticket]:
        """`ticket` and queued calls that have its deepest prefix node which any other has."""
        if self._config.ctx_group and self._group(ticket) is None:
            for node in reversed(ticket.task.prefix):
                others = self._prefixes[node.digest]
                if len(others) > 1:
                    return _first(ticket, iter(others.values()), self._config.context_group_limit)
        return [ticket]

    def _group(self, ticket: Ticket) -> Group | None:
        return ticket.group if self._config.graph_group else None


def _first(ticket: Ticket, others: Iterator[Ticket], most: int) -> list[Ticket]:
    return [ticket, *islice((other for other in others if other is not ticket), most - 1)]


def _discard(index: dict[K, OrderedDict[str, Ticket]], key: K, name: str) -> None:
    tickets = index.get(key, OrderedDict())
    tickets.pop(name, None)  # a chain may name a node twice
    if not tickets:
        index.pop(key, None)
