"""Plans that are ready to run: a program for each plan and tenant, while somebody uses it.

A program keeps the prefixes of its plan in the engines, so some that are idle stay for those who
come back; the one that was idle longest goes first.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from parrotc.runtime.core.models import ServedModel
from parrotc.runtime.core.natives import AllowedNatives
from parrotc.runtime.core.program import Manner, Program
from parrotc.runtime.plan import Plan

IDLE = 64  # programs that nobody uses and that are kept
MANNER = Manner(width=4096)  # the scheduler bounds what runs at the same time

Key = tuple[str, str]  # of a plan, and a tenant


@dataclass(slots=True)
class _Used:
    program: Program
    users: int = 0


class Programs:
    """`salts` give the salt of a tenant's prompts."""

    def __init__(self, natives: AllowedNatives, salts: "Salts", idle: int = IDLE) -> None:
        self._natives = natives
        self._salts = salts
        self._idle = idle
        self._programs: OrderedDict[Key, _Used] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._programs)

    @asynccontextmanager
    async def use(
        self, key: str, tenant: str, plan: Plan, models: Mapping[str, ServedModel]
    ) -> AsyncIterator[Program]:
        """The program of a plan for a tenant. `key` names the plan; `models` serve its models."""
        name = key, tenant
        used = self._programs.get(name)
        if used is None:
            used = self._programs[name] = _Used(self._open(tenant, plan, models))
        used.users += 1
        try:
            yield used.program
        finally:
            used.users -= 1
            if not used.users and self._programs.get(name) is used:
                self._programs.move_to_end(name)
                self._shrink()

    def forget(self, key: str, tenant: str) -> None:
        """A tenant's plan is gone: close its program, if nobody uses it."""
        used = self._programs.get((key, tenant))
        if used is not None and not used.users:
            self._drop((key, tenant))

    async def close(self) -> None:
        """Close all; nobody may use any more."""
        for name in list(self._programs):
            self._drop(name)
        while self._closing:
            await asyncio.wait(self._closing)

    def _open(self, tenant: str, plan: Plan, models: Mapping[str, ServedModel]) -> Program:
        natives, salt = partial(self._natives.lent, tenant), self._salts.of(tenant)
        return Program(plan, models, natives, MANNER, tenant=tenant, salt=salt)

    def _shrink(self) -> None:
        idle = [name for name, used in self._programs.items() if not used.users]
        for name in idle[: max(0, len(idle) - self._idle)]:
            self._drop(name)

    def _drop(self, name: Key) -> None:
        task = asyncio.get_running_loop().create_task(self._programs.pop(name).program.close())
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
