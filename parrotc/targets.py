"""Which models a program runs on, and what compiling has to know of each.

A model is a kind and a target: `builtin` or `transformers` with a name, folder or file; `remote`
with the URL of a served engine; `reference`; or a text endpoint such as `openai`. Tokenizers and
templates load without torch, once for each model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from parrotc.ir.diagnostic import CompileError, Diagnostic
from parrotc.ir.ops import Model, Module
from parrotc.passes.target import ModelTarget, Target, Tokenizer
from parrotc.runtime.chat import render_of
from parrotc.runtime.engines.recording import RecordedModel, Recorder, read
from parrotc.runtime.models import (
    EMBEDDED as DEFAULT,
)
from parrotc.runtime.models import (
    ModelError,
    cache_folder,
    find_embedded,
    load_config,
    load_template,
    load_tokenizer,
    resolve,
)
from parrotc.runtime.plan import ChatTemplate
from parrotc.runtime.texts import ALPHABET, Alphabet
from parrotc.runtime.tokenizer import ByteTokenizer
from parrotc.runtime.tokenizer import Tokenizer as RealTokenizer
from parrotc.settings import Settings

EMBEDDED, REFERENCE, TRANSFORMERS, REMOTE = "builtin", "reference", "transformers", "remote"
ENGINES = (EMBEDDED, TRANSFORMERS, REMOTE, REFERENCE)  # kinds that read tokens
KINDS = (*ENGINES, "openai", "azure")
TEXT = ModelTarget(None, None)  # of endpoints that read text, whose prompts stay messages


@dataclass(frozen=True)
class ModelOverrides:
    """Replacements for `model` lines: `engine` for all of them, `models` by name, which wins."""

    engine: str | None = None  # embedded, transformers, reference, or the URL of an engine
    models: Mapping[str, str] = field(default_factory=dict)  # name → kind:target, or a target
    folder: str | None = None  # where fetched models are kept, if not in the usual place
    record: str | None = None  # the recording that is to know the models
    replay: str | None = None  # the recording that knows the models, and answers for them

    @classmethod
    def of(cls, settings: Settings, models: Mapping[str, str] | None = None) -> "ModelOverrides":
        """What settings say about models, and `models` by name."""
        return cls(
            settings.engine or None,
            models or {},
            settings.model_cache or None,
            settings.record or None,
            settings.replay or None,
        )

    def choice(self, name: str, kind: str, target: str) -> tuple[str, str]:
        """The kind and target that a model of the program runs as."""
        if name in self.models:
            return split_spec(self.models[name])
        if not self.engine:
            return kind, target
        wanted = split_spec(self.engine)
        is_bare = self.engine in ("embedded", *ENGINES)  # it says how to run, and not what
        return (kind, target) if is_bare and wanted[0] == kind else wanted


AS_WRITTEN = ModelOverrides()


def split_spec(spec: str) -> tuple[str, str]:
    """`reference`, `builtin:NAME`, a URL, or just a name, folder or file, as kind and target."""
    if spec.startswith(("http://", "https://")):
        return REMOTE, spec
    kind, colon, target = spec.partition(":")
    kind = EMBEDDED if kind == "embedded" else kind
    if kind in KINDS and (colon or kind in (EMBEDDED, TRANSFORMERS, REFERENCE)):
        return kind, target or (DEFAULT if kind in (EMBEDDED, TRANSFORMERS) else "")
    return EMBEDDED, spec


class Loaded(NamedTuple):
    """A model's target, and its chat template as a plan keeps it."""

    target: ModelTarget
    template: ChatTemplate | None


@cache
def load_target(kind: str, target: str, folder: str | None = None) -> Loaded:
    """What compiling knows of a model. Text endpoints have no tokenizer: messages stay.

    Raises `CompileError` for a model that cannot be had.
    """
    if kind == REFERENCE:
        reference = ByteTokenizer()
        return _loaded(reference, ChatTemplate(reference.template), reference.context_length)
    try:
        if kind in (EMBEDDED, TRANSFORMERS):
            return _of_files(target, Path(folder) if folder else None)
        if kind == REMOTE:
            return _of_engine(target)
    except ModelError as error:
        raise CompileError([Diagnostic("E0610", error.message, help=error.help)]) from None
    return Loaded(TEXT, None)


