"""Plans that are ready to run: an executor for each plan and tenant, while somebody uses it.

An executor keeps the prefixes of its plan in the engines, so some that are idle stay for those who
come back; the one that was idle longest goes first.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from parrotc.runtime.chat import render_of, renderer
from parrotc.runtime.core.models import ServedModel
from parrotc.runtime.core.natives import AllowedNatives
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.executor import Executor
from parrotc.runtime.plan import Plan

IDLE = 64  # executors that nobody uses and that are kept
WIDTH = 4096  # generations of one plan at the same time: the scheduler bounds them

Key = tuple[str, str]  # of a plan, and a tenant


@dataclass(slots=True)
class _Program:
    executor: Executor
    clients: tuple[Engine, ...]
    users: int = 0

    async def close(self) -> None:
        await self.executor.close()
        for client in self.clients:
            await client.close()


class Programs:
    """`salts` give the salt of a tenant's prompts."""

    def __init__(self, natives: AllowedNatives, salts: "Salts", idle: int = IDLE) -> None:
        self._natives = natives
        self._salts = salts
        self._idle = idle
        self._programs: OrderedDict[Key, _Program] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._programs)

    @asynccontextmanager
    async def use(
        self, key: str, tenant: str, plan: Plan, models: Mapping[str, ServedModel]
    ) -> AsyncIterator[Executor]:
        """The executor of a plan for a tenant. `key` names the plan; `models` serve its models."""
        name = key, tenant
        program = self._programs.get(name)
        if program is None:
            program = self._programs[name] = self._open(tenant, plan, models)
        program.users += 1
        try:
            yield program.executor
        finally:
            program.users -= 1
            if not program.users and self._programs.get(name) is program:
                self._programs.move_to_end(name)
                self._shrink()

    def forget(self, key: str, tenant: str) -> None:
        """A tenant's plan is gone: close its executor, if nobody uses it."""
        program = self._programs.get((key, tenant))
        if program is not None and not program.users:
            self._drop((key, tenant))

    async def close(self) -> None:
        """Close all; nobody may use any more."""
        for name in list(self._programs):
            self._drop(name)
        while self._closing:
            await asyncio.wait(self._closing)

    def _open(self, tenant: str, plan: Plan, models: Mapping[str, ServedModel]) -> _Program:
        clients = {
            name: served.router.client(tenant=tenant, salt=self._salts.of(tenant))
            for name, served in models.items()
        }
        renders = {
            model.name: renderer(render_of(model.template), models[model.name].tokenizer.specials)
            for model in plan.models
            if model.template
        }
        executor = Executor(
            plan,
            clients,
            self._natives.lent(tenant, clients),
            renders=renders,
            width=WIDTH,
            settles=False,
        )
        return _Program(executor, tuple(clients.values()))

    def _shrink(self) -> None:
        idle = [name for name, program in self._programs.items() if not program.users]
        for name in idle[: max(0, len(idle) - self._idle)]:
            self._drop(name)

    def _drop(self, name: Key) -> None:
        task = asyncio.get_running_loop().create_task(self._programs.pop(name).close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class Salts:
    """Tenants with other salts never share stored tokens, so none can tell by the time it takes
    what another has asked. `secret` keeps apart cores that use the same engines."""

    def __init__(self, secret: str, *, is_shared: bool) -> None:
        self._secret = secret
        self._is_shared = is_shared

    def of(self, tenant: str) -> str:
        return "" if self._is_shared else f"{self._secret}/{tenant}"
