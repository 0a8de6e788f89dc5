"""One run of a region: its variables, the contexts it owns, and the work under way in it.

A frame owns every context that its own steps or its caller gave it, and drops each exactly once:
where a `free` says so, after the last step that uses it is done, or else when the frame closes.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from parrotc.runtime.code import Code, Item
from parrotc.runtime.errors import Failure
from parrotc.runtime.generation import ALONE, Crowd
from parrotc.runtime.prompts import Prompt
from parrotc.runtime.variables import State, TextSink, Variable


class Frame:
    """`path` are the iteration and attempt numbers around it; `sinks` watch texts by name; `crowd`
    is the innermost map around it. Slow steps wait for `gate`, if there is one."""

    __slots__ = (
        "_freeing", "_holders", "_prompts", "_tasks", "_values",
        "code", "crowd", "effects", "gate", "parent", "path", "sinks",
    )  # fmt: skip

    def __init__(
        self,
        code: Code,
        parent: "Frame | None" = None,
        path: tuple[int, ...] = (),
        sinks: Mapping[str, TextSink] | None = None,
        gate: asyncio.Event | None = None,
        crowd: Crowd | None = None,
    ) -> None:
        self.code = code
        self.parent = parent
        self.path = path
        self.sinks = sinks or {}
        self.gate = gate
        self.crowd: Crowd = crowd or (parent.crowd if parent else ALONE)
        self.effects: list[asyncio.Task[None]] = []
        self._values = {name: Variable(name) for name in code.block.params}
        for item in code.items:
            self._values.update((name, Variable(name)) for name in item.step.results)
        self._prompts: dict[str, Prompt] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._holders: Counter[str] = Counter()
        self._freeing: set[str] = set()

    # --- variables ---

    def find(self, name: str) -> Variable:
        """The variable, here or in the regions around."""
        frame: Frame | None = self
        while frame is not None:
            variable = frame._values.get(name)
            if variable is not None:
                return variable
            frame = frame.parent
        raise KeyError(name)

    def get(self, name: str) -> Any:
        """The value of a variable that is ready."""
        return self.find(name).outcome

    def assign(self, name: str, outcome: Any) -> None:
        """Give a declared variable its value or failure; a context comes with a hold on it."""
        if isinstance(outcome, Prompt):
            self._prompts[name] = outcome
            if name in self.code.shared:
                outcome.share()
        self._values[name].set(outcome)

    def fail(self, item: Item, failure: Failure) -> None:
        """Fail what a step has not given yet."""
        for name in item.step.results:
            if self._values[name].state is State.EMPTY:
                self._values[name].set(failure)

    # --- work ---

    def spawn(self, item: Item, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a step's work beside the others; `work` calls `done` when it ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._holders.update(item.holds)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if item.has_effect:
            self.effects.append(task)
        return task

    def done(self, item: Item) -> None:
        """A step is over: a context that waits to be freed may have lost its last user."""
        for name in item.holds:
            self._holders[name] -= 1
            if not self._holders[name] and name in self._freeing:
                self._drop(name)

    # --- contexts ---

    def free(self, name: str) -> None:
        """Drop a context of this frame once the steps before are done with it. One of a region
        around stays: that frame holds it while this one runs."""
        if name not in self._values:
            return
        if self._holders[name]:
            self._freeing.add(name)
        else:
            self._drop(name)

    def _drop(self, name: str) -> None:
        prompt = self._prompts.pop(name, None)  # none: its step failed
        if prompt is not None:
            prompt.drop()

    async def close(self) -> None:
        """Stop what still runs and drop what is still held. Ends even when cancelled again."""
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await ended(tasks)
        finally:
            for name in list(self._prompts):
                self._drop(name)


async def ended(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Wait for cancelled tasks; being cancelled meanwhile waits too, and is told at the end."""
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
