"""`parrotc.compile` and `parrotc.load`: from a file to a program that can be called."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from parrotc import settings as setting
from parrotc.driver import compile_path, compile_source, retarget
from parrotc.engines import require_tokenizer
from parrotc.ir.source import Source
from parrotc.program import LoadedProgram
from parrotc.runtime.plan import Model, Plan, PlanError
from parrotc.targets import ModelOverrides, load_model


def compile_program(
    program: str | Path,
    *,
    engine: str | None = None,
    models: dict[str, str] | None = None,
    **settings: Any,
) -> LoadedProgram:
    """Compile a `.pfn` or `.py` file, or a text in the language of `.pfn`, into a program.

    `engine` and `models` replace its `model` lines. Settings are those of `parrotc.settings`.
    Raises `CompileError` with everything that is wrong with the program.
    """
    given = setting.load(engine=engine, **settings)
    overrides = ModelOverrides.of(given, models)
    if isinstance(program, str) and not program.endswith((".pfn", ".py")):
        source = Source("<text>", program)
        compiled = compile_source(source, level=given.level, models=overrides)
        return LoadedProgram(compiled.plan, folder=Path.cwd(), settings=given)
    compiled = compile_path(program, level=given.level, models=overrides)
    return LoadedProgram(compiled.plan, folder=Path(program).resolve().parent, settings=given)


def load(
    path: str | Path,
    *,
    engine: str | None = None,
    models: dict[str, str] | None = None,
    retarget: bool = False,
    **settings: Any,
) -> LoadedProgram:
    """The program of a `.pplan` file.

    A plan runs with the tokenizers it was compiled for: another `engine` or model is refused with
    a `PlanError` unless its tokenizer is the same, or `retarget` compiles the plan again for it.
    """
    given = setting.load(engine=engine, **settings)
    overrides = ModelOverrides.of(given, models)
    plan = fitted(read_plan(path), overrides, anew=retarget)
    return LoadedProgram(plan, folder=Path(path).resolve().parent, settings=given)


def read_plan(path: str | Path) -> Plan:
    """The plan in a file. Raises `PlanError`, also when the file cannot be read."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise PlanError("E0651", f"{path} cannot be read: {error.strerror or error}") from None
    return Plan.from_json(raw)


def fitted(plan: Plan, overrides: ModelOverrides, *, anew: bool) -> Plan:
    """The plan for the models at hand: as it is, renamed models, or compiled again if `anew`."""
    if anew:
        return replace(retarget(plan, overrides).plan, root=plan.root)
    return replace(plan, models=tuple(_fitted(model, overrides) for model in plan.models))


def _fitted(model: Model, overrides: ModelOverrides) -> Model:
    kind, target = overrides.choice(model.name, model.kind, model.target)
    tokenizer = load_model(kind, target, overrides).target.tokenizer
    require_tokenizer(model, tokenizer.fingerprint if tokenizer else "")
    if (kind, target) == (model.kind, model.target):
        return model
    return replace(model, kind=kind, target=target, options={}, env={})
