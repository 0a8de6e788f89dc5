"""Which models a program runs on, and what compiling has to know of each.

A model is a kind and a target: `builtin` with a name, folder or file; `reference`; or a text
endpoint such as `openai`. Tokenizers and templates load without torch, once for each model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import NamedTuple

from parrotc.ir.ops import Model, Module
from parrotc.passes.target import ModelTarget, Target
from parrotc.runtime.models import load_template, load_tokenizer, resolve
from parrotc.runtime.template import Template
from parrotc.runtime.tokenizer import ByteTokenizer

DEFAULT = "smollm2-135m-instruct"
EMBEDDED, REFERENCE = "builtin", "reference"
KINDS = (EMBEDDED, REFERENCE, "openai", "azure")


@dataclass(frozen=True)
class ModelOverrides:
    """Replacements for `model` lines: `engine` for all of them, `models` by name, which wins."""

    engine: str | None = None  # embedded or reference
    models: Mapping[str, str] = field(default_factory=dict)  # name → kind:target, or a target

    def apply(self, model: Model) -> Model:
        if model.name in self.models:
            kind, target = split_spec(self.models[model.name])
        elif self.engine:
            kind, target = split_spec(self.engine)
            if kind == model.kind:
                return model
        else:
            return model
        return replace(model, kind=kind, target=target, options=())


def split_spec(spec: str) -> tuple[str, str]:
    """`reference`, `builtin:NAME` or just a name, folder or file, as kind and target."""
    kind, colon, target = spec.partition(":")
    kind = EMBEDDED if kind == "embedded" else kind
    if kind in KINDS and (colon or kind in (EMBEDDED, REFERENCE)):
        return kind, target or (DEFAULT if kind == EMBEDDED else "")
    return EMBEDDED, spec


class Loaded(NamedTuple):
    """A model's target, and the source of its chat template."""

    target: ModelTarget
    template: str | None


@cache
def load_target(kind: str, target: str) -> Loaded:
    """What compiling knows of a model. Text endpoints have no tokenizer: messages stay."""
    if kind == REFERENCE:
        tokenizer = ByteTokenizer()
        source = tokenizer.template
    elif kind == EMBEDDED:
        files = resolve(target)
        tokenizer, source = load_tokenizer(files), load_template(files)
    else:
        return Loaded(ModelTarget(None, None), None)
    render = Template(source).render if source else None
    return Loaded(ModelTarget(tokenizer, render, tokenizer.context_length), source)


def overridden(module: Module, overrides: ModelOverrides) -> Module:
    return replace(module, models=tuple(map(overrides.apply, module.models)))


def targets(module: Module) -> Target:
    return Target({m.name: load_target(m.kind, m.target).target for m in module.models})


def templates(module: Module) -> dict[str, str]:
    """The sources of the chat templates, by model name."""
    found = {m.name: load_target(m.kind, m.target).template for m in module.models}
    return {name: source for name, source in found.items() if source is not None}
