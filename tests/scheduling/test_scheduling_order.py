"""Who is next, against rules that are written down as one sorted scan of everything that waits."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from schedules import (
    PLAIN,
    call,
    chat,
    configs,
    place_all,
    placed,
    scheduler,
    serve_one_by_one,
    tasks,
)

from parrotc.runtime.scheduling.desk import RESERVING
from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.scheduling.scheduler import Scheduler
from parrotc.runtime.scheduling.tasks import Criteria, Kind, PrefixNode, Task


@dataclass(frozen=True)
class Waiting:
    task: Task
    number: int
    arrival: float

    def due(self, config: SchedulerConfig) -> float:
        due = self.arrival + config.patience
        if self.task.criteria is Criteria.DEADLINE:
            due = min(due, (self.task.target or 0) - self.task.rank)
        if self.task.criteria is Criteria.TTFT:
            due = min(due, self.arrival + (self.task.target or 0) / 2)
        return max(due, self.arrival)


def reference_next(waiting: list[Waiting], now: float, config: SchedulerConfig) -> Waiting:
    """Of one tenant: the due before the others, latency work before throughput work; among the
    due the one that became so first; else by depth, application, rank and arrival."""

    def key(each: Waiting) -> tuple[object, ...]:
        is_waiting = each.due(config) > now
        kind = each.task.kind is Kind.THROUGHPUT
        if not is_waiting:
            return (is_waiting, kind, each.due(config), each.number)
        depth = (-each.task.depth, each.task.begun) if config.app_fifo else ()
        rank = (-each.task.rank,) if config.ranked else ()
        return (is_waiting, kind, *depth, *rank, each.number)

    return min(waiting, key=key)


MAKERS = st.lists(st.tuples(tasks(), st.sampled_from([0.0, 0.5, 2.0])), max_size=14)


@given(makers=MAKERS, config=configs, served=st.lists(st.integers(0, 2), min_size=14, max_size=14))
def test_calls_are_served_as_the_rules_say(
    makers: list[tuple[Callable[[int], Task], float]], config: dict[str, object], served: list[int]
) -> None:
    """One slot, one tenant; between arrivals some are served.

    While one runs, the slot is reserved for the next if that is due: who comes later waits."""
    sched = scheduler(spec={"slots": 1}, **config)
    waiting: list[Waiting] = []
    now = 0.0
    reserved: Waiting | None = None
    may_reserve = 0.0

    def serve(most: float) -> None:
        nonlocal reserved, may_reserve
        while waiting and most > 0:
            (dispatch,) = sched.schedule(now).dispatched
            expected = reserved or reference_next(waiting, now, sched.config)
            assert dispatch.task == expected.task
            waiting.remove(expected)
            following = reference_next(waiting, now, sched.config) if waiting else None
            reserved = None
            if following and following.due(sched.config) <= now and now >= may_reserve:
                reserved, may_reserve = following, now + RESERVING
            sched.finish(dispatch.task.id, now)
            most -= 1

    for number, ((make, pause), count) in enumerate(zip(makers, served, strict=False)):
        sched.submit(task := make(number), now)
        waiting.append(Waiting(task, number, now))
        serve(count)
        now += pause
    serve(inf)
    assert sched.counts().queued == 0


@given(makers=st.lists(tasks(), max_size=20), config=configs)
def test_groups_go_together(makers: list[Callable[[int], Task]], config: dict[str, object]) -> None:
    """All have room: the head and its group, or the head and up to 15 with its deepest common
    prefix, then the next head."""
    sched = scheduler(spec={"slots": 100, "tokens": 10**6}, **config)
    waiting = []
    for number, make in enumerate(makers):
        task = make(number)
        fields = {name: getattr(task, name) for name in ("prefix", "depth", "rank", "group")}
        task = call(number, **fields, group_size=task.group_size)  # alike in kind, without bounds
        waiting.append(Waiting(task, number, 0.0))
        sched.submit(task, 0.0)
    expected: list[str] = []
    while waiting:
        head = reference_next(waiting, 0.0, sched.config)
        together = [head, *(each for each in companions(head, waiting, sched.config))]
        expected += [each.task.id for each in together]
        waiting = [each for each in waiting if each not in together]
    assert [dispatch.task.id for dispatch in sched.schedule(0.0).dispatched] == expected


def companions(head: Waiting, waiting: list[Waiting], config: SchedulerConfig) -> list[Waiting]:
    """Those that go with `head`, by arrival."""
    others = [each for each in waiting if each is not head]
    if config.graph_group and head.task.group is not None:
        return [each for each in others if each.task.group == head.task.group]
    if config.ctx_group:
        alone = [each for each in others if not (config.graph_group and each.task.group)]
        for node in reversed(head.task.prefix):
            if alike := [each for each in alone if node in each.task.prefix]:
                return alike[: config.context_group_limit - 1]
    return []


def test_deeper_first_then_the_older_application_then_the_longer_way() -> None:
    sched = scheduler(spec={"slots": 1})
    sched.submit(call("young", begun=5.0), 0.0)
    sched.submit(call("short", begun=1.0, rank=1.0), 0.0)
    sched.submit(call("long", begun=1.0, rank=9.0), 0.0)
    sched.submit(call("deep", begun=7.0, depth=2), 0.0)
    assert serve_one_by_one(sched) == ["deep", "long", "short", "young"]


def test_a_deadline_is_met_by_going_first_in_time() -> None:
    """It is due 5 seconds of work before its deadline, and not earlier."""
    last = call("deadline", criteria=Criteria.DEADLINE, target=9.0, rank=5.0)
    for now, first in ((3.9, "deep"), (4.0, "deadline")):
        sched = scheduler(spec={"slots": 1})
        sched.submit(last, 0.0)
        sched.submit(call("deep", depth=3), 0.0)
        assert serve_one_by_one(sched, now)[0] == first


def test_whoever_has_waited_long_goes_first() -> None:
    for now, first in ((9.9, "deep"), (10.0, "old")):
        sched = scheduler(spec={"slots": 1}, patience=10.0)
        sched.submit(call("old"), 0.0)
        sched.submit(call("deep", depth=3), 9.0)
        assert serve_one_by_one(sched, now)[0] == first


def test_late_calls_do_not_keep_an_old_one_waiting() -> None:
    """A stream of calls whose deadline is long past: each is due when it comes, and not before."""
    sched = scheduler(spec={"slots": 1}, patience=3.0)
    sched.submit(call("running"), 0.0)
    sched.schedule(0.0)
    sched.submit(call("old"), 0.0)
    served = []
    for second in range(1, 8):
        late = call(f"late{second}", criteria=Criteria.DEADLINE, target=-100.0, rank=50.0)
        sched.submit(late, float(second))
        sched.finish(served[-1] if served else "running", float(second))
        served += [d.task.id for d in sched.schedule(float(second)).dispatched]
    assert served[:3] == ["late1", "late2", "old"], "those that came before it was due, then it"


def test_a_stream_of_latency_calls_does_not_stop_the_throughput_calls() -> None:
    sched = scheduler(spec={"slots": 1}, patience=5.0)
    sched.submit(chat("first"), 0.0)
    sched.schedule(0.0)
    sched.submit(call("bulk"), 0.0)
    served = ["first"]
    for second in range(1, 9):
        sched.submit(chat(second), float(second))
        sched.finish(served[-1], float(second))
        served += [d.task.id for d in sched.schedule(float(second)).dispatched]
    assert served.index("bulk") == 5


def test_a_split_group_fills_engines_one_after_the_other() -> None:
    maps = [call(i, group="g", group_size=7) for i in range(7)]
    found = place_all(scheduler(3, spec={"slots": 3}), maps)
    assert found == {"e0": ["0", "1", "2"], "e1": ["3", "4", "5"], "e2": ["6"]}


def test_latecomers_of_a_group_go_to_its_home() -> None:
    sched = scheduler(3, spec={"slots": 4})
    sched.submit(call("big", new_tokens=100, expected_tokens=300), 0.0)
    assert sched.schedule(0.0).dispatched[0].engine == "e0"
    sched.submit(call("first", group="g", group_size=4), 0.0)
    home = sched.schedule(0.0).dispatched[0].engine
    assert home == "e1", "e0 has no room for all four"
    for i in range(3):
        sched.submit(call(i, group="g", group_size=4), 1.0)
        assert sched.schedule(1.0).dispatched[0].engine == home


def test_the_deepest_common_prefix_makes_the_group() -> None:
    root, left = PrefixNode("r", 50), PrefixNode("r/l", 50)
    sched = scheduler(2, spec={"slots": 2}, **PLAIN | {"ctx_group": True})
    for name, chain in (("1", (root, left)), ("2", (root,)), ("3", (root, left))):
        sched.submit(call(name, prefix=chain), 0.0)
    assert [d.task.id for d in sched.schedule(0.0).dispatched] == ["1", "3", "2"]


def test_a_group_that_runs_stays_one_unit() -> None:
    """Its latecomers join it, though the bound leaves room for nothing else."""
    sched = scheduler(2)
    for name in ("0", "1", "2"):
        sched.submit(call(name, group="g", group_size=3, bound=1), 0.0)
        assert [d.engine for d in sched.schedule(0.0).dispatched] == ["e0"]
    sched.submit(call("other"), 0.0)
    assert [d.engine for d in sched.schedule(0.0).dispatched] == ["e1"]


def test_what_is_left_of_a_context_group_has_no_turn_of_its_own() -> None:
    prefix = (PrefixNode("p", 50),)
    calls = [call("1", prefix=prefix), call("other"), call("2", prefix=prefix)]
    found = place_all(scheduler(2, spec={"slots": 1}), calls)
    assert found == {"e0": ["1"], "e1": ["other"]}


def test_many_calls_are_placed_in_parts_and_in_the_same_order() -> None:
    """Nobody is to wait until a thousand are placed."""

    def waiting() -> Scheduler:
        sched = scheduler(3, spec={"slots": 40})
        for number in range(100):
            sched.submit(call(number, application=f"a{number % 7}", begun=float(number % 7)), 0.0)
        return sched

    at_once = placed(waiting().schedule(0.0))
    sched, in_parts = waiting(), []
    sizes = []
    while True:
        decisions = sched.schedule(0.0, 16)
        in_parts += placed(decisions)
        sizes.append(len(decisions.dispatched))
        if not decisions.more:
            break
    assert in_parts == at_once and len(at_once) == 100
    assert max(sizes) <= 16 and sched.schedule(0.0, 16).dispatched == ()


def test_a_group_is_placed_together_though_it_is_large() -> None:
    sched = scheduler(1, spec={"slots": 40})
    for number in range(20):
        sched.submit(call(number, group="g", group_size=20), 0.0)
    decisions = sched.schedule(0.0, 4)
    assert len(decisions.dispatched) == 20
