"""From what a command is given to a plan that can run: any stage of a program is welcome."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from parrotc.cli.arguments import Choices, text_of
from parrotc.driver import (
    Compilation,
    checked,
    compile_module,
    compile_path,
    read_source,
    retarget,
)
from parrotc.ir.diagnostic import CompileError, Diagnostic
from parrotc.ir.ops import Module
from parrotc.ir.parser import parse_module
from parrotc.ir.types import Choice, Enum, Json, Optional, Str, Type
from parrotc.loading import fitted, read_plan
from parrotc.lower import lower
from parrotc.lower.module import DEFAULT_MODEL
from parrotc.passes.table import PIPELINES
from parrotc.runtime.plan import Plan
from parrotc.settings import Settings, SettingsError, load
from parrotc.targets import ModelOverrides, overridden

T = TypeVar("T")


@dataclass(frozen=True)
class Loaded:
    """A plan, and the folder that its root is seen from."""

    plan: Plan
    folder: Path


def settings_for(choices: Choices, **flags: Any) -> Settings:
    """The settings of this process with the flags of a command. Raises `SettingsError`."""
    settings = load(level=choices.level, engine=choices.engine, **flags)
    if settings.level not in PIPELINES:
        raise SettingsError(
            f"there is no level `{settings.level}`", f"there are: {', '.join(PIPELINES)}"
        )
    return settings


def load_program(path: str, choices: Choices, settings: Settings, *, anew: bool) -> Loaded:
    """Compile a `.pfn` or `.pir` file, or read a `.pplan` (compiled again if `anew`).

    Raises `CompileError`, or `PlanError` for a plan that cannot be used.
    """
    folder = Path(path).resolve().parent
    if path.endswith(".pplan"):
        return Loaded(fitted(read_plan(path), _models(choices, settings), anew=anew), folder)
    return Loaded(compile_file(path, choices, settings).plan, folder)


def compile_file(path: str, choices: Choices, settings: Settings, **how: Any) -> Compilation:
    """Compile a `.pfn` or `.pir` file; for a `.pplan`, the program that it holds."""
    models = _models(choices, settings)
    if path.endswith(".pplan"):
        return retarget(read_plan(path), models)
    if path.endswith(".pir"):
        source = read_source(path)
        return compile_module(parse_module(source), level=settings.level, models=models, **how)
    return compile_path(path, level=settings.level, models=models, **how)


def lowered(path: str, choices: Choices, settings: Settings) -> Module:
    """The module of a file before any pass: lowered from a `.pfn`, or as a `.pir` says."""
    source = read_source(path)
    module = parse_module(source) if path.endswith(".pir") else lower(checked(source)[0])
    if not module.models:  # nothing is called, but a function may be rendered all the same
        module = replace(module, models=(DEFAULT_MODEL,))
    return overridden(module, _models(choices, settings))


def _models(choices: Choices, settings: Settings) -> ModelOverrides:
    return ModelOverrides.of(settings, choices.models)


def choose(kind: str, name: str, there: Mapping[str, T]) -> T:
    """The flow (or function) of that name; without a name, the only one. Wrong usage otherwise."""
    if name in there:
        return there[name]
    names = ", ".join(there)
    if name:
        raise click.UsageError(f"there is no {kind} `{name}`; there is {names or 'none'}")
    if len(there) == 1:
        return next(iter(there.values()))
    raise click.UsageError(f"say which {kind}, as in FILE:NAME; there is {names or 'none'}")


def read_inputs(given: Sequence[tuple[str, str]], types: Mapping[str, Type]) -> dict[str, Json]:
    """Inputs as data: texts and choices verbatim, the rest as JSON.

    A name that is not known is kept, so that the check of all inputs reports it. Raises
    `CompileError` for a value that is not JSON.
    """
    return {name: _read(name, text_of(value), types.get(name)) for name, value in given}


def _read(name: str, text: str, type_: Type | None) -> Json:
    import json

    held = type_.item if isinstance(type_, Optional) else type_
    if type_ is None or isinstance(held, Str | Enum | Choice):
        return None if isinstance(type_, Optional) and text == "null" else text
    try:
        return json.loads(text)
    except ValueError as error:
        shown = text if len(text) <= 60 else f"{text[:60]}…"
        raise CompileError(
            [
                Diagnostic(
                    "E0607",
                    f"the input `{name}` is a `{type_}`, and `{shown}` is not JSON: {error}",
                    help=f'write it as JSON, as in {name}=\'["a", "b"]\', or {name}=@file.json',
                )
            ]
        ) from None
