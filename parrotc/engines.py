"""The engines of the models that plans name: opened when they are first asked for, into a core."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path

from parrotc.ir.types import Json
from parrotc.runtime.chat import renders
from parrotc.runtime.core.base import Core
from parrotc.runtime.core.engines import Opened
from parrotc.runtime.core.errors import CoreError
from parrotc.runtime.core.registry import RouterLimits
from parrotc.runtime.engines.openai.tokenspeaker import Fallback
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.engines.recorded import RecordingEngine, ReplayEngine
from parrotc.runtime.engines.recording import read
from parrotc.runtime.engines.registry import open_engine
from parrotc.runtime.errors import Failed, RunError
from parrotc.runtime.models import ModelError
from parrotc.runtime.plan import Model, PlanError
from parrotc.runtime.texts import ALPHABET
from parrotc.settings import Settings
from parrotc.targets import ENGINES, ModelOverrides, load_model, recorder_of


class Engines:
    """What a process of its own runs programs on: a `core`, whose engines are those of models.

    Models of one kind and target share an engine, endpoints only where their options are the same
    too. An engine may take as long as it likes: it is here, and a caller has a timeout.

    All methods belong to one event loop.
    """

    def __init__(self, settings: Settings) -> None:
        self.core = Core(limits=RouterLimits(silence=inf))
        self._settings = settings
        self._opened: dict[str, Engine] = {}  # by what the core calls its model
        self._served: dict[tuple[str, str], str] = {}
        self._clients: dict[str, Engine] = {}
        self._opening = asyncio.Lock()  # others wait for what one has begun to open

    @property
    def open(self) -> Sequence[Engine]:
        return list(self._opened.values())

    async def names(self, models: Sequence[Model]) -> dict[str, str]:
        """What the core calls each model, by the model's name in its plan.

        Raises `RunError` for one that cannot be had, `PlanError` for another tokenizer than that
        which the plan was compiled for.
        """
        known = {model.name: model for model in models}
        async with self._opening:
            return {model.name: await self._name(model, known) for model in models}

    async def of(self, models: Sequence[Model]) -> dict[str, Engine]:
        """The engine of each model, as `names`: one client of the core for all that ask."""
        names = await self.names(models)
        return {model: self._client(name) for model, name in names.items()}

    async def close(self) -> None:
        await self.core.close()

    def _client(self, name: str) -> Engine:
        if name not in self._clients:
            self._clients[name] = self.core.engine(name)
        return self._clients[name]

    async def _name(self, model: Model, known: Mapping[str, Model]) -> str:
        key = (model.kind, model.target if model.kind in ENGINES else repr(model))
        if key not in self._served:
            fallback = await self._fallback(model, known)
            opening = asyncio.to_thread(open_model, model, self._settings, fallback)
            self._served[key] = await self._add(model, await opening)
        name = self._served[key]
        require_tokenizer(model, self._opened[name].tokenizer.fingerprint)
        return name

    async def _add(self, model: Model, engine: Engine) -> str:
        """Let the core use an engine; gives what the core calls its model."""
        name = model.target or model.kind
        if name in self._opened:
            name = f"{name} ({len(self._opened) + 1})"
        try:
            await self.core.add_engine(name, name, Opened(engine, model.template))
        except CoreError as error:
            raise RunError(Failed("E0610", error.message).at(None)) from None
        self._opened[name] = engine
        return name

    async def _fallback(self, model: Model, known: Mapping[str, Model]) -> list[Fallback]:
        """What is asked when an endpoint fails."""
        if model.kind in ENGINES or self._settings.replay:
            return []
        found: list[Fallback] = []
        for name in model.options.get("fallback") or ():
            served = await self._name(known[name], known)
            engine = self._opened[served]
            if engine.tokenizer is not ALPHABET:  # what reads text has no calls to be scheduled
                engine = self._client(served)
            render = renders([known[name]], {name: engine}).get(name)
            found.append(Fallback(name, engine, render))
        return found


def open_model(model: Model, settings: Settings, fallback: Sequence[Fallback]) -> Engine:
    """A new engine for a model, which records or replays if settings say so. Blocks.

    Raises `RunError` E0610, and `RecordingError`.
    """
    if settings.replay:
        recording = read(Path(settings.replay))
        return ReplayEngine(recording, recording.model(model.kind, model.target))
    engine = _new(model, settings, fallback)
    if not settings.record:
        return engine
    known = load_model(model.kind, model.target, ModelOverrides.of(settings))
    recorder = recorder_of(model.kind, model.target, known, settings.record)
    return RecordingEngine(engine, recorder)


def _new(model: Model, settings: Settings, fallback: Sequence[Fallback]) -> Engine:
    known = {
        "threads": settings.threads,
        "precision": settings.precision,
        "max_context": settings.max_context,
        "folder": Path(settings.model_cache) if settings.model_cache else None,
    }
    given = {name: value for name, value in known.items() if value}
    try:
        options = {**_options(model), "fallback": fallback, **given}
        return open_engine(model.kind, model.target, **options)
    except ModelError as error:
        failed = Failed("E0610", error.message, help=error.help)
    except ValueError as error:
        failed = Failed("E0610", f"the model `{model.name}` cannot be opened: {error}")
    raise RunError(failed.at(None))


def _options(model: Model) -> dict[str, Json]:
    """The options of a `model` line, with those that come from the environment."""
    options = dict(model.options)
    for name, variable in model.env.items():
        if variable not in os.environ:
            message = f"the model `{model.name}` needs the environment variable {variable}"
            raise RunError(Failed("E0610", message).at(None))
        options[name] = os.environ[variable]
    return options


def require_tokenizer(model: Model, fingerprint: str) -> None:
    """Raises `PlanError` unless a model's tokenizer is the one the plan was compiled for."""
    if fingerprint == model.fingerprint:
        return
    raise PlanError(
        "E0655",
        f"the plan was compiled for another tokenizer than that of `{model.name}`",
        notes=(f"the plan needs {model.fingerprint[:12]}…, the model has {fingerprint[:12]}…",),
        help="compile it again for this model with --retarget (in Python: retarget=True)",
    )
