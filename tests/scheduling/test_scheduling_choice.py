"""Which engine a call gets, against the rule written down as a scan of all engines."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from schedules import (
    PLAIN,
    SLOW,
    call,
    chat,
    engine,
    held_by,
    most_held,
    place_all,
    placed,
    scheduler,
    tasks,
    units_of,
)

from parrotc.runtime.scheduling.cost import EngineCost
from parrotc.runtime.scheduling.engines import EngineSpec
from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.scheduling.scheduler import Scheduler
from parrotc.runtime.scheduling.tasks import Criteria, Kind, PrefixNode, Task


@dataclass
class Model:
    """An engine as a list of what runs there. `seen`: all prefixes it ever had (it has room)."""

    spec: EngineSpec
    running: list[Task] = field(default_factory=list)
    seen: set[object] = field(default_factory=set)
    filled_at: float = -inf

    @property
    def kind(self) -> Kind | None:
        if not self.running:
            return None
        hurried = any(task.kind is Kind.LATENCY for task in self.running)
        return Kind.LATENCY if hurried else Kind.THROUGHPUT

    def missing(self, task: Task) -> int:
        return sum(node.tokens for node in task.prefix if node.digest not in self.seen)

    def fits(self, task: Task, config: SchedulerConfig) -> bool:
        after = [*self.running, task]
        bounds = [each.bound for each in after if each.bound]
        most = most_held(self.spec, after, config) if self.running else self.spec.tokens
        return (
            len(after) <= self.spec.slots
            and held_by(self.spec, after) <= most
            and (not bounds or units_of(after, config) <= min(bounds))
        )

    def start(self, task: Task, now: float) -> None:
        fill = (task.new_tokens + self.missing(task)) * self.spec.cost.fill
        self.filled_at = max(now, self.filled_at) + fill
        self.running.append(task)
        self.seen |= {node.digest for node in task.prefix}

    def end(self, task: Task) -> None:
        self.running.remove(task)
        if not self.running:
            self.filled_at = -inf


def reference_choice(
    models: list[Model], task: Task, now: float, config: SchedulerConfig
) -> str | None:
    """The engine for one call on its own: see `placement`, and `Fleet.fitting` for who may."""
    fitting = [model for model in models if model.fits(task, config)]
    near = [
        model
        for model in fitting
        if model.kind in (task.kind, None)
        or (config.ctx_aware and any(node.digest in model.seen for node in task.prefix))
    ]
    options = near or fitting
    if not options:
        return None

    def resident(model: Model) -> int:
        return task.total - task.own - model.missing(task) if config.ctx_aware else 0

    def step(model: Model) -> float:
        return model.spec.cost.step(held_by(model.spec, [*model.running, task]))

    def times(model: Model) -> tuple[float, float]:
        """When it would be done, and by how much that is too late."""
        begin = max(now, model.filled_at)
        filled = (
            begin + (task.total - task.expected_tokens - resident(model)) * model.spec.cost.fill
        )
        finish = filled + task.expected_tokens * step(model)
        if task.criteria is Criteria.TTFT:
            return finish, max(0.0, filled + step(model) - (now + (task.target or 0)))
        if task.criteria is Criteria.DEADLINE:
            after = max(0.0, task.rank - (finish - begin))
            return finish, max(0.0, finish + after - (task.target or 0))
        return finish, 0.0

    def cost(model: Model) -> float:
        return times(model)[0] - resident(model) * model.spec.cost.fill

    kept = [model for model in options if not times(model)[1]]
    if not kept:
        return min(options, key=lambda m: (*reversed(times(m)), m.spec.name)).spec.name
    cheapest = min(kept, key=cost)
    most = cost(cheapest) + (step(cheapest) if config.packed else 0.0)
    as_good = [model for model in kept if cost(model) <= most]

    def preference(model: Model) -> tuple[float, ...]:
        order = (task.kind, None).index(model.kind) if model in near and model.kind in (
            task.kind, None) else 2  # fmt: skip
        room = most_held(model.spec, model.running, config) - held_by(model.spec, model.running)
        return (-resident(model), order, room, int(model.spec.name[1:]))

    return min(as_good, key=preference).spec.name


@given(
    makers=st.lists(tasks(grouped=False), min_size=1, max_size=20),
    aware=st.booleans(),
    packed=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None)
def test_the_engine_is_the_one_that_the_rule_names(
    makers: list[Callable[[int], Task]], aware: bool, packed: bool, seed: int
) -> None:
    random = Random(seed)
    config = SchedulerConfig(
        **PLAIN | {"ctx_aware": aware}, packed=packed, probes=8, patience=1e9, lookahead=100
    )
    sched = Scheduler(config)
    models = []
    for index in range(random.randrange(1, 6)):
        spec = engine(
            index,
            slots=random.choice([1, 3, 8]),
            tokens=random.choice([200, 1000]),
            shares=random.random() < 0.7,
            cost=SLOW,
        )
        models.append(Model(EngineSpec(**{f: getattr(spec, f) for f in spec.__slots__})))
        sched.add_engine(spec, 0.0)
    now = 0.0
    for number, make in enumerate(makers):
        task = make(number)
        if task.total > max(model.spec.tokens for model in models):
            continue
        expected = reference_choice(models, task, now, config)
        sched.submit(task, now)
        sent = [(d.task.id, d.engine) for d in sched.schedule(now).dispatched]
        if expected is None:
            assert sent == []
            sched.cancel(task.id, now)
            continue
        assert sent == [(task.id, expected)]
        next(model for model in models if model.spec.name == expected).start(task, now)
        now += random.choice([0.0, 0.01, 1.0])
        busy = [model for model in models if model.running]
        if random.random() < 0.4 and busy:
            model = random.choice(busy)
            done = random.choice(model.running)
            model.end(done)
            sched.finish(done.id, now)


def test_capacity_for_a_latency_target_is_bytes_a_step() -> None:
    """bandwidth · (τ − c) − weights, in tokens: (1000 · (0.11 − 0.01) − 20) / 2 = 40."""
    cost = EngineCost(bandwidth=1000.0, weights=20.0, kv_bytes=2.0, overhead=0.01, fill=1e-6)
    assert round(cost.tokens_within(0.11), 6) == 40
    assert round(cost.step(40), 6) == 0.11
    for calls, together in ((4, 4), (5, 4)):  # of 10 tokens each
        tpot = {"criteria": Criteria.TPOT, "target": 0.11 + 1e-9}
        waiting = [call(i, new_tokens=5, expected_tokens=5, **tpot) for i in range(calls)]
        found = place_all(scheduler(1, spec={"cost": cost}), waiting)
        assert len(found["e0"]) == together


def test_a_shared_prefix_is_counted_once_where_it_is_stored_once() -> None:
    prefix = (PrefixNode("system", 90),)
    for shares, together in ((True, 6), (False, 1)):
        sched = scheduler(1, spec={"tokens": 150, "shares": shares})
        found = place_all(sched, [call(i, prefix=prefix, new_tokens=5, expected_tokens=5)
                                  for i in range(8)])  # fmt: skip
        assert len(found["e0"]) == together


def test_a_promise_keeps_others_away() -> None:
    """A throughput call that would slow a latency call down goes elsewhere, or waits."""
    cost = EngineCost(bandwidth=1000.0, weights=20.0, kv_bytes=2.0, overhead=0.01, fill=1e-6)
    sched = scheduler(1, spec={"cost": cost}, latency_step=0.11)
    assert place_all(sched, [chat("fast", new_tokens=20)]) == {"e0": ["fast"]}
    assert place_all(sched, [call("bulk", new_tokens=50)]) == {}
    sched.finish("fast", 1.0)
    assert [d.task.id for d in sched.schedule(1.0).dispatched] == ["bulk"]


def test_a_call_that_an_engine_has_failed_waits_for_another() -> None:
    """Even where its prefix is, and though the other is full and nothing else runs there."""
    node = PrefixNode("p", 100)
    sched = scheduler(2, spec={"slots": 1})
    assert place_all(sched, [call("a", prefix=(node,))]) == {"e0": ["a"]}
    assert place_all(sched, [call("b")]) == {"e1": ["b"]}
    sched.finish("a", 1.0)
    again = call("c", prefix=(node,), avoid=frozenset({"e0"}))
    assert place_all(sched, [again], 1.0) == {}
    sched.finish("b", 2.0)
    assert placed(sched.schedule(2.0)) == [("c", "e1")]


def test_a_call_that_all_engines_have_failed_goes_where_it_can() -> None:
    sched = scheduler(2)
    both = frozenset({"e0", "e1"})
    assert place_all(sched, [call("a", avoid=both)]) == {"e0": ["a"]}
    sched.engine_died("e1", 1.0, "gone", blame=())
    assert place_all(sched, [call("b", avoid=frozenset({"e0"}))], 1.0) == {"e0": ["b"]}


def test_only_an_engine_that_could_have_it_is_waited_for() -> None:
    sched = scheduler(1)
    sched.add_engine(engine(1, context_length=10), 0.0)
    sched.add_engine(engine(2, role="latency"), 0.0)
    long = call("a", prefix=(PrefixNode("p", 100),), avoid=frozenset({"e0"}))
    assert place_all(sched, [long]) == {"e0": ["a"]}


def test_latency_and_throughput_work_are_kept_apart() -> None:
    mixed = [chat("a"), call("b"), chat("c"), call("d")]
    assert place_all(scheduler(3), mixed) == {"e0": ["a", "c"], "e1": ["b", "d"]}


def test_roles_say_who_takes_what() -> None:
    sched = Scheduler()
    sched.add_engine(engine(0, role="throughput"), 0.0)
    sched.add_engine(engine(1, role="latency"), 0.0)
    assert place_all(sched, [chat("a"), call("b")]) == {"e1": ["a"], "e0": ["b"]}
    sched.engine_died("e1", 0.0, "gone", blame=())
    assert [d.engine for d in sched.schedule(0.0).dispatched] == ["e0"], "no engine is for it now"


def test_a_deadline_outweighs_packing_and_prefixes() -> None:
    """The engine with the prefix has much to fill, though less than twice that prefix: the call
    would be later there, and is best there unless it would be late."""
    prefix = (PrefixNode("p", 7000),)
    for target, expected in ((1000.0, "e0"), (12.0, "e1")):
        sched = scheduler(2, spec={"cost": SLOW})
        sched.learn_prefix("e0", prefix)
        sched.submit(call("busy", new_tokens=10_000, expected_tokens=1, prefix=prefix), 0.0)
        assert sched.schedule(0.0).dispatched[0].engine == "e0"
        hurry = {"criteria": Criteria.DEADLINE, "target": target}
        task = call("next", prefix=prefix, new_tokens=900, expected_tokens=1, **hurry)
        sched.submit(task, 0.0)
        assert sched.schedule(0.0).dispatched[0].engine == expected


def test_a_forgotten_prefix_attracts_nobody() -> None:
    prefix = (PrefixNode("p", 100),)
    sched = scheduler(2)
    sched.learn_prefix("e1", prefix)
    sched.forget_prefixes("e1", ["p"])
    assert place_all(sched, [call("a", prefix=prefix)]) == {"e0": ["a"]}


def test_prefixes_are_forgotten_from_the_leaves() -> None:
    """Learned or left by a call: of a chain that has no room any more, the root stays."""
    root, leaf, other = PrefixNode("r", 40), PrefixNode("r/l", 40), PrefixNode("o", 40)
    for is_learned in (True, False):
        sched = scheduler(1, spec={"tokens": 110})
        if is_learned:
            sched.learn_prefix("e0", (root, leaf))
        else:
            place_all(sched, [call("a", prefix=(root, leaf))])
            sched.finish("a", 0.0)
        sched.learn_prefix("e0", (other,))
        sched.submit(call("b", new_tokens=1, expected_tokens=1, prefix=(root,)), 0.0)
        assert sched.schedule(0.0).dispatched[0].resident == 40


def test_a_promise_that_no_engine_could_keep_is_kept_as_near_as_may_be() -> None:
    """A step of the empty engine takes 6 ms. For 1 ms as for 9 ms, up to 30 tokens go together."""
    for step, together in ((0.001, 3), (0.009 + 1e-9, 3), (0.010, 4)):
        sched = scheduler(1, spec={"cost": SLOW}, latency_step=step)
        waiting = [chat(i, new_tokens=5, expected_tokens=5) for i in range(6)]
        assert len(place_all(sched, waiting)["e0"]) == together


def test_where_all_are_late_the_least_late_is_best() -> None:
    """The first token is what counts: one engine fills fast, the other generates fast."""
    sched = Scheduler(SchedulerConfig())
    fills = EngineCost(bandwidth=1e9, weights=1e7, kv_bytes=1.0, overhead=0.01, fill=1e-3)
    speaks = EngineCost(bandwidth=1e9, weights=1e5, kv_bytes=1.0, overhead=0.001, fill=1e-2)
    sched.add_engine(engine(0, cost=speaks), 0.0)
    sched.add_engine(engine(1, cost=fills), 0.0)
    hurry = {"criteria": Criteria.TTFT, "target": 1e-6}
    found = place_all(sched, [call("a", new_tokens=10, expected_tokens=100, **hurry)])
    assert found == {"e1": ["a"]}


def test_an_engine_of_the_other_kind_is_the_last_resort() -> None:
    """Even where the call would be done there sooner."""
    sched = scheduler(2, packed=False)
    assert place_all(sched, [chat("long", new_tokens=10_000)]) == {"e0": ["long"]}
    assert place_all(sched, [call("bulk")]) == {"e1": ["bulk"]}
    assert place_all(sched, [chat("short")]) == {"e0": ["short"]}
    assert place_all(sched, [chat("large", new_tokens=120_000, bound=2)]) == {"e1": ["large"]}
