"""Plans for tests of the runtime, from the text of IR at context level."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fakes import ByteTokens, StrictEngine

from parrotc.ir.ops import Module
from parrotc.ir.parser import parse_module
from parrotc.ir.source import Source
from parrotc.passes.target import ModelTarget, Target
from parrotc.planner import make_plan
from parrotc.runtime.executor import Executor
from parrotc.runtime.natives import Natives
from parrotc.runtime.plan import Plan

HERE = Path(__file__).parent
TOKENS = ByteTokens()


def plan_of(text: str) -> Plan:
    """The plan of IR text. Models, natives and types are declared in the text."""
    source = Source("test.pir", text)
    return module_plan(parse_module(source), source)


def module_plan(
    module: Module, *sources: Source, level: Module | None = None, target: Target | None = None
) -> Plan:
    target = target or Target({m.name: ModelTarget(TOKENS, None) for m in module.models})
    return make_plan(level or module, module, target, compiler="0", level="O1", sources=sources)


def executor_of(
    plan: Plan,
    engine: Any = None,
    *,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    **settings: Any,
) -> Executor:
    """An executor with one engine for every model. `functions` run in this process."""
    engines = {model.name: engine or StrictEngine() for model in plan.models}
    natives = Natives([HERE / "runtime"], (functions or {}).get)
    return Executor(plan, engines, natives, **settings)
