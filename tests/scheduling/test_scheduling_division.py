"""How many engines a group is divided over, and when single calls spread or gather."""

from collections import Counter
from dataclasses import replace
from itertools import permutations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from schedules import PLAIN, call, chat, engine, place_all, scheduler

from parrotc.runtime.scheduling.cost import EngineCost
from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.scheduling.scheduler import Scheduler
from parrotc.runtime.scheduling.tasks import Criteria, PrefixNode, Task
from parrotc.runtime.scheduling.tickets import Bundle, Ticket

# a step takes 10 ms and hardly more with more tokens; filling takes 1 ms a token
COST = EngineCost(bandwidth=1e9, weights=1e7, kv_bytes=1e-3, overhead=0.0, fill=1e-3)
STEP, FILL = 0.01, 1e-3


def maps(count: int, tokens: int, shared: int = 0, **fields: Any) -> list[Task]:
    """A group, each with a prompt of its own after what they share."""
    return [
        call(
            f"map{n}",
            new_tokens=0,
            expected_tokens=1,
            prefix=(PrefixNode("shared", shared), PrefixNode(f"own{n}", tokens)),
            **{"group": "maps", "group_size": count} | fields,
        )
        for n in range(count)
    ]


def sizes(found: dict[str, list[str]]) -> list[int]:
    return sorted(map(len, found.values()), reverse=True)


def test_a_group_that_takes_long_is_divided_over_idle_engines() -> None:
    assert sizes(place_all(scheduler(4, spec={"cost": COST}), maps(20, 100))) == [5, 5, 5, 5]


def test_a_group_that_takes_less_than_a_step_is_not_divided() -> None:
    found = place_all(scheduler(4, spec={"cost": COST}), maps(10, 1))
    assert sizes(found) == [10]
    assert sizes(place_all(scheduler(4, spec={"cost": COST}, packed=False), maps(8, 1))) == [2] * 4


def test_an_engine_that_saves_less_than_a_step_is_left_alone() -> None:
    """1,000 calls of 1 ms on two idle engines end after 500 ms, with a third after 493 ms."""
    sched = scheduler(3, spec={"cost": COST, "slots": 2000})
    sched._desks["m"].fleet.engines["e2"].busy_until = 0.48
    assert set(place_all(sched, maps(1000, 1))) == {"e0", "e1"}


def test_what_they_share_is_filled_again_only_where_that_pays() -> None:
    """Each of 20 calls adds 100 ms. Another engine begins later by the prefix, which counts twice:
    so it pays up to 1 s."""
    for shared, is_divided in ((0, True), (300, True), (900, True), (1100, False)):
        sched = scheduler(4, spec={"cost": COST})
        sched.learn_prefix("e0", (PrefixNode("shared", shared),))
        found = place_all(sched, maps(20, 100, shared))
        assert (len(found) > 1) is is_divided, shared
        assert len(found["e0"]) == max(map(len, found.values()))


def test_what_they_share_and_nobody_holds_is_filled_again_only_where_that_pays() -> None:
    """The first engine has to fill it, wherever that is; a second saves time and fills it too."""
    for shared, engines in ((0, 4), (100, 4), (5000, 1)):
        found = place_all(scheduler(4, spec={"cost": COST}), maps(20, 100, shared))
        assert len(found) == engines, shared
    assert len(place_all(scheduler(4, spec={"cost": COST}), maps(10, 5, 1000))) == 1


def test_calls_with_one_prefix_are_divided_as_groups_are() -> None:
    alike = maps(20, 100, 50, group=None, group_size=1)
    assert len(place_all(scheduler(4, spec={"cost": COST}), alike)) == 4
    near = maps(10, 1, 5, group=None, group_size=1)
    assert len(place_all(scheduler(4, spec={"cost": COST}), near)) == 1


def test_a_part_that_does_not_fit_goes_where_there_is_room() -> None:
    sched = Scheduler(SchedulerConfig())
    for index, tokens in enumerate((350, 350, 5000)):
        sched.add_engine(engine(index, tokens=tokens, cost=COST), 0.0)
    found = place_all(sched, maps(12, 100))
    assert {name: len(calls) for name, calls in found.items()} == {"e0": 3, "e1": 3, "e2": 6}


