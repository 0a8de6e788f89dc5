"""parrotc: a compiler and runtime for LLM programs.

    import parrotc

    program = parrotc.compile("map_reduce.pfn")     # or parrotc.load("map_reduce.pplan")
    summary = program.summarise(doc=text)

Importing this loads nothing else: each name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parrotc.eager.chat import Chat as Chat
    from parrotc.eager.graph import Graph as Graph
    from parrotc.eager.variable import Var as Var
    from parrotc.eager.words import variable as variable
    from parrotc.ir.diagnostic import CompileError as CompileError
    from parrotc.ir.diagnostic import Diagnostic as Diagnostic
    from parrotc.loading import compile_program as compile
    from parrotc.loading import load as load
    from parrotc.program import LoadedProgram as LoadedProgram
    from parrotc.python.decorators import flow as flow
    from parrotc.python.decorators import native as native
    from parrotc.python.decorators import pfunc as pfunc
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
    from parrotc.runtime.results import Scored as Scored

_HOMES = {
    "Chat": ("parrotc.eager.chat", "Chat"),
    "CompileError": ("parrotc.ir.diagnostic", "CompileError"),
    "Diagnostic": ("parrotc.ir.diagnostic", "Diagnostic"),
    "Graph": ("parrotc.eager.graph", "Graph"),
    "LoadedProgram": ("parrotc.program", "LoadedProgram"),
    "Plan": ("parrotc.runtime.plan", "Plan"),
    "PlanError": ("parrotc.runtime.plan", "PlanError"),
    "RunError": ("parrotc.runtime.errors", "RunError"),
    "Scored": ("parrotc.runtime.results", "Scored"),
    "Var": ("parrotc.eager.variable", "Var"),
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
    "variable": ("parrotc.eager.words", "variable"),
}

__all__ = [
    "Chat",
    "CompileError",
    "Diagnostic",
    "Graph",
    "LoadedProgram",
    "Plan",
    "PlanError",
    "RunError",
    "Scored",
    "Var",
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
    "variable",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module `parrotc` has no attribute `{name}`")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
