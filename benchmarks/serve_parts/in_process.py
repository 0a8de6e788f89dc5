"""Calls through a `Router`, without a core around it and without HTTP.

Each is a prompt of its own after one of 40 system prompts, in a client of one of 20 tenants:
filled, generated, freed. Twice as many calls are open as there are engines, and 64 at least, so
that hundreds of engines are used. Memory is what Python holds after a first part of the calls, and
after as many again, when nothing is open.
"""

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from serve_parts.instant import InstantEngine

from parrotc.runtime.core.router import Router
from parrotc.runtime.engines.protocol import (
    ContextId,
    FillRequest,
    GenerateRequest,
    Hints,
    Sampling,
    new_context,
)
from parrotc.runtime.scheduling.engines import EngineSpec
from parrotc.runtime.scheduling.tasks import Criteria
from parrotc.runtime.tokenizer import ByteTokenizer

TENANTS, SYSTEMS, SLOTS = 20, 40, 4
MEMORY_CALLS = 5_000
SAMPLING = Sampling(max_tokens=8)


@dataclass
class Measure:
    """Times in microseconds, memory in bytes."""

    engines: int
    calls: int
    calls_per_second: float
    calls_per_cpu_second: float
    p50: float
    p99: float
    engines_used: int
    memory_before: int
    memory_after: int


class Load:
    """A router over instant engines, and callers that keep it busy."""

    def __init__(self, engines: int) -> None:
        tokenizer = ByteTokenizer()
        self.random = Random(0)
        self.router = Router("m", tokenizer)
        self.engines = [InstantEngine(tokenizer) for _ in range(engines)]
        for number, engine in enumerate(self.engines):
            spec = EngineSpec(name=f"e{number}", model="m", slots=SLOTS)
            self.router.register(spec.name, engine, spec)
        self.times: list[float] = []
        self.systems: list[ContextId] = []

    async def begin(self) -> None:
        """The system prompts stay, as those of a plan do."""
        for number in range(SYSTEMS):
            self.systems.append(new_context())
            ids = (number, *self.random.choices(range(256), k=200))
            await self.router.fill([FillRequest(self.systems[-1], None, ids)])

    async def run(self, calls: int, callers: int) -> None:
        numbers = iter(range(calls))
        await asyncio.gather(*(self._caller(numbers) for _ in range(callers)))
        await self.router.settle()

    async def _caller(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            begun = time.perf_counter()
            await self._call(number)
            self.times.append(time.perf_counter() - begun)

    async def _call(self, number: int) -> None:
        prompt, answer = new_context(), new_context()
        ids = tuple(number >> shift & 255 for shift in (0, 8, 16, 24)) * 12
        hints = Hints(tenant=f"t{number % TENANTS}", criteria=Criteria.THROUGHPUT)
        await self.router.fill([FillRequest(prompt, self.systems[number % SYSTEMS], ids)])
        request = GenerateRequest(answer, prompt, SAMPLING, hints=hints)
        async for _ in self.router.generate(request):
            pass
        await self.router.free([prompt, answer])

    async def end(self) -> None:
        await self.router.free(self.systems)
        await self.router.settle()
        assert sum(engine.contexts for engine in self.engines) == 0, "contexts are left"
        await self.router.close()


async def measure(engines: int, calls: int) -> Measure:
    load = Load(engines)
    await load.begin()
    await load.run(min(calls, 1_000), 1)
    times = sorted(load.times)
    begun, cpu = time.perf_counter(), time.process_time()
    await load.run(calls, callers_for(engines))
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    used = sum(engine.calls > 0 for engine in load.engines)
    await load.end()
    before, after = await memory(engines, min(calls, MEMORY_CALLS))
    return Measure(
        engines=engines,
        calls=calls,
        calls_per_second=calls / wall,
        calls_per_cpu_second=calls / cpu,
        p50=1e6 * times[len(times) // 2],
        p99=1e6 * times[len(times) * 99 // 100],
        engines_used=used,
        memory_before=before,
        memory_after=after,
    )


def callers_for(engines: int) -> int:
    return max(64, 2 * engines)


async def memory(engines: int, calls: int) -> tuple[int, int]:
    """Bytes that Python holds after `calls` calls, and after as many again."""
    tracemalloc.start()
    load = Load(engines)
    await load.begin()
    held = []
    for _ in range(2):
        await load.run(calls, callers_for(engines))
        load.times.clear()
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    await load.end()
    tracemalloc.stop()
    return held[0], held[1]


HEADER = "engines    calls  calls/s  /CPU s  p50 µs  p99 µs  used  memory, MB"


def row(found: Measure) -> str:
    held = f"{found.memory_before / 1e6:.2f} → {found.memory_after / 1e6:.2f}"
    return (
        f"{found.engines:7,} {found.calls:8,} {found.calls_per_second:8,.0f}"
        f" {found.calls_per_cpu_second:7,.0f} {found.p50:7.0f} {found.p99:7.0f}"
        f" {found.engines_used:5,}  {held}"
    )


def in_process(engines: Sequence[int], calls: int) -> list[dict[str, Any]]:
    print(HEADER)
    measures = []
    for count in engines:
        found = asyncio.run(measure(count, calls))
        print(row(found), flush=True)
        measures.append(asdict(found))
    return measures
