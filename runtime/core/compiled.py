"""Templates as plans, each compiled once: the same text for the same model has the same plan."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from parrotc.runtime.core.models import ServedModel
from parrotc.runtime.core.templates import Template
from parrotc.runtime.plan import Plan

Compile = Callable[[Template, ServedModel], Plan]  # pure; it may take its time


class Compiled:
    """The last `most` that were asked for. Compiling runs on a thread, off the event loop, and one
    after the other: together they would take as long, and the loop would wait for each of them."""

    def __init__(self, compile: Compile, most: int) -> None:
        self._compile = compile
        self._most = most
        self._plans: OrderedDict[str, asyncio.Task[Plan]] = OrderedDict()
        self._turn = asyncio.Lock()

    async def get(self, key: str, template: Template, model: ServedModel) -> Plan:
        """The plan; `key` is `template.digest(model.name)`. Raises what compiling raises."""
        task = self._plans.get(key)
        if task is None:
            work = self._compiled(template, model)
            task = self._plans[key] = asyncio.get_running_loop().create_task(work)
            while len(self._plans) > self._most:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        try:
            return await asyncio.shield(task)
        except Exception:
            if self._plans.get(key) is task:
                del self._plans[key]  # the next one tries again
            raise

    async def _compiled(self, template: Template, model: ServedModel) -> Plan:
        async with self._turn:
            return await asyncio.to_thread(self._compile, template, model)
