"""A core on engines that fail, clients that check every answer, and what is found."""

import asyncio
import gc
import resource
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp
from soak_parts.asking import KINDS, PLAN, Asker
from soak_parts.flaky import Fault, Flaky

from parrotc.driver import compile_source
from parrotc.ir.source import Source
from parrotc.program import counting
from parrotc.runtime.core.config import CoreConfig
from parrotc.runtime.core.core import ServeCore, Services
from parrotc.runtime.core.engines import Opened
from parrotc.runtime.engines.config import EngineConfig
from parrotc.runtime.engines.http.listening import listening
from parrotc.runtime.plan import ChatTemplate
from parrotc.runtime.server.app import WATCHDOG, make_app
from parrotc.runtime.tokenizer import ByteTokenizer
from parrotc.served import compile_template
from parrotc.targets import ModelOverrides

VARIANTS = 40  # different things that are asked, of each kind
HANGS = 60.0  # seconds after which an answer will never come
SILENCE = 2.0  # of an engine, before it is asked whether it lives
TICK = 0.05


@dataclass
class Report:
    """What was asked and what went wrong. `late` is the longest time in seconds that the loop stood
    still while the machine did not. At each stop, when nothing was open: `contexts` on the engines,
    objects (`blocks`) and bytes (`resident`) of the process."""

    asked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    faults: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Fault, 0))
    retries: int = 0
    lost: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # what was still there when all had ended
    late: float = 0.0
    contexts: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)


@dataclass
class Running:
    """A core behind HTTP, and somebody who asks it."""

    core: ServeCore
    engines: list[Flaky]
    app: Any
    asker: Asker


@asynccontextmanager
async def running(count: int) -> AsyncIterator[Running]:
    engines: list[Flaky] = []

    def opened(config: EngineConfig) -> Opened:
        engines.append(Flaky())
        return Opened(engines[-1], ChatTemplate(ByteTokenizer.template))

    configs = tuple(EngineConfig(engine="reference", name=f"e{n}") for n in range(count))
    config = CoreConfig(engines=configs, max_silence=SILENCE, max_finished_runs=20)
    core = ServeCore(config, Services(compile_template, opened, counting))
    await core.start()
    app = make_app(core)
    try:
        async with (
            listening(app, "127.0.0.1", 0, grace=1) as url,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
        ):
            compiled = compile_source(Source("p.pfn", PLAN), models=ModelOverrides("reference"))
            async with http.put(f"{url}/v1/plans/p", data=compiled.plan.to_json()) as response:
                assert response.status == 200, await response.text()
            yield Running(core, engines, app, Asker(url, http))
    finally:
        await core.close()


async def quiet_answers() -> dict[tuple[str, int], Any]:
    """What is right: said by one engine that is always well."""
    async with running(1) as one:
        asked = [(kind, number) for kind in KINDS for number in range(VARIANTS)]
        said = await asyncio.gather(*(KINDS[kind](one.asker, n) for kind, n in asked))
        return dict(zip(asked, said, strict=True))


async def soak(
    seconds: float, *, engines: int, clients: int, every: float, stops: int, seed: int = 0
) -> Report:
    """Ask for `seconds`, with a fault about `every` so many of them; look at what is held at so
    many `stops`, evenly spread."""
    right = await quiet_answers()
    report, random = Report(), Random(seed)
    async with running(engines) as one:
        with _late(one, report):
            for _ in range(stops):
                await _stretch(one, right, report, random, seconds / stops, clients, every)
                await _look(one, report)
        counters = [model.router.ping() for model in one.core._models]
        report.retries = sum([(await found).counters["retries"] for found in counters])
    report.left += [
        f"e{number} holds {found.contexts} contexts"
        for number, found in enumerate([await engine.ping() for engine in one.engines])
        if found.contexts
    ]
    return report


async def _stretch(
    one: Running,
    right: dict[tuple[str, int], Any],
    report: Report,
    random: Random,
    seconds: float,
    clients: int,
    every: float,
) -> None:
    over = time.monotonic() + seconds
    chaos = asyncio.create_task(_chaos(one, report, random, every))
    try:
        await asyncio.gather(
            *(_client(one, right, report, Random(random.random()), over) for _ in range(clients))
        )
    finally:
        chaos.cancel()
        await asyncio.wait([chaos])
    for engine in one.engines:
        engine.come_back()


async def _client(
    one: Running, right: dict[tuple[str, int], Any], report: Report, random: Random, over: float
) -> None:
    while time.monotonic() < over:
        kind, number = random.choice(list(KINDS)), random.randrange(VARIANTS)
        report.asked[kind] += 1
        try:
            async with asyncio.timeout(HANGS):
                said = await KINDS[kind](one.asker, number)
        except TimeoutError:
            report.hung.append(f"{kind} {number}")
        except Exception as error:
            report.lost.append(f"{kind} {number}: {error!r:.300}")
        else:
            if said != right[kind, number]:
                report.wrong.append(f"{kind} {number}: {said!r:.200} {right[kind, number]!r:.200}")


async def _chaos(one: Running, report: Report, random: Random, every: float) -> None:
    """One fault at a time, so that no call is the victim of two and taken for the one to blame."""
    while True:
        await asyncio.sleep(every * random.uniform(0.5, 1.5))
        engine, fault = random.choice(one.engines), random.choice(list(Fault))
        report.faults[fault] += 1
        engine.fail(fault)
        try:
            await asyncio.sleep(every * random.uniform(0.2, 1.0))
        finally:
            engine.come_back()
        while any(view.state != "up" for view in one.core.engines()):
            await asyncio.sleep(0.1)


async def _look(one: Running, report: Report) -> None:
    """When all has ended: what is still there, and how much memory."""
    for _ in range(300):
        held = {name: one.core.stats()[name] for name in ("calls", "queued", "runs_going_on")}
        is_up = all(view.state == "up" for view in one.core.engines())
        if is_up and not any(held.values()):
            break
        await asyncio.sleep(0.1)
    held["sessions"] = one.core.stats()["sessions"]
    report.left += [f"{count} {name}" for name, count in held.items() if count]
    report.contexts.append(sum([(await engine.ping()).contexts for engine in one.engines]))
    gc.collect()
    report.blocks.append(sys.getallocatedblocks())
    with open("/proc/self/statm") as numbers:
        report.resident.append(int(numbers.read().split()[1]) * resource.getpagesize())


@contextmanager
def _late(one: Running, report: Report) -> Iterator[None]:
    """How late the loop is, beyond what a thread that only sleeps is on this machine."""
    over, machine = threading.Event(), 0.0

    def measure() -> None:
        nonlocal machine
        while not over.is_set():
            due = time.monotonic() + TICK
            time.sleep(TICK)
            machine = max(machine, time.monotonic() - due)

    thread = threading.Thread(target=measure)
    one.app[WATCHDOG].take_worst()
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        report.late = max(0.0, one.app[WATCHDOG].take_worst() - machine)
