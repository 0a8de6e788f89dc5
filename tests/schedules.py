"""Calls, engines and random histories for the tests of the global scheduler."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from hypothesis import strategies as st

from parrotc.runtime.scheduling.cost import EngineCost
from parrotc.runtime.scheduling.engines import EngineSpec
from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.scheduling.scheduler import Decisions, Scheduler
from parrotc.runtime.scheduling.tasks import Criteria, Failed, PrefixNode, Task

PLAIN = {"app_fifo": False, "ranked": False, "graph_group": False, "ctx_group": False}
PLAIN |= {"ctx_aware": False}


def call(id: object, **fields: Any) -> Task:
    """A small throughput call of the model `m`."""
    defaults: dict[str, Any] = {"model": "m", "new_tokens": 8, "expected_tokens": 8}
    return Task(**defaults | {"criteria": Criteria.THROUGHPUT} | fields | {"id": str(id)})


def chat(id: object, **fields: Any) -> Task:
    """A small latency call."""
    return call(id, **{"criteria": Criteria.LATENCY} | fields)


def engine(index: int, **fields: Any) -> EngineSpec:
    return EngineSpec(**{"name": f"e{index}", "model": "m"} | fields)


def scheduler(engines: int = 1, *, spec: dict[str, Any] | None = None, **config: Any) -> Scheduler:
    """One with equal engines `e0`, `e1`, …"""
    made = Scheduler(SchedulerConfig(**config))
    for index in range(engines):
        made.add_engine(engine(index, **spec or {}), 0.0)
    return made


def placed(decisions: Decisions) -> list[tuple[str, str]]:
    """Task and engine of each dispatch, in order."""
    assert decisions.failed == ()
    return [(dispatch.task.id, dispatch.engine) for dispatch in decisions.dispatched]


def place_all(scheduler: Scheduler, tasks: list[Task], now: float = 0.0) -> dict[str, list[str]]:
    """Submit all at once; task ids by engine, each in order of dispatch."""
    for task in tasks:
        scheduler.submit(task, now)
    found: dict[str, list[str]] = {}
    for task_id, name in placed(scheduler.schedule(now)):
        found.setdefault(name, []).append(task_id)
    return found


def serve_one_by_one(scheduler: Scheduler, now: float = 0.0) -> list[str]:
    """Run what waits on an engine with one slot; the order in which calls were served."""
    order = []
    while dispatched := scheduler.schedule(now).dispatched:
        (dispatch,) = dispatched
        order.append(dispatch.task.id)
        scheduler.finish(dispatch.task.id, now)
    return order


# --- random ones ---

NODES = [PrefixNode("a", 30), PrefixNode("a/b", 20), PrefixNode("a/c", 50), PrefixNode("d", 10)]
CHAINS = [(), (NODES[0],), (NODES[0], NODES[1]), (NODES[0], NODES[2]), (NODES[3],)]
CRITERIA = [
    (Criteria.LATENCY, None), (Criteria.THROUGHPUT, None), (Criteria.TPOT, 0.02),
    (Criteria.TTFT, 3.0), (Criteria.DEADLINE, 30.0),
]  # fmt: skip


@st.composite
def tasks(draw: st.DrawFn, *, tenants: int = 1, grouped: bool = True) -> Callable[[int], Task]:
    """One task but for its id, which is the number that it is given."""
    criteria, target = draw(st.sampled_from(CRITERIA))
    fields: dict[str, Any] = {
        "criteria": criteria,
        "target": target,
        "new_tokens": draw(st.integers(0, 40)),
        "expected_tokens": draw(st.integers(0, 40)),
        "prefix": draw(st.sampled_from(CHAINS)),
        "depth": draw(st.integers(0, 2)),
        "begun": float(draw(st.integers(0, 2))),
        "rank": float(draw(st.integers(0, 3))),
        "tenant": f"t{draw(st.integers(0, tenants - 1))}",
        "bound": draw(st.sampled_from([0, 0, 0, 1, 3])),
    }
    if grouped and draw(st.booleans()):
        fields |= {"group": draw(st.sampled_from("xyz")), "group_size": draw(st.integers(1, 4))}
    return lambda number: call(number, **fields)


configs = st.fixed_dictionaries(
    {name: st.booleans() for name in PLAIN}
    | {"lookahead": st.integers(1, 4), "probes": st.integers(1, 8)}
    | {"patience": st.sampled_from([0.0, 3.0, 1e9])}
)
# 40 tokens a step at least, so that promises bind at the sizes of `tasks`
SLOW = EngineCost(bandwidth=1e3, weights=5.0, kv_bytes=0.1, overhead=1e-3, fill=1e-3)


@dataclass
class History:
    """A scheduler under random events; what must hold is asked after each of them."""

    scheduler: Scheduler
    random: Random
    now: float = 0.0
    known: dict[str, Task] = field(default_factory=dict)  # taken and not ended
    running: dict[str, str] = field(default_factory=dict)  # task, engine
    specs: dict[str, EngineSpec] = field(default_factory=dict)
    failed: list[Failed] = field(default_factory=list)
    _names: Any = field(default_factory=count)

    def add_engine(self) -> None:
        spec = engine(
            next(self._names),
            slots=self.random.choice([1, 2, 6]),
            tokens=self.random.choice([150, 400]),
            shares=self.random.random() < 0.7,
            role=self.random.choice(["mixed", "mixed", "latency", "throughput"]),
            cost=SLOW,
        )
        self.scheduler.add_engine(spec, self.now)
        self.specs[spec.name] = spec

    def submit(self, task: Task) -> None:
        self.scheduler.submit(task, self.now)
        self.known[task.id] = task

    def schedule(self) -> None:
        decisions = self.scheduler.schedule(self.now)
        for dispatch in decisions.dispatched:
            name = dispatch.task.id
            assert name in self.known and name not in self.running, f"{name} was sent twice"
            assert dispatch.engine in self.specs, "it was sent to an engine that is gone"
            self.running[name] = dispatch.engine
        self._fail(decisions.failed)
        self.check()

    def finish(self, name: str) -> None:
        self.scheduler.finish(name, self.now, seconds=self.random.choice([None, 0.0, 1.0]))
        del self.running[name], self.known[name]

    def kill(self, name: str, *, blame: tuple[str, ...] | None = None) -> None:
        for task_id in [t for t, where in self.running.items() if where == name]:
            del self.running[task_id]
        del self.specs[name]
        self._fail(self.scheduler.engine_died(name, self.now, "killed", blame=blame))

    def _fail(self, failed: tuple[Failed, ...]) -> None:
        for each in failed:
            assert self.known.pop(each.task.id) == each.task
            assert each.task.id not in self.running
            self.failed.append(each)

    def check(self) -> None:
        """Nothing is lost, and no engine holds more than it may."""
        counts = self.scheduler.counts()
        assert counts.running == len(self.running)
        assert counts.queued == len(self.known) - len(self.running)
        for name, spec in self.specs.items():
            here = [self.known[t] for t, where in self.running.items() if where == name]
            if not self.scheduler.has_engine(name):
                assert here == [], "an engine was forgotten while calls run there"
                continue
            assert sorted(self.scheduler.running_on(name)) == sorted(t.id for t in here)
            check_engine(spec, here, self.scheduler.config)


def held_by(spec: EngineSpec, tasks: list[Task]) -> int:
    """Tokens that `tasks` hold together on an engine."""
    if not spec.shares:
        return sum(task.total for task in tasks)
    nodes = {node.digest: node.tokens for task in tasks for node in task.prefix}
    return sum(task.own for task in tasks) + sum(nodes.values())


def most_held(spec: EngineSpec, tasks: list[Task], config: SchedulerConfig) -> float:
    """Tokens that they may hold, by memory and by what was promised to each of them."""
    best = config.stretch * spec.cost.step(0)
    most: float = spec.tokens
    for task in tasks:
        if task.criteria is Criteria.TPOT and task.target is not None:
            most = min(most, spec.cost.tokens_within(max(task.target, best)))
        elif task.criteria in (Criteria.LATENCY, Criteria.TTFT):
            most = min(most, spec.cost.tokens_within(max(config.latency_step, best)))
    return most


def units_of(tasks: list[Task], config: SchedulerConfig) -> int:
    if not config.graph_group:
        return len(tasks)
    return len({(task.tenant, task.group) if task.group else task.id for task in tasks})


def check_engine(spec: EngineSpec, tasks: list[Task], config: SchedulerConfig) -> None:
    if not tasks:
        return
    assert len(tasks) <= spec.slots
    most = most_held(spec, tasks, config) if len(tasks) > 1 else spec.tokens
    assert held_by(spec, tasks) <= most
    bounds = [task.bound for task in tasks if task.bound]
    assert not bounds or units_of(tasks, config) <= min(bounds)


def leftovers(scheduler: Scheduler) -> dict[str, int]:
    """Sizes of everything that an idle scheduler must have emptied, where not 0."""
    sizes = {"tickets": len(scheduler._tickets), "queued": len(scheduler._queued)}
    sizes["waiting"] = scheduler._waiting
    for desk in scheduler._desks.values():
        sizes["homes"] = len(desk.fleet._homes)
        sizes["reserved"] = int(desk._reserved is not None)
        for engine in desk.fleet.engines.values():
            sizes[engine.spec.name] = engine.held + len(engine.prefixes.read) + len(engine.units)
        for kind, lane in desk.lanes.items():
            sizes[kind] = len(lane.waiting) + len(lane._groups) + len(lane._prefixes)
            sizes[f"{kind} aside"] = len(lane._aside)
    return {name: size for name, size in sizes.items() if size}
