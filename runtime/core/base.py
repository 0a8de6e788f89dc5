"""What both faces of a core share: models, engines under one scheduler each, plans that run there.

    core = Core()
    await core.add_engine("gpu0", "llama", Opened(engine))
    program = core.program(plan, {"local": "llama"}, natives)
    summary = await program.run("summarise", {"doc": text})
    await core.close()

A program that runs in this process has such a core to itself. `ServeCore` is one for others: it
adds tenants, sessions, variables, stored plans, runs that are remembered, and limits.
"""

from collections.abc import Mapping, Sequence

from parrotc.runtime.core.engines import Engines, Opened
from parrotc.runtime.core.models import Models
from parrotc.runtime.core.program import Lend, Manner, Program
from parrotc.runtime.core.registry import EngineView, RouterLimits
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.plan import ChatTemplate, Plan
from parrotc.runtime.scheduling.policies import SchedulerConfig


class Core:
    """All methods belong to one event loop, and none of them blocks it."""

    def __init__(
        self, scheduling: SchedulerConfig | None = None, limits: RouterLimits | None = None
    ) -> None:
        self._models = Models()
        self._engines = Engines(
            self._models, scheduling or SchedulerConfig(), limits or RouterLimits()
        )

    # --- models and engines ---

    def models(self) -> Sequence[str]:
        """The models that are served; the first is the default."""
        return [model.name for model in self._models]

    def template(self, model: str) -> ChatTemplate | None:
        """The chat template of a model. Raises `NotFound`."""
        return self._models.find(model).template

    def engines(self) -> Sequence[EngineView]:
        return self._engines.views()

    async def add_engine(self, name: str, model: str, opened: Opened) -> None:
        """Use an engine of this process from now on, as one of those that serve `model`; it is the
        core's to close. Raises `Busy`, `Invalid`, `Unavailable`."""
        await self._engines.add(name, model, opened)

    def engine_heartbeat(self, name: str) -> None:
        """Raises `NotFound` for an engine that has to register again."""
        self._engines.heartbeat(name)

    async def remove_engine(self, name: str) -> None:
        """Its calls are computed elsewhere. Raises `NotFound`."""
        await self._engines.remove(name)

    # --- what runs on them ---

    def engine(self, model: str) -> Engine:
        """All engines of a model as one, with context names of its own. Raises `NotFound`."""
        return self._models.find(model).router.client()

    def program(
        self, plan: Plan, models: Mapping[str, str], natives: Lend, manner: Manner
    ) -> Program:
        """A plan that is ready to run: `models` names what is served for each model of the plan.
        Close it before the core. Raises `NotFound`."""
        served = {name: self._models.find(model) for name, model in models.items()}
        return Program(plan, served, natives, manner)

    async def settle(self) -> None:
        """Wait until what nobody needs any more is gone from all engines that answer."""
        for model in self._models:
            await model.router.settle()

    async def close(self) -> None:
        """End what goes on, and close the engines."""
        await self._engines.close()
