"""What happens to engines meanwhile, in turn to one in the core's process and to a process."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from random import Random

from soak_parts.flaky import Fault, Flaky
from soak_parts.processes import EngineProcess


class Blow(StrEnum):
    """A process is killed and started anew; hangs and goes on; hangs and is killed then."""

    KILLED = "killed"
    STOPPED = "stopped"
    FROZEN = "stopped, then killed"


class Chaos:
    """One fault at a time, about `every` so many seconds: so no call is the victim of two and taken
    for the one to blame. `faults` counts them. Each kind comes before any comes again."""

    def __init__(
        self,
        engines: Sequence[Flaky],
        processes: Sequence[EngineProcess],
        every: float,
        random: Random,
        are_up: Callable[[], bool],
    ) -> None:
        self.faults: dict[str, int] = dict.fromkeys((*Fault, *Blow), 0)
        self._engines, self._processes = engines, processes
        self._every, self._random, self._are_up = every, random, are_up
        self._waiting: list[Fault | Blow] = []
        self._over = asyncio.Event()

    async def rage(self) -> None:
        """Until it is told to calm down; then nothing is wrong any more."""
        self._over.clear()
        while True:
            await self._pause(0.5, 1.5)
            if self._over.is_set():
                return
            fault = self._next()
            self.faults[fault] += 1
            await (self._fail(fault) if isinstance(fault, Fault) else self._strike(fault))
            while not self._are_up() and not self._over.is_set():
                await asyncio.sleep(0.1)

    def calm_down(self) -> None:
        self._over.set()

    def _next(self) -> Fault | Blow:
        if not self._waiting:
            faults, blows = list(Fault), list(Blow) * (len(Fault) // len(Blow))
            self._random.shuffle(faults)
            self._random.shuffle(blows)
            self._waiting = [one for pair in zip(faults, blows, strict=True) for one in pair]
            if not self._processes:
                self._waiting = list(faults)
        return self._waiting.pop()

    async def _fail(self, fault: Fault) -> None:
        engine = self._random.choice(self._engines)
        engine.fail(fault)
        await self._pause(0.2, 1.0)
        engine.come_back()

    async def _strike(self, blow: Blow) -> None:
        process = self._random.choice(self._processes)
        if blow is Blow.KILLED:
            await process.kill()
        else:
            process.stop()
        await self._pause(0.2, 1.0)
        if blow is Blow.STOPPED:
            process.go_on()
        else:
            await process.kill()
            await process.start()

    async def _pause(self, least: float, most: float) -> None:
        """A part of the usual time, or less where all is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._every * self._random.uniform(least, most)):
                await self._over.wait()
