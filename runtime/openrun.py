"""A run whose inputs come while it goes on, and whose values are told as soon as they are there.

    run = OpenRun(resources, trace, seed=0, keep=False)
    await run.feed(code, {"doc": "A text.", "note": coming}, {"digest": told, "result": told})

A step starts when what it reads is there, so one input that is late holds up only what reads it.
An input may come as a `Failure`, which then is the outcome of all that reads it. What nobody wants
any more is cancelled, with what only that needed.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from parrotc.ir.types import Json
from parrotc.runtime.code import Code, Item
from parrotc.runtime.errors import Failed, Failure
from parrotc.runtime.frames import Frame, ended
from parrotc.runtime.interpreter import Interpreter
from parrotc.runtime.steps import blocks, reads, walk
from parrotc.runtime.variables import State, TextSink

Tell = Callable[[Any], None]  # given the value, or the `Failure`

CANCELLED = Failed("E0622", "the value was cancelled before it was there").at(None)


class _OpenFrame(Frame):
    """Knows the task of each slow step, by the first name that the step assigns."""

    def __init__(self, code: Code, sinks: Mapping[str, TextSink]) -> None:
        super().__init__(code, sinks=sinks)
        self.work: dict[str, asyncio.Task[None]] = {}

    def spawn(self, item: Item, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = super().spawn(item, work)
        if item.step.results:
            self.work[item.step.results[0]] = task
        return task


class OpenRun(Interpreter):
    """The state of one such run, on one event loop."""

    def __init__(self, *given: Any, **how: Any) -> None:
        super().__init__(*given, **how)
        self._cancelled: list[str] | None = []  # before anything was begun

    async def feed(
        self,
        code: Code,
        inputs: Mapping[str, "Json | asyncio.Future[Any]"],
        told: Mapping[str, Tell],
        sinks: Mapping[str, TextSink],
    ) -> None:
        """Run until each of `told` has been given its outcome, and what has effects has run.

        Those that failed are told in the order in which they stand in `told`. Bugs of ours are
        raised, after the rest was told that it is cancelled.
        """
        self._hands, self._groups = code.hands, code.groups
        self._frame = frame = _OpenFrame(code, sinks)
        self._untold = dict(told)
        self._wanted = set(told)
        self._expect(code.calls)
        work = [asyncio.ensure_future(self._tell(name)) for name in told]
        for name, given in inputs.items():
            if isinstance(given, asyncio.Future):
                work.append(asyncio.ensure_future(self._give(name, given)))
            else:
                frame.assign(name, given)
        try:
            await self._start(frame)
            cancelled, self._cancelled = self._cancelled or (), None
            for name in cancelled:
                self.cancel(name)
            await self._ended(work[: len(told)])
            await self._ended(frame.effects)
        finally:
            for task in work:
                task.cancel()
            await ended(work)
            await frame.close()
            for tell in list(self._untold.values()):
                tell(CANCELLED)
            self._broken.cancel()

    async def _ended(self, work: Sequence[asyncio.Future[Any]]) -> None:
        """Wait for work, unless something of ours breaks first."""
        waiting = {task for task in work if not task.done()}
        while waiting and not self._broken.done():
            _, left = await asyncio.wait(
                {*waiting, self._broken}, return_when=asyncio.FIRST_COMPLETED
            )
            waiting = left - {self._broken}
        if self._broken.done():
            self._broken.result()

    async def _give(self, name: str, coming: "asyncio.Future[Any]") -> None:
        self._frame.assign(name, await coming)

    async def _tell(self, name: str) -> None:
        outcome = await self._frame.find(name).wait()
        if isinstance(outcome, Failure):
            self._tell_failed()
        elif name in self._untold:
            self._untold.pop(name)(outcome)

    def _tell_failed(self) -> None:
        """All failures so far, so that nobody hears of one before the one that it comes from."""
        for name in list(self._untold):
            variable = self._frame.find(name)
            if variable.state is State.FAILED:
                self._untold.pop(name)(variable.outcome)

    def cancel(self, name: str) -> None:
        """Nobody wants the value of one of `told` any more: it is cancelled, if it is not there."""
        if self._cancelled is not None:
            self._cancelled.append(name)
            return
        self._wanted.discard(name)
        if name in self._untold:
            self._untold.pop(name)(CANCELLED)
        needed = _needed(self._frame.code, self._wanted)
        for item in self._frame.code.items:
            results = item.step.results
            task = self._frame.work.get(results[0]) if results else None
            if task is not None and not needed.intersection(results):
                task.cancel()
                self._frame.fail(item, CANCELLED)


def _needed(code: Code, wanted: set[str]) -> set[str]:
    """The names that the wanted ones depend on, and they themselves."""
    needed = set(wanted)
    for item in reversed(code.items):
        if needed.intersection(item.step.results):
            needed.update(item.reads)
            for region in blocks(item.step):
                needed.update(name for step in walk(region) for name in reads(step))
                needed.update(region.yields)
    return needed
