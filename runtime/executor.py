"""Runs the flows of a plan on engines.

    executor = Executor(plan, {"local": engine}, natives)
    summary = await executor.run("summarise", {"doc": text})
    await executor.close()

Everything a run made is gone from the engines when it ends, in whatever way it ends (or soon after,
where many runs share an executor and none is to wait for another's); the prefixes of the plan stay
until `close`. All methods belong to one event loop.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from parrotc.ir.types import Json
from parrotc.runtime.chat import Render
from parrotc.runtime.code import Code, prepare
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.errors import Failed, Failure, RunError, RunTimeout
from parrotc.runtime.interpreter import Interpreter
from parrotc.runtime.natives import Caller
from parrotc.runtime.plan import Plan
from parrotc.runtime.resources import Resources
from parrotc.runtime.terms import PLAIN, Terms
from parrotc.runtime.trace import Trace
from parrotc.runtime.values import inputs
from parrotc.runtime.variables import TextSink

WIDTH = 128  # iterations of one map, and generations of one engine, at the same time


class Executor:
    """`engines` has an engine for each model of the plan, by the model's name."""

    def __init__(
        self,
        plan: Plan,
        engines: Mapping[str, Engine],
        natives: Caller,
        *,
        renders: Mapping[str, Render] | None = None,
        width: int = WIDTH,
        max_new_tokens: int | None = None,
        settles: bool = True,
    ) -> None:
        """Unless it `settles`, a run ends before what it dropped is gone."""
        self.plan = plan
        self._settles = settles
        self._resources = Resources(
            plan,
            engines,
            natives,
            renders=renders or {},
            width=width,
            max_new_tokens=max_new_tokens,
        )
        self._codes: dict[str, Code] = {}

    async def run(
        self,
        flow: str,
        args: Mapping[str, Any],
        *,
        seed: int = 0,
        timeout: float | None = None,
        keep: bool = False,
        trace: Trace | None = None,
        sink: TextSink | None = None,
        terms: Terms = PLAIN,
    ) -> Json:
        """The flow's result as plain data. Raises `RunError`, and `KeyError` for no such flow.

        After `timeout` seconds, or those of the flow's own `@deadline`, it raises `RunTimeout`.

        With `keep`, one failed item of a map does not stop the others: they are finished, and
        found in the error. `sink` is told the text of the result while it is being generated.
        `terms` are what this run asks for beyond its plan.
        """
        declared = self.plan.flow(flow)
        given = inputs(declared, self.plan.type_table, args)
        if flow not in self._codes:
            self._codes[flow] = prepare(declared.block)
        limits = [limit for limit in (timeout, declared.notes.get("deadline")) if limit is not None]
        limit = min(limits, default=None)
        interpreter = Interpreter(
            self._resources,
            trace or Trace(),
            seed=seed,
            keep=keep,
            terms=terms,
            in_order=bool(declared.notes.get("in_order")),  # a test with mocks
        )
        try:
            async with asyncio.timeout(limit):
                outcome = await interpreter.run(self._codes[flow], given, sink)
        except TimeoutError:
            failed = Failed("E0612", f"`{flow}` has no result after {limit:g} s")
            failure = failed.at(self.plan.span(declared.span))
            raise RunTimeout(failure, interpreter.kept()) from None
        finally:
            if self._settles:
                await self._resources.settle()
        if isinstance(outcome, Failure):
            raise RunError(outcome, interpreter.kept())
        return outcome

    async def settle(self) -> None:
        """Wait until what runs dropped is gone."""
        await self._resources.settle()

    async def close(self) -> None:
        await self._resources.close()
