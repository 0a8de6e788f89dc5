"""parrotc: a compiler and runtime for LLM programs.

    import parrotc

    program = parrotc.compile("map_reduce.pfn")     # or parrotc.load("map_reduce.pplan")
    summary = program.summarise(doc=text)

Importing this loads nothing else: each name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parrotc.ir.diagnostic import CompileError as CompileError
    from parrotc.ir.diagnostic import Diagnostic as Diagnostic
    from parrotc.loading import compile_program as compile
    from parrotc.loading import load as load
    from parrotc.program import LoadedProgram as LoadedProgram
    from parrotc.runtime.errors import RunError as RunError
    from parrotc.runtime.plan import Plan as Plan
    from parrotc.runtime.plan import PlanError as PlanError

_HOMES = {
    "CompileError": ("parrotc.ir.diagnostic", "CompileError"),
    "Diagnostic": ("parrotc.ir.diagnostic", "Diagnostic"),
    "LoadedProgram": ("parrotc.program", "LoadedProgram"),
    "Plan": ("parrotc.runtime.plan", "Plan"),
    "PlanError": ("parrotc.runtime.plan", "PlanError"),
    "RunError": ("parrotc.runtime.errors", "RunError"),
    "compile": ("parrotc.loading", "compile_program"),
    "load": ("parrotc.loading", "load"),
}

__all__ = [
    "CompileError",
    "Diagnostic",
    "LoadedProgram",
    "Plan",
    "PlanError",
    "RunError",
    "compile",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module `parrotc` has no attribute `{name}`")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
