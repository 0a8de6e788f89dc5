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
    from parrotc.python.decorators import flow as flow
    from parrotc.python.decorators import native as native
    from parrotc.python.decorators import pfunc as pfunc
    from parrotc.python.words import Scored as Scored
    from parrotc.python.words import assistant as assistant
    from parrotc.python.words import embed as embed
    from parrotc.python.words import env as env
    from parrotc.python.words import model as model
    from parrotc.python.words import system as system
    from parrotc.python.words import tool as tool
    from parrotc.python.words import user as user
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
    "Scored": ("parrotc.python.words", "Scored"),
    "assistant": ("parrotc.python.words", "assistant"),
    "compile": ("parrotc.loading", "compile_program"),
    "embed": ("parrotc.python.words", "embed"),
    "env": ("parrotc.python.words", "env"),
    "flow": ("parrotc.python.decorators", "flow"),
    "load": ("parrotc.loading", "load"),
    "model": ("parrotc.python.words", "model"),
    "native": ("parrotc.python.decorators", "native"),
    "pfunc": ("parrotc.python.decorators", "pfunc"),
    "system": ("parrotc.python.words", "system"),
    "tool": ("parrotc.python.words", "tool"),
    "user": ("parrotc.python.words", "user"),
}

__all__ = [
    "CompileError",
    "Diagnostic",
    "LoadedProgram",
    "Plan",
    "PlanError",
    "RunError",
    "Scored",
    "assistant",
    "compile",
    "embed",
    "env",
    "flow",
    "load",
    "model",
    "native",
    "pfunc",
    "system",
    "tool",
    "user",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module `parrotc` has no attribute `{name}`")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
