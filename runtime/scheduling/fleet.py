"""The engines of one model, in indexes that find one with room without asking each.

    shelves[kind][mode]   engines that take `kind` and now do `mode`, by the room that is left
    holders[digest]       engines that hold a prefix, least recently considered first
    homes[group]          engines where members of a group run

What did not fit anywhere is not tried again before an engine has gained room, and then there only:
`epoch` counts the gains, and the last of them are remembered.
"""

from bisect import bisect_left, insort
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from itertools import islice

from parrotc.runtime.scheduling.engines import Engine, Role
from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.scheduling.prefixes import Chain
from parrotc.runtime.scheduling.tasks import Digest, Kind, Task
from parrotc.runtime.scheduling.tickets import Bundle, Group, Ticket

Mode = Kind | None
Place = tuple[float, int]  # room, order of registration
MODES: tuple[Mode, ...] = (None, Kind.LATENCY, Kind.THROUGHPUT)
GAINS = 64  # that are remembered
LOOKS = 16  # engines at either end of a shelf that are looked at before the rest


class Fleet:
    def __init__(self, config: SchedulerConfig) -> None:
        self.engines: dict[str, Engine] = {}
        self.largest = dict.fromkeys(Kind, 0)  # tokens of the longest sequence that may come
        self.most_slots = 0
        self.epoch = 0
        self._config = config
        self._by_order: dict[int, Engine] = {}
        self._shelves = _empty_shelves()
        self._places: dict[str, tuple[Mode, Place]] = {}
        self._holders: dict[Digest, OrderedDict[str, None]] = {}
        self._homes: dict[Group, Counter[str]] = {}
        self._gains: deque[Engine] = deque(maxlen=GAINS)
        self._open_to_all: set[Kind] = set(Kind)  # kinds that no engine is for

    # --- engines come and go ---

    def add(self, engine: Engine) -> None:
        self.engines[engine.spec.name] = engine
        self._by_order[engine.order] = engine
        self._sum_up()
        self.update(engine, gained=False)

    def remove(self, engine: Engine) -> None:
        """Forget `engine`. What runs there is the caller's to see to."""
        self._unshelve(engine)
        name = engine.spec.name
        del self.engines[name], self._by_order[engine.order]
        self._drop_holder(name, [*engine.prefixes.read, *engine.prefixes.kept])
        for ticket in engine.running.values():
            self._leave_home(ticket, name)
        self._sum_up()

    def drain(self, engine: Engine) -> None:
        """Place nothing on `engine` any more."""
        engine.is_draining = True
        self._unshelve(engine)
        self._sum_up()

    def _sum_up(self) -> None:
        """What depends on all engines. Anything may fit now that did not fit before."""
        self.epoch += 1
        self._gains.clear()
        usable = [engine for engine in self.engines.values() if not engine.is_draining]
        roles = {engine.spec.role for engine in usable}
        open_to_all = {kind for kind in Kind if not roles & {Role.MIXED, Role(kind)}}
        if open_to_all != self._open_to_all:
            self._open_to_all = open_to_all
            self._shelves = _empty_shelves()
            self._places.clear()
            for engine in usable:
                self._shelve(engine)
        self.most_slots = max((engine.spec.slots for engine in usable), default=0)
        for kind in Kind:
            lengths = (e.spec.longest for e in usable if self._takes(e, kind))
            self.largest[kind] = max(lengths, default=0)

    def is_able(self, task: Task) -> bool:
        """Whether any engine could hold `task`."""
        return task.total <= self.largest[task.kind] and not (task.refused and not self.able(task))

    def able(self, task: Task) -> list[Engine]:
        """Engines that could hold `task` if nothing else ran there."""
        return [
            engine
            for engine in self.engines.values()
            if not engine.is_draining
            and self._takes(engine, task.kind)
            and task.total <= engine.spec.longest
            and engine.spec.name not in task.refused
        ]

    def _takes(self, engine: Engine, kind: Kind) -> bool:
        return engine.spec.role in (Role.MIXED, kind) or kind in self._open_to_all

    # --- calls start and end ---

    def start(self, ticket: Ticket, engine: Engine, now: float) -> None:
        for digest in engine.add(ticket, now):
            self._holders.setdefault(digest, OrderedDict())[engine.spec.name] = None
        if self._config.graph_group and (group := ticket.group) is not None:
            self._homes.setdefault(group, Counter())[engine.spec.name] += 1
        self._drop_holder(engine.spec.name, engine.shrink())
        self.update(engine, gained=False)

    def end(self, ticket: Ticket, engine: Engine) -> None:
        engine.remove(ticket)
        self._leave_home(ticket, engine.spec.name)
        self._drop_holder(engine.spec.name, engine.shrink())
        self.update(engine, gained=True)

    def update(self, engine: Engine, *, gained: bool) -> None:
        """Put `engine` where it belongs; `gained`: what did not fit there may do so now."""
        if gained:
            self.epoch += 1
            self._gains.append(engine)
        self._unshelve(engine)
        self._shelve(engine)

    def running_of(self, group: Group) -> int:
        """How many members of a group run."""
        return sum(self._homes.get(group, {}).values())

    def _leave_home(self, ticket: Ticket, name: str) -> None:
        group = ticket.group
        home = self._homes.get(group) if group is not None else None
        if group is None or home is None:
            return
        home[name] -= 1
        if not home[name]:
            del home[name]
        if not home:
            del self._homes[group]

    # --- prefixes ---

    def learn(self, engine: Engine, chain: Chain) -> None:
        """`engine` says that it holds `chain`."""
        for digest in engine.prefixes.learn(chain):
            self._holders.setdefault(digest, OrderedDict())[engine.spec.name] = None
        self._drop_holder(engine.spec.name, engine.shrink())

    def forget(self, engine: Engine, digests: Iterable[Digest]) -> None:
        """`engine` says that it holds `digests` no more."""
        self._drop_holder(engine.spec.name, engine.prefixes.forget(digests))

    def _drop_holder(self, name: str, digests: Iterable[Digest]) -> None:
        for digest in digests:
            holders = self._holders[digest]
            del holders[name]
            if not holders:
                del self._holders[digest]

    # --- shelves ---

    def may_fit(self, task: Task) -> bool:
        """Whether any engine has room for what `task` shares with nobody."""
        shelves = self._shelves[task.kind].values()
        return any(shelf and shelf[-1][0] >= task.own for shelf in shelves)

    def _shelve(self, engine: Engine) -> None:
        if not engine.is_open:
            return
        place = (engine.room, engine.order)
        self._places[engine.spec.name] = (engine.mode, place)
        for kind in Kind:
            if self._takes(engine, kind):
                insort(self._shelves[kind][engine.mode], place)

    def _unshelve(self, engine: Engine) -> None:
        mode, place = self._places.pop(engine.spec.name, (None, None))
        if place is None:
            return
        for kind in Kind:
            shelf = self._shelves[kind][mode]
            at = bisect_left(shelf, place)
            if at < len(shelf) and shelf[at] == place:
                del shelf[at]

    # --- who has room ---

    def fitting(self, bundle: Bundle) -> Iterator[Engine]:
        """Engines where `bundle` fits as a whole: some of each index, and for one call any rather
        than none.

        An engine that does not do this kind of work comes only where no other has room.
        """
        if bundle.avoid:
            yield from self._elsewhere(bundle)
            return
        missed = self.epoch - bundle.head.tried
        if bundle.head.tried >= 0 and missed <= len(self._gains):
            gains = dict.fromkeys(islice(reversed(self._gains), missed))
            yield from (engine for engine in gains if self._has_room(engine, bundle))
            return
        other = Kind.THROUGHPUT if bundle.kind is Kind.LATENCY else Kind.LATENCY
        seen: set[int] = set()
        found = False
        for source in (self._near(bundle), self._roomy(bundle, bundle.kind, None)):
            for engine in source:
                if engine.order not in seen:
                    seen.add(engine.order)
                    found = True
                    yield engine
        if not found:
            for engine in self._roomy(bundle, other):
                found = True
                yield engine
        if not found and bundle.calls == 1:  # several need not be placed as a whole
            yield from self._rest(bundle)

    def _has_room(self, engine: Engine, bundle: Bundle) -> bool:
        alive = engine.spec.name in self.engines and self._takes(engine, bundle.kind)
        return alive and engine.fits(bundle)

    def _elsewhere(self, bundle: Bundle) -> Iterator[Engine]:
        """For calls that some engines have failed: all others with room. Those come again only
        where no other will ever have it: better to wait than to be failed once more."""
        usable = [
            engine
            for engine in self.engines.values()
            if not engine.is_draining
            and self._takes(engine, bundle.kind)
            and bundle.longest <= engine.spec.longest
            and engine.spec.name not in bundle.refused
        ]
        others = [engine for engine in usable if engine.spec.name not in bundle.avoid]
        return (engine for engine in others or usable if engine.fits(bundle))

    def _near(self, bundle: Bundle) -> Iterator[Engine]:
        """Where the group runs, and where its prefix is: the deepest node first."""
        group = bundle.head.group
        homes = self._homes.get(group, ()) if group is not None else ()
        names = list(islice(homes, self._config.probes))
        if self._config.ctx_aware:
            for node in reversed(bundle.head.task.prefix):
                names += self._some_holders(node.digest)
        for name in dict.fromkeys(names):
            if self._has_room(engine := self.engines[name], bundle):
                yield engine

    def _some_holders(self, digest: Digest) -> list[str]:
        """All of them if they are few; otherwise other ones each time."""
        holders = self._holders.get(digest, OrderedDict())
        some = list(islice(holders, self._config.probes))
        if len(holders) > len(some):
            for name in some:
                holders.move_to_end(name)
        return some

    def _roomy(self, bundle: Bundle, *modes: Mode) -> Iterator[Engine]:
        """From each shelf, the fullest that have room and the emptiest."""
        for mode in modes:
            shelf, first, last = self._with_room(bundle, mode)
            yield from self._some(bundle, shelf[first:last])
            yield from self._some(bundle, reversed(shelf[max(first, len(shelf) - LOOKS) :]))

    def _rest(self, bundle: Bundle) -> Iterator[Engine]:
        """What `_roomy` has not looked at."""
        for mode in MODES:
            shelf, _, last = self._with_room(bundle, mode)
            yield from self._some(bundle, shelf[last:])

    def _with_room(self, bundle: Bundle, mode: Mode) -> tuple[list[Place], int, int]:
        """A shelf, where those with room enough begin, and how far to look at first."""
        shelf = self._shelves[bundle.kind][mode]
        first = bisect_left(shelf, (bundle.own, -1))
        return shelf, first, first + LOOKS

    def _some(self, bundle: Bundle, places: Iterable[Place]) -> Iterator[Engine]:
        engines = (self._by_order[order] for _, order in places)
        return islice((e for e in engines if e.fits(bundle)), self._config.probes)


def _empty_shelves() -> dict[Kind, dict[Mode, list[Place]]]:
    return {kind: {mode: [] for mode in MODES} for kind in Kind}