def test_a_part_may_begin_with_a_call_that_does_not_fit() -> None:
    """It is the first that tells which engines have room for one; this one is small."""
    sched = Scheduler(SchedulerConfig())
    for index, tokens in enumerate((5000, 60)):
        sched.add_engine(engine(index, tokens=tokens, cost=COST), 0.0)
    small, *large = maps(11, 100)
    tasks = [replace(small, prefix=(PrefixNode("own", 10),)), *large]
    assert place_all(sched, tasks) == {"e0": [task.id for task in tasks]}


def test_a_bundle_is_as_strict_as_the_strictest_of_it() -> None:
    strict = {"criteria": Criteria.TPOT, "target": 0.005}
    tasks = [chat("a", bound=7), call("b", bound=3), chat("c", **strict), chat("d")]
    config = SchedulerConfig()
    for order in permutations(tasks):
        tickets = [Ticket(task, n, 0.0, (), 0.0) for n, task in enumerate(order)]
        bundle = Bundle(tickets, config)
        assert (bundle.step, bundle.bound, bundle.calls) == (0.005, 3, 4)


def test_single_calls_spread_where_engines_are_idle() -> None:
    chats = [chat(n, new_tokens=300, expected_tokens=1) for n in range(2)]
    assert place_all(scheduler(2, spec={"cost": COST}), chats) == {"e0": ["0"], "e1": ["1"]}


def test_single_calls_gather_at_a_prefix_for_as_long_as_filling_it_costs_more() -> None:
    """Each takes 300 ms. Another engine has to fill 1 s first, which counts twice: for the caller
    and for the others. So e0 may be 2 s later, and from then on both hold the prefix."""
    prefix = (PrefixNode("p", 1000),)
    sched = scheduler(2, spec={"cost": COST})
    sched.learn_prefix("e0", prefix)
    engines = []
    for number in range(10):
        task = chat(number, prefix=prefix, new_tokens=300, expected_tokens=1)
        ((name, _),) = place_all(sched, [task]).items()
        engines.append(name)
    assert engines == ["e0"] * 7 + ["e1"] * 3


@given(
    busy=st.lists(st.integers(0, 2000), min_size=1, max_size=6),
    calls=st.integers(2, 30),
    tokens=st.integers(1, 200),
)
@settings(deadline=None)
def test_no_division_ends_a_group_much_sooner_or_over_fewer_engines(
    busy: list[int], calls: int, tokens: int
) -> None:
    """Against the best there is, call by call, over every number of engines."""
    sched = scheduler(len(busy), spec={"cost": COST}, **PLAIN | {"graph_group": True})
    engines = sched._desks["m"].fleet.engines
    for index, fill in enumerate(busy):
        engines[f"e{index}"].busy_until = fill * FILL
    members = [
        call(n, new_tokens=tokens, expected_tokens=1, group="g", group_size=calls)
        for n in range(calls)
    ]
    found = place_all(sched, members)
    starts = sorted(fill * FILL for fill in busy)
    ends = [
        fill * FILL + len(found[f"e{index}"]) * tokens * FILL
        for index, fill in enumerate(busy)
        if f"e{index}" in found
    ]
    best = [_best(starts[:count], calls, tokens * FILL) for count in range(1, len(starts) + 1)]
    assert max(ends) <= min(best) + STEP + tokens * FILL + 1e-6
    if len(found) > 1:
        assert best[len(found) - 2] >= min(best) + STEP - tokens * FILL - 1e-6


def _best(starts: list[float], calls: int, each: float) -> float:
    """When the last call ends if each goes where it ends soonest."""
    had: Counter[int] = Counter()
    for _ in range(calls):
        had[min(range(len(starts)), key=lambda i: starts[i] + (had[i] + 1) * each)] += 1
    return max(starts[i] + count * each for i, count in had.items())
