"""Python functions in a core: only those that its config names run, whoever asks.

Functions of the standard library are ours and need no mention. Code never travels: a plan and a
call have names only. All tenants share the worker processes, and none gets more than half of them.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from parrotc.ir.types import Json, Type
from parrotc.runtime.core.errors import Invalid
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.errors import Failed
from parrotc.runtime.natives import Natives, Registry
from parrotc.runtime.plan import NativeDecl, Plan

Standard = Callable[[Mapping[str, Engine]], Registry]  # the standard library, for some models


class AllowedNatives:
    """The functions that may run, by `module:attr`."""

    def __init__(
        self, natives: Natives, standard: Standard, allowed: Collection[str], workers: int
    ) -> None:
        self._natives = natives
        self._standard = standard
        self._registry = standard({})
        self._allowed = frozenset(allowed)
        self._most = max(1, workers // 2)
        self._rooms: dict[str, asyncio.Semaphore] = {}

    def allows(self, target: str) -> bool:
        return target in self._allowed or self._registry(target) is not None

    def check(self, plan: Plan) -> None:
        """Raises `Invalid` for a plan with a function that is not allowed."""
        refused = [native for native in plan.natives if not self.allows(native.target)]
        if refused:
            names = ", ".join(native.target for native in refused)
            raise Invalid(
                f"the plan calls functions that may not run here: {names}",
                "whoever runs the core may allow them in `natives` of its config",
            )

    def find(self, name: str) -> str:
        """The function that a call means: `module:attr`, or `attr` where it is clear. Raises
        `Invalid`, and says nothing of what there is."""
        found = [t for t in self._allowed if name in (t, t.partition(":")[2])]
        if len(found) != 1:
            raise Invalid(
                f"the function `{name[:100]}` may not run here",
                "whoever runs the core may allow it in `natives` of its config",
            )
        return found[0]

    def lent(self, tenant: str, engines: Mapping[str, Engine]) -> "LentNatives":
        """For a program of a tenant, with engines for its models."""
        room = self._rooms.setdefault(tenant, asyncio.Semaphore(self._most))
        registry = self._standard(engines)
        return LentNatives(self, registry, self._natives, room)

    async def close(self) -> None:
        await self._natives.close()


class LentNatives:
    """What a program sees of them: implements `runtime.natives.Caller`."""

    def __init__(
        self,
        allowed: AllowedNatives,
        registry: Registry,
        natives: Natives,
        room: asyncio.Semaphore,
    ) -> None:
        self._allowed, self._registry, self._natives = allowed, registry, natives
        self._own = Natives((), registry)
        self._room = room

    async def call(self, native: NativeDecl, result: Type, args: Sequence[Json]) -> Json:
        if not self._allowed.allows(native.target):
            raise Failed("E0609", f"the function {native.target} may not run here")
        if self._registry(native.target) is not None:
            return await self._own.call(native, result, args)
        async with self._room:
            return await self._natives.call(native, result, args)

    async def close(self) -> None:
        """The workers are everybody's."""
        await self._own.close()
