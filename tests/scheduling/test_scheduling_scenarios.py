"""The six scenarios that Parrot states for its scheduler, as it states them."""

from schedules import PLAIN, call, chat, place_all, placed, scheduler

from parrotc.runtime.scheduling.tasks import PrefixNode


def test_default_policy_throughput() -> None:
    """Eight equal throughput calls go to one of four engines."""
    calls = [call(i) for i in range(8)]
    assert place_all(scheduler(4, **PLAIN), calls) == {"e0": [str(i) for i in range(8)]}


def test_default_policy_latency() -> None:
    """Of eight latency calls, four may run together: four go to one engine, four to another."""
    calls = [chat(i, bound=4) for i in range(8)]
    expected = {"e0": ["0", "1", "2", "3"], "e1": ["4", "5", "6", "7"]}
    assert place_all(scheduler(4, **PLAIN), calls) == expected


def test_app_fifo() -> None:
    """Four applications of two calls each, one slot: an application that has begun goes on."""
    sched = scheduler(spec={"slots": 1}, **PLAIN | {"app_fifo": True})
    for app in range(4):
        sched.submit(call(app, application=str(app)), 0.0)
    order = []
    for _ in range(8):
        ((task, _engine),) = placed(sched.schedule(0.0))
        order.append(int(task))
        sched.finish(task, 0.0)
        if int(task) < 4:
            sched.submit(call(int(task) + 4, application=task, depth=1), 0.0)
    assert order == [0, 4, 1, 5, 2, 6, 3, 7]


def test_graph_group() -> None:
    """Sixteen maps of one reduce go to one engine, though only four units may run together."""
    maps = [chat(i, group="maps", group_size=16, bound=4) for i in range(16)]
    together = place_all(scheduler(4, **PLAIN | {"graph_group": True}), maps)
    assert together == {"e0": [str(i) for i in range(16)]}
    apart = place_all(scheduler(4, **PLAIN), maps)
    assert {name: len(found) for name, found in apart.items()} == dict.fromkeys(apart, 4)


def test_ctx_group() -> None:
    """Four prefixes, four latency calls of each: each prefix has an engine of its own."""
    calls = [chat(i, bound=4, prefix=(PrefixNode(f"p{i % 4}", 6),)) for i in range(16)]
    found = place_all(scheduler(4, **PLAIN | {"ctx_group": True}), calls)
    assert found == {f"e{p}": [str(i) for i in range(p, 16, 4)] for p in range(4)}
    mixed = place_all(scheduler(4, **PLAIN), calls)
    assert mixed["e0"] == ["0", "1", "2", "3"], "without the policy they go as they come"


def test_ctx_aware() -> None:
    """Each engine holds one of four prefixes: calls go where theirs is."""
    calls = [call(i, prefix=(PrefixNode(f"p{i % 4}", 6),)) for i in range(16)]
    aware = scheduler(4, **PLAIN | {"ctx_aware": True})
    unaware = scheduler(4, **PLAIN)
    for sched in (aware, unaware):
        for p in range(4):
            sched.learn_prefix(f"e{p}", (PrefixNode(f"p{p}", 6),))
    assert place_all(aware, calls) == {f"e{p}": [str(i) for i in range(p, 16, 4)] for p in range(4)}
    assert set(place_all(unaware, calls)) == {"e0"}


def test_all_policies_together() -> None:
    """Switched on at once, as they are by default, they give the same answers."""
    maps = [chat(i, group="maps", group_size=16, bound=4) for i in range(16)]
    assert place_all(scheduler(4), maps) == {"e0": [str(i) for i in range(16)]}
    calls = [chat(i, bound=4, prefix=(PrefixNode(f"p{i % 4}", 6),)) for i in range(16)]
    found = place_all(scheduler(4), calls)
    assert found == {f"e{p}": [str(i) for i in range(p, 16, 4)] for p in range(4)}
