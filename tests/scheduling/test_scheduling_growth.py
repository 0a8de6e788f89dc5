"""Work for each call does not grow with what waits or with the engines, and memory stays flat."""

import gc
import tracemalloc
from heapq import heappop, heappush
from typing import Any

import pytest
from schedules import call, chat, leftovers, scheduler

from parrotc.runtime.scheduling.engines import Engine
from parrotc.runtime.scheduling.queues import Heap
from parrotc.runtime.scheduling.scheduler import Scheduler
from parrotc.runtime.scheduling.tasks import PrefixNode, Task


def mixed(number: int) -> Task:
    """One of a mix: chats and maps, 5 tenants, groups of 10, prefixes of which some are rare."""
    fields: dict[str, Any] = {
        "tenant": f"t{number % 5}",
        "prefix": (
            PrefixNode(f"p{number % 7}", 300),
            PrefixNode(f"p{number % 7}/{number % 91}", 50),
        ),
        "depth": number % 3,
        "new_tokens": 100 + number % 50,
    }
    if number % 2:
        return chat(number, **fields)
    return call(number, group=f"g{number // 100}", group_size=10, **fields)


def run(sched: Scheduler, first: int, count: int, *, at_once: bool) -> None:
    """Submit `count` calls, all at first or as fast as they end, and serve all."""
    ends: list[tuple[float, str]] = []
    numbers = iter(range(first, first + count))
    now = 0.0
    for number in numbers if at_once else range(0):
        sched.submit(mixed(number), now)
    while True:
        for dispatch in sched.schedule(now).dispatched:
            heappush(ends, (now + 1 + len(ends) % 7, dispatch.task.id))
        number = next(numbers, None)
        if number is not None:
            sched.submit(mixed(number), now)
        elif not ends:
            break
        if ends and (number is None or number % 3):
            now, name = heappop(ends)
            sched.finish(name, now)
    assert sched.counts().queued == 0


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("grown", "engines"), [("calls", (6, 6)), ("engines", (20, 160))])
def test_looks_at_engines_for_each_call(
    monkeypatch: pytest.MonkeyPatch, grown: str, engines: tuple[int, int], at_once: bool
) -> None:
    """P1: how often an engine is asked whether it has room, a call; how often heaps are read."""
    looks = 0

    def counted(original: Any) -> Any:
        def method(*args: Any) -> Any:
            nonlocal looks
            looks += 1
            return original(*args)

        return method

    monkeypatch.setattr(Engine, "fits", counted(Engine.fits))
    monkeypatch.setattr(Heap, "peek", counted(Heap.peek))
    found = []
    for count, size in zip((500, 4000 if grown == "calls" else 500), engines, strict=True):
        looks = 0
        run(scheduler(size, spec={"slots": 4}), 0, count, at_once=at_once)
        found.append(looks / count)
    assert found[1] < 1.5 * found[0] + 10, found


def test_memory_is_flat() -> None:
    sched = scheduler(4, spec={"slots": 4}, cached_nodes=8)
    tracemalloc.start()
    held = []
    for part in range(5):
        run(sched, 500 * part, 500, at_once=False)
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert leftovers(sched) == {}
    assert held[-1] - held[1] < 10_000, held


def test_a_long_queue_leaves_no_dead_entries() -> None:
    """Calls that are cancelled in the middle are swept out of the heaps."""
    sched = scheduler(spec={"slots": 1})
    for number in range(3000):
        sched.submit(mixed(number), 0.0)
        if number >= 10:
            sched.cancel(str(number), 0.0)
    for desk in sched._desks.values():
        for lane in desk.lanes.values():
            for backlog in lane._backlogs.values():
                for heap in (backlog._by_due, backlog._by_policy):
                    assert len(heap._entries) < 100
