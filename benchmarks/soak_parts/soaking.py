"""A core on engines that fail, clients that check every answer, and what is found."""

import asyncio
import gc
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from soak_parts.asking import KINDS, PLAN, Asker
from soak_parts.chaos import Chaos
from soak_parts.flaky import Flaky
from soak_parts.lateness import Lateness
from soak_parts.processes import EngineProcess
from soak_parts.report import Mark, Report

from parrotc.driver import compile_source
from parrotc.ir.source import Source
from parrotc.program import counting
from parrotc.runtime.core.config import CoreConfig
from parrotc.runtime.core.core import ServeCore, Services
from parrotc.runtime.core.engines import Opened
from parrotc.runtime.engines.config import EngineConfig
from parrotc.runtime.engines.http.listening import listening
from parrotc.runtime.plan import ChatTemplate
from parrotc.runtime.server.app import make_app
from parrotc.runtime.tokenizer import ByteTokenizer
from parrotc.served import compile_template
from parrotc.targets import ModelOverrides

VARIANTS = 40  # different things that are asked, of each kind
HANGS = 60.0  # seconds after which an answer will never come
SETTLES = 60.0  # seconds that all has to end in, and to be freed, once nothing is asked
SILENCE = 2.0  # of an engine, before it is asked whether it lives

Answers = dict[tuple[str, int], Any]


@dataclass
class Running:
    """A core behind HTTP, the engines in its process, those in others, and somebody who asks it."""

    core: ServeCore
    engines: dict[str, Flaky]
    processes: Sequence[EngineProcess]
    http: aiohttp.ClientSession
    asker: Asker

    def are_up(self) -> bool:
        names = {*self.engines, *(process.name for process in self.processes)}
        return {view.name for view in self.core.engines() if view.state == "up"} == names

    async def contexts(self) -> dict[str, int]:
        """What each engine holds, as it says."""
        held = {name: (await engine.ping()).contexts for name, engine in self.engines.items()}
        return held | {one.name: await one.contexts(self.http) for one in self.processes}

    def known(self) -> dict[str, int]:
        """What each engine holds, as the core knows."""
        return {view.name: view.contexts for view in self.core.engines()}


@asynccontextmanager
async def running(engines: int, processes: int) -> AsyncIterator[Running]:
    names = [f"e{number}" for number in range(engines)]
    made: dict[str, Flaky] = {}

    def opened(config: EngineConfig) -> Opened:
        made[config.name] = Flaky()
        return Opened(made[config.name], ChatTemplate(ByteTokenizer.template))

    configs = tuple(EngineConfig(engine="reference", name=name) for name in names)
    config = CoreConfig(engines=configs, max_silence=SILENCE, max_finished_runs=20)
    core = ServeCore(config, Services(compile_template, opened, counting))
    await core.start()
    try:
        async with (
            listening(make_app(core), "127.0.0.1", 0, grace=1) as url,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
            _started(processes, urlsplit(url).port or 0) as started,
        ):
            compiled = compile_source(Source("p.pfn", PLAN), models=ModelOverrides("reference"))
            async with http.put(f"{url}/v1/plans/p", data=compiled.plan.to_json()) as response:
                assert response.status == 200, await response.text()
            one = Running(core, made, started, http, Asker(url, http))
            while not one.are_up():
                await asyncio.sleep(0.1)
            yield one
    finally:
        await core.close()


@asynccontextmanager
async def _started(count: int, port: int) -> AsyncIterator[list[EngineProcess]]:
    """So many engines for the core at `port`."""
    with tempfile.TemporaryDirectory() as folder:
        processes = [EngineProcess(f"p{number}", port, Path(folder)) for number in range(count)]
        try:
            await asyncio.gather(*(process.start() for process in processes))
            yield processes
        finally:
            await asyncio.gather(*(process.kill() for process in processes))


async def quiet_answers() -> Answers:
    """What is right: said by one engine that is always well."""
    async with running(1, 0) as one:
        asked = [(kind, number) for kind in KINDS for number in range(VARIANTS)]
        said = await asyncio.gather(*(KINDS[kind](one.asker, n) for kind, n in asked))
        return dict(zip(asked, said, strict=True))


async def soak(
    seconds: float,
    *,
    engines: int,
    processes: int,
    clients: int,
    every: float,
    stops: int,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """Ask for `seconds`, with a fault about `every` so many of them; look at what is held at so
    many `stops`, evenly spread, and `tell` of it."""
    right = await quiet_answers()
    random, lateness = Random(seed), Lateness()
    async with running(engines, processes) as one:
        chaos = Chaos(list(one.engines.values()), one.processes, every, random, one.are_up)
        report = Report(asked=dict.fromkeys(KINDS, 0), faults=chaos.faults)
        begun = time.monotonic()
        async with lateness.measured():
            for _ in range(stops):
                raging = asyncio.create_task(chaos.rage())
                over = time.monotonic() + seconds / stops
                await asyncio.gather(
                    *(
                        _client(one, right, report, Random(random.random()), over)
                        for _ in range(clients)
                    )
                )
                chaos.calm_down()
                await raging
                await _settled(one, report)
                report.marks.append(await _mark(one, time.monotonic() - begun))
                tell(f"{sum(report.asked.values()):,} asked, {report.marks[-1]}")
        counters = [model.router.ping() for model in one.core._models]
        report.retries = round(sum([(await found).counters["retries"] for found in counters]))
        report.late = lateness.figures()
    return report


async def _client(
    one: Running, right: Answers, report: Report, random: Random, over: float
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


async def _settled(one: Running, report: Report) -> None:
    """Wait until all has ended, and every engine holds what the core knows of, and no more."""
    until = time.monotonic() + SETTLES
    while left := await _left(one):
        if time.monotonic() > until:
            report.left += left
            return
        await asyncio.sleep(0.2)


async def _left(one: Running) -> list[str]:
    stats = one.core.stats()
    names = ("calls", "queued", "runs_going_on", "sessions")
    left = [f"{stats[name]} {name}" for name in names if stats[name]]
    if not one.are_up():
        return [*left, f"engines that are not up: {one.core.engines()}"]
    known = one.known()
    return left + [
        f"{name} holds {count} contexts, of which the core knows {known[name]}"
        for name, count in (await one.contexts()).items()
        if count != known[name]
    ]


async def _mark(one: Running, seconds: float) -> Mark:
    contexts = sum((await one.contexts()).values())
    gc.collect()
    objects = sys.getallocatedblocks()
    with open("/proc/self/statm") as numbers:
        resident = int(numbers.read().split()[1]) * resource.getpagesize()
    return Mark(round(seconds, 1), contexts, objects, resident)
