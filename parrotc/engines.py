"""The engines of the models that plans name: opened when they are first asked for."""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from parrotc.ir.types import Json
from parrotc.runtime.chat import Render, render_of, renderer
from parrotc.runtime.engines.openai.tokenspeaker import Fallback
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.engines.recorded import RecordingEngine, ReplayEngine
from parrotc.runtime.engines.recording import read
from parrotc.runtime.engines.registry import open_engine
from parrotc.runtime.errors import Failed, RunError
from parrotc.runtime.models import ModelError
from parrotc.runtime.plan import Model, PlanError
from parrotc.settings import Settings
from parrotc.targets import ENGINES, ModelOverrides, load_model, recorder_of


class Engines:
    """Models of one kind and target share an engine, endpoints only where their options are the
    same too. All methods belong to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened: dict[tuple[str, str], Engine] = {}
        self._opening = asyncio.Lock()  # others wait for what one has begun to open

    @property
    def open(self) -> Sequence[Engine]:
        return list(self._opened.values())

    async def of(self, models: Sequence[Model]) -> dict[str, Engine]:
        """The engine of each model, by the model's name.

        Raises `RunError` for one that cannot be had, `PlanError` for another tokenizer than that
        which the plan was compiled for.
        """
        known = {model.name: model for model in models}
        async with self._opening:
            return {model.name: await self._engine(model, known) for model in models}

    async def close(self) -> None:
        for engine in self._opened.values():
            await engine.close()

    async def _engine(self, model: Model, known: Mapping[str, Model]) -> Engine:
        key = (model.kind, model.target if model.kind in ENGINES else repr(model))
        if key not in self._opened:
            fallback = await self._fallback(model, known)
            opening = asyncio.to_thread(open_model, model, self._settings, fallback)
            self._opened[key] = await opening
        engine = self._opened[key]
        require_tokenizer(model, engine.tokenizer.fingerprint)
        return engine

    async def _fallback(self, model: Model, known: Mapping[str, Model]) -> list[Fallback]:
        """What is asked when an endpoint fails."""
        if model.kind in ENGINES or self._settings.replay:
            return []
        found: list[Fallback] = []
        for name in model.options.get("fallback") or ():
            engine = await self._engine(known[name], known)
            render = _render(known[name], engine) if known[name].template else None
            found.append(Fallback(name, engine, render))
        return found


def renders(models: Iterable[Model], engines: Mapping[str, Engine]) -> dict[str, Render]:
    """The chat templates of the models whose messages are rendered late."""
    return {model.name: _render(model, engines[model.name]) for model in models if model.template}


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


def _render(model: Model, engine: Engine) -> Render:
    """The chat template of a model whose messages are rendered late."""
    assert model.template is not None
    return renderer(render_of(model.template), engine.tokenizer.specials)
