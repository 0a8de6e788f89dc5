"""A plan that is ready to run on the engines of a core, for one tenant.

    program = Program(plan, {"local": served}, natives, Manner(width=128))
    summary = await program.run("summarise", {"doc": text})
    await program.close()

Each of its runs is an application to the scheduler. The prefixes of the plan stay in the engines
until the program is closed.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from parrotc.ir.types import Json
from parrotc.runtime.chat import renders
from parrotc.runtime.core.models import ServedModel
from parrotc.runtime.engines.protocol import Engine, Hints
from parrotc.runtime.executor import Executor
from parrotc.runtime.natives import Caller
from parrotc.runtime.plan import Plan
from parrotc.runtime.terms import PLAIN, Terms
from parrotc.runtime.trace import Trace
from parrotc.runtime.variables import TextSink

Lend = Callable[[Mapping[str, Engine]], Caller]  # natives for a program, with its engines
_applications = count(1)


def application(tenant: str = "") -> Hints:
    """The hints of a run that begins now and is an application by itself."""
    now = asyncio.get_running_loop().time()
    return Hints(tenant=tenant, application=f"run {next(_applications)}", begun=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a program runs: the most iterations of a map, and generations of a model, at the same
    time; and whether the last of its runs that go on waits until what they dropped is gone."""

    width: int
    max_new_tokens: int | None = None  # caps every generated text
    settles: bool = False


class Program:
    """A plan on the engines of a core. All its runs share prefixes, clients and natives."""

    def __init__(
        self,
        plan: Plan,
        models: Mapping[str, ServedModel],
        natives: Lend,
        manner: Manner,
        *,
        tenant: str = "",
        salt: str = "",
    ) -> None:
        """`models` serve those of the plan, by the names that it has for them."""
        self._tenant = tenant
        self._settles = manner.settles
        self._going_on = 0
        self._routers = {served.name: served.router for served in models.values()}
        self._clients = {
            name: router.client(tenant=tenant, salt=salt) for name, router in self._routers.items()
        }
        engines = {name: self._clients[served.name] for name, served in models.items()}
        self._executor = Executor(
            plan,
            engines,
            natives(engines),
            renders=renders(plan.models, engines),
            width=manner.width,
            max_new_tokens=manner.max_new_tokens,
            settles=False,
        )

    async def run(
        self,
        flow: str,
        inputs: Mapping[str, Any],
        *,
        seed: int = 0,
        timeout: float | None = None,
        keep: bool = False,
        trace: Trace | None = None,
        sink: TextSink | None = None,
        terms: Terms = PLAIN,
    ) -> Json:
        """The flow's result, as `Executor.run` gives it. A run that is of no application is one."""
        if not terms.hints.application:
            terms = replace(terms, hints=application(self._tenant))
        self._going_on += 1
        try:
            return await self._executor.run(
                flow,
                inputs,
                seed=seed,
                timeout=timeout,
                keep=keep,
                trace=trace,
                sink=sink,
                terms=terms,
            )
        finally:
            self._going_on -= 1
            if self._settles and not self._going_on:
                await self._settle()

    async def _settle(self) -> None:
        await self._executor.settle()
        for router in self._routers.values():
            await router.settle()

    async def close(self) -> None:
        await self._executor.close()
        for client in self._clients.values():
            await client.close()