def _of_engine(url: str) -> Loaded:
    """What a served engine says of its model."""
    try:
        from parrotc.runtime.engines.http.remote import fetch_handshake
    except ImportError as error:
        help_ = "pip install 'parrotc[serve]'"
        raise ModelError(f"an engine elsewhere cannot be asked: {error}", help=help_) from None
    found = fetch_handshake(url)
    try:
        tokenizer = found.make_tokenizer()
    except ValueError as error:
        raise ModelError(f"the tokenizer of {url} cannot be used: {error}") from None
    if tokenizer is ALPHABET:
        return Loaded(TEXT, None)
    return _loaded(tokenizer, found.template, found.context_length)


def _of_files(target: str, folder: Path | None) -> Loaded:
    files = resolve(target, folder=folder)
    tokenizer, source, config = load_tokenizer(files), load_template(files), load_config(files)
    if source is None:
        return _loaded(tokenizer, None, tokenizer.context_length)
    texts: dict[object, str] = {number: text for text, number in tokenizer.specials.items()}
    bos = config.get("tokenizer.ggml.bos_token_id", config.get("bos_token_id"))
    end = tokenizer.eos[0] if tokenizer.eos else None
    now = datetime.now().isoformat(timespec="seconds") if "strftime_now" in source else ""
    template = ChatTemplate(source, bos=texts.get(bos, ""), eos=texts.get(end, ""), now=now)
    return _loaded(tokenizer, template, tokenizer.context_length)


def _loaded(tokenizer: Tokenizer, template: ChatTemplate | None, context_length: int) -> Loaded:
    render = render_of(template) if template else None
    return Loaded(ModelTarget(tokenizer, render, context_length), template)


def overridden(module: Module, overrides: ModelOverrides) -> Module:
    """The module on the models that are wanted; options go with the `model` line they were in."""
    return replace(module, models=tuple(_overridden(m, overrides) for m in module.models))


def _overridden(model: Model, overrides: ModelOverrides) -> Model:
    kind, target = overrides.choice(model.name, model.kind, model.target)
    if (kind, target) == (model.kind, model.target):
        return model
    return replace(model, kind=kind, target=target, options=())


def load_model(kind: str, target: str, overrides: ModelOverrides = AS_WRITTEN) -> Loaded:
    """What compiling knows of a model: as `load_target`, or from the recording that replays it.

    Where the model is recorded, what is known goes into the recording.
    """
    if overrides.replay is not None:
        return _of_recording(read(Path(overrides.replay)).model(kind, target))
    found = load_target(kind, target, overrides.folder)
    if overrides.record is not None:
        recorder_of(kind, target, found, overrides.record)
    return found


def recorder_of(kind: str, target: str, loaded: Loaded, path: str) -> Recorder:
    """What adds the answers of a model to a recording; the model is in it from here on."""
    tokenizer = loaded.target.tokenizer or ALPHABET
    assert isinstance(tokenizer, RealTokenizer | ByteTokenizer | Alphabet)
    model = RecordedModel.of(kind, target, tokenizer, loaded.template)
    return Recorder(Path(path), model)


def _of_recording(recorded: RecordedModel) -> Loaded:
    if recorded.handshake is None:
        return Loaded(TEXT, None)
    tokenizer = recorded.handshake.make_tokenizer()
    return _loaded(tokenizer, recorded.handshake.template, recorded.handshake.context_length)


def targets(module: Module, overrides: ModelOverrides = AS_WRITTEN) -> Target:
    models = {m.name: load_model(m.kind, m.target, overrides).target for m in module.models}
    return Target(models)


def targets_at_hand(module: Module) -> Target | None:
    """What is known of the models where nothing has to be fetched, and nobody asked; else None."""
    if not all(_is_at_hand(model.kind, model.target) for model in module.models):
        return None
    try:
        return targets(module)
    except CompileError:  # what is there cannot be read: compiling will say so
        return None


def _is_at_hand(kind: str, target: str) -> bool:
    if kind not in (EMBEDDED, TRANSFORMERS):
        return kind != REMOTE
    if target.lower() == DEFAULT:
        return find_embedded(cache_folder()) is not None
    return Path(target).expanduser().exists()


def templates(module: Module, overrides: ModelOverrides = AS_WRITTEN) -> dict[str, ChatTemplate]:
    """The chat templates of the models that have one, by name."""
    found = {m.name: load_model(m.kind, m.target, overrides).template for m in module.models}
    return {name: template for name, template in found.items() if template is not None}
