"""The engines of a core, by name: those that it opens, and those that come and say they live."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from parrotc.runtime.core.errors import Busy, Invalid, NotFound, Unavailable
from parrotc.runtime.core.models import Models, ServedModel
from parrotc.runtime.core.registry import EngineView, RouterLimits
from parrotc.runtime.core.router import Router
from parrotc.runtime.core.specs import spec_of
from parrotc.runtime.engines.protocol import Engine, EngineError, EngineInfo
from parrotc.runtime.models import ModelError
from parrotc.runtime.plan import ChatTemplate
from parrotc.runtime.scheduling.engines import Role
from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.texts import ALPHABET

if TYPE_CHECKING:  # a core in a program's own process reads no config
    from parrotc.runtime.engines.config import EngineConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """An engine that is there, and the chat template of its model."""

    engine: Engine
    template: ChatTemplate | None = None


Open = Callable[["EngineConfig"], Opened]  # blocks while the engine loads


class Engines:
    """Each is registered with the router of its model; the first of a model makes its router."""

    def __init__(self, models: Models, scheduling: SchedulerConfig, limits: RouterLimits) -> None:
        self._models = models
        self._scheduling = scheduling
        self._limits = limits
        self._of: dict[str, str] = {}  # names to models

    def views(self) -> Sequence[EngineView]:
        return [view for model in self._models for view in model.router.engines()]

    async def open(self, open_: Open, configs: "Sequence[EngineConfig]") -> None:
        """Those of a config. Raises `ModelError` and `ValueError` as opening does."""
        for number, config in enumerate(configs):
            opened = await asyncio.to_thread(open_, config)
            name = config.name or f"{config.served}-{number}"
            await self.add(name, config.served, opened, role=Role(config.role))

    async def meet(self, url: str, model: str, name: str, role: Role = Role.MIXED) -> str:
        """An engine elsewhere has come; gives the name by which it is known from now on, under
        which it sends heartbeats. Raises `Invalid`, `Unavailable`, `Busy`."""
        try:
            from parrotc.runtime.engines.http.remote import RemoteEngine, fetch_handshake

            handshake = await asyncio.to_thread(fetch_handshake, url)
            opened = Opened(RemoteEngine(url, handshake), handshake.template)
        except ModelError as error:
            raise Unavailable(error.message, error.help) from None
        name = name or url
        await self.add(name, model, opened, role=role, heartbeat=True)
        return name

    async def add(
        self,
        name: str,
        model: str,
        opened: Opened,
        *,
        role: Role = Role.MIXED,
        heartbeat: bool = False,
    ) -> None:
        """Use an engine from now on. One with its name is taken over. Raises `Busy`, `Invalid`,
        `Unavailable`."""
        if len(self._of) >= self._limits.engines and name not in self._of:
            self._forget_gone()
        if len(self._of) >= self._limits.engines and name not in self._of:
            raise Busy(f"there are {self._limits.engines:,} engines already")
        if self._of.get(name, model) != model:
            await self.remove(name)
        spec = spec_of(name, model, await self._asked(name, opened.engine), role)
        served = self._models.get(model) or self._serve(model, opened)
        try:
            served.router.register(name, opened.engine, spec, heartbeat=heartbeat)
        except EngineError as error:
            await opened.engine.close()
            kind = Busy if error.code == "busy" else Invalid
            raise kind(f"the engine `{name}` cannot be used: {error}") from None
        self._models.add(served)
        self._of[name] = model
        _log.info("engine %s serves %s", name, model)

    def heartbeat(self, name: str) -> None:
        """Raises `NotFound` for one that is not there any more: it may register again."""
        served = self._models.get(self._of.get(name, ""))
        try:
            if served is None:
                raise KeyError(name)
            served.router.heartbeat(name)
        except KeyError:
            self._of.pop(name, None)
            raise NotFound("there is no such engine: register it again") from None

    async def remove(self, name: str) -> None:
        """Raises `NotFound`."""
        served = self._models.get(self._of.pop(name, ""))
        try:
            if served is None:
                raise KeyError(name)
            await served.router.remove(name)
        except KeyError:
            raise NotFound("there is no such engine") from None
        _log.info("engine %s is gone", name)

    async def close(self) -> None:
        for served in self._models:
            await served.router.close()

    def _serve(self, model: str, opened: Opened) -> ServedModel:
        tokenizer: Any = opened.engine.tokenizer
        # an endpoint that reads text has asked again itself before it tells a fault
        limits = replace(self._limits, attempts=1) if tokenizer is ALPHABET else self._limits
        router = Router(model, tokenizer, config=self._scheduling, limits=limits)
        return ServedModel(model, router, tokenizer.context_length, opened.template)

    async def _asked(self, name: str, engine: Engine) -> EngineInfo:
        try:
            return await engine.ping()
        except EngineError as error:
            await engine.close()
            raise Unavailable(f"the engine `{name}` does not answer: {error}") from None

    def _forget_gone(self) -> None:
        """Names of engines that sent no heartbeat and were taken out."""
        there = {view.name for view in self.views()}
        self._of = {name: model for name, model in self._of.items() if name in there}
