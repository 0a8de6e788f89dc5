"""The global scheduler alone: 1, 100 and 1,000 simulated engines, 100,000 calls, virtual time.

    python benchmarks/scheduling.py
    python benchmarks/scheduling.py --calls 20000 --engines 100

Engines are a heap of ends: a call ends when its dispatch said it would. Calls are a mix: chats with
long system prompts, map-reduce groups that come together, and steps of agents with deadlines, of
20 tenants. A *steady* load leaves the queues short; an *overload* is more than the engines can do,
so that they grow until the last call has come.

A decision is an event, what arrives at one time or one end, with the `schedule` that follows it.
Its time is wall-clock time, so that of a loaded machine is longer; processor time is given too.
Memory is what Python holds for the scheduler after a first part of the calls, and after a second
one as large, when nothing waits or runs.
"""

import argparse
import gc
import json
import os
import platform
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from heapq import heappop, heappush
from itertools import count, groupby
from math import inf
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import Any

from parrotc.runtime.scheduling.engines import EngineSpec
from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.scheduling.scheduler import Scheduler
from parrotc.runtime.scheduling.tasks import Criteria, PrefixNode, Task

RESULTS = Path(__file__).parent / "results"
TENANTS = 20
LOADS = {"steady": 12.0, "overload": 40.0}  # calls a second that arrive for each engine
MEMORY_CALLS = 10_000


@dataclass
class Measure:
    """Times of one decision in microseconds, of memory in bytes."""

    engines: int
    load: str
    calls: int
    tasks_per_second: float
    tasks_per_cpu_second: float
    p50: float
    p99: float
    worst: float
    most_waiting: int
    dispatched_with_prefix: float
    memory_before: int
    memory_after: int


def workload(
    calls: int, rate: float, *, begin: float = 0.0, seed: int = 0
) -> Iterator[tuple[float, Task]]:
    """Calls with the virtual time at which each arrives, `rate` a second."""
    random = Random(seed)
    systems = [PrefixNode(f"system{i}", random.randrange(500, 6000)) for i in range(40)]
    now, made = begin, 0
    for job in count():
        now += random.expovariate(rate / 3.5)  # a job has so many calls in the mean
        tenant = f"tenant{random.randrange(TENANTS)}"
        for task in _job(random, f"{seed}.{job}", tenant, random.choice(systems), now):
            if made == calls:
                return
            made += 1
            yield now, task


def _job(random: Random, job: str, tenant: str, system: PrefixNode, now: float) -> Iterator[Task]:
    shape = random.random()
    if shape < 0.7:  # a chat
        yield Task(
            id=job, model="m", tenant=tenant, application=job, begun=now,
            prefix=(system,), new_tokens=random.randrange(20, 400),
            expected_tokens=random.randrange(50, 400),
        )  # fmt: skip
        return
    if shape < 0.85:  # an agent's step, with what comes after it
        yield Task(
            id=job, model="m", tenant=tenant, application=job, begun=now,
            prefix=(system, PrefixNode(f"{system.digest}/{tenant}", 800)), new_tokens=200,
            expected_tokens=150, depth=random.randrange(5), rank=random.uniform(2, 20),
            criteria=Criteria.DEADLINE, target=now + 40,
        )  # fmt: skip
        return
    size = random.randrange(4, 32)
    for index in range(size):
        yield Task(
            id=f"{job}.{index}", model="m", tenant=tenant, application=job, begun=now,
            prefix=(system,), new_tokens=random.randrange(500, 1500), expected_tokens=50,
            group=job, group_size=size, criteria=Criteria.THROUGHPUT, rank=5,
        )  # fmt: skip


class Run:
    """One scheduler and the ends of what runs."""

    def __init__(self, engines: int) -> None:
        self.scheduler = Scheduler(SchedulerConfig())
        self.times: list[float] = []
        self.most_waiting = self.dispatched = self.with_prefix = 0
        self._ends: list[tuple[float, str]] = []
        for index in range(engines):
            self.scheduler.add_engine(EngineSpec(name=f"e{index}", model="m"), 0.0)

    def feed(self, calls: Iterator[tuple[float, Task]]) -> None:
        """Submit `calls`, those of one time together, and end what ends before."""
        for now, arrivals in groupby(calls, key=itemgetter(0)):
            self._end_until(now)
            tasks = [task for _, task in arrivals]
            with self._decision(now):
                for task in tasks:
                    self.scheduler.submit(task, now)

    def drain(self) -> None:
        self._end_until(inf)
        counts = self.scheduler.counts()
        assert (counts.queued, counts.running) == (0, 0), counts

    def _end_until(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            at, name = heappop(self._ends)
            with self._decision(at):
                self.scheduler.finish(name, at)

    @contextmanager
    def _decision(self, now: float) -> Iterator[None]:
        """An event and what is decided upon it, timed."""
        begin = time.perf_counter()
        yield
        decisions = self.scheduler.schedule(now)
        self.times.append(time.perf_counter() - begin)
        assert not decisions.failed
        for dispatch in decisions.dispatched:
            self.dispatched += 1
            self.with_prefix += dispatch.resident > 0
            heappush(self._ends, (max(now, dispatch.finish), dispatch.task.id))
        self.most_waiting = max(self.most_waiting, self.scheduler.counts().queued)


def measure(engines: int, load: str, calls: int) -> Measure:
    rate = LOADS[load] * engines
    run = Run(engines)
    begin = time.process_time()
    run.feed(workload(calls, rate))
    run.drain()
    cpu = time.process_time() - begin  # with the workload, which is little
    assert run.dispatched == calls
    times = sorted(run.times)
    before, after = memory(engines, rate, min(calls, MEMORY_CALLS) // 2)
    return Measure(
        engines=engines,
        load=load,
        calls=calls,
        tasks_per_second=calls / sum(times),
        tasks_per_cpu_second=calls / cpu,
        p50=1e6 * times[len(times) // 2],
        p99=1e6 * times[len(times) * 99 // 100],
        worst=1e6 * times[-1],
        most_waiting=run.most_waiting,
        dispatched_with_prefix=run.with_prefix / calls,
        memory_before=before,
        memory_after=after,
    )


def memory(engines: int, rate: float, calls: int) -> tuple[int, int]:
    """Bytes that Python holds after `calls` calls, and after as many again."""
    tracemalloc.start()
    run = Run(engines)
    held = []
    for seed in (1, 2):
        run.feed(workload(calls, rate, begin=1e6 * seed, seed=seed))
        run.drain()
        run.times.clear()
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    return held[0], held[1]


HEADER = "engines  load      tasks/s  /CPU s  p50 µs  p99 µs  waiting  prefix  memory, MB"


def row(found: Measure) -> str:
    held = f"{found.memory_before / 1e6:.2f} → {found.memory_after / 1e6:.2f}"
    return (
        f"{found.engines:7,}  {found.load:8} {found.tasks_per_second:8,.0f}"
        f" {found.tasks_per_cpu_second:7,.0f} {found.p50:7.0f} {found.p99:7.0f}"
        f" {found.most_waiting:8,} {found.dispatched_with_prefix:7.0%}  {held}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engines", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=RESULTS / "scheduling.json")
    args = parser.parse_args()
    record: dict[str, Any] = {"python": platform.python_version(), "load_before": os.getloadavg()}
    record["measures"] = []
    print(HEADER)
    for engines in args.engines:
        for load in LOADS:
            found = measure(engines, load, args.calls)
            print(row(found), flush=True)
            record["measures"].append(asdict(found))
            args.out.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
