"""A core on instant engines behind HTTP, in a process of its own, and what it says of itself."""

import asyncio
import gc
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

from serve_parts.instant import InstantEngine

from parrotc.program import counting
from parrotc.runtime.core.config import CoreConfig
from parrotc.runtime.core.core import ServeCore, Services
from parrotc.runtime.core.engines import Opened
from parrotc.runtime.core.models import ServedModel
from parrotc.runtime.core.templates import Template
from parrotc.runtime.engines.config import EngineConfig
from parrotc.runtime.engines.http.listening import listening
from parrotc.runtime.plan import Plan
from parrotc.runtime.server.app import OPEN, WATCHDOG, make_app
from parrotc.runtime.server.process import responsive
from parrotc.runtime.server.watchdog import TICK
from parrotc.runtime.tokenizer import ByteTokenizer
from parrotc.served import compile_template


@dataclass(frozen=True)
class Figures:
    """`cpu` is in seconds, `late` the longest delay of the loop since the last look; `blocks` are
    the objects that Python holds after a collection, and `resident` is the process, in bytes."""

    cpu: float
    late: float
    blocks: int
    resident: int
    generated: int
    compiled: int


class Server:
    """A running one, as its client sees it."""

    def __init__(self, url: str, pipe: Connection) -> None:
        self.url = url
        self._pipe = pipe

    def figures(self) -> Figures:
        self._pipe.send("figures")
        found: Figures = self._pipe.recv()
        return found


@contextmanager
def server(engines: int, *, journaled: bool) -> Iterator[Server]:
    """One with so many engines, and perhaps a journal, until the block ends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with TemporaryDirectory() as folder:
        journal = str(Path(folder) / "runs.db") if journaled else ""
        process = context.Process(target=_run, args=(theirs, engines, journal))
        process.start()
        try:
            yield Server(ours.recv(), ours)
        finally:
            ours.send("end")
            process.join()


def _run(pipe: Connection, engines: int, journal: str) -> None:
    asyncio.run(_serve(pipe, engines, journal))


async def _serve(pipe: Connection, count: int, journal: str) -> None:
    tokenizer = ByteTokenizer()
    engines: list[InstantEngine] = []
    compiled = 0

    def opened(config: EngineConfig) -> Opened:
        engines.append(InstantEngine(tokenizer))
        return Opened(engines[-1])

    def compile(template: Template, model: ServedModel) -> Plan:
        nonlocal compiled
        compiled += 1
        return compile_template(template, model)

    configs = tuple(EngineConfig(engine="reference", name=f"e{n}") for n in range(count))
    config = CoreConfig(engines=configs, journal=journal)
    core = ServeCore(config, Services(compile, opened, counting))
    await core.start()
    app = make_app(core)
    told: asyncio.Queue[str] = asyncio.Queue()
    asyncio.get_running_loop().add_reader(pipe.fileno(), lambda: told.put_nowait(pipe.recv()))
    async with (
        responsive(lambda: app[OPEN].are_none),  # as `parrotc serve` does
        listening(app, "127.0.0.1", 0, grace=1) as url,
    ):
        pipe.send(url)
        while await told.get() != "end":
            late = app[WATCHDOG].take_worst()
            gc.collect()
            await asyncio.sleep(2 * TICK)
            app[WATCHDOG].take_worst()  # this collection is no part of the next measure
            generated = sum(engine.calls for engine in engines)
            pipe.send(
                Figures(
                    time.process_time(), late, sys.getallocatedblocks(), _resident(), generated,
                    compiled,
                )
            )  # fmt: skip
    await core.close()


def _resident() -> int:
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * resource.getpagesize()
