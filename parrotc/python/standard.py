"""Flows and semantic functions of the standard library, as Python sees them.

Their bodies are in the `.pfn` file beside the Python module, which declares what they take and
give, for editors and type checkers. A flow that names one means that of the `.pfn` file.

    @standard
    def reply(turns: list[Turn]) -> str:
        \"\"\"The assistant's next turn.\"\"\"
"""

import sys
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from parrotc.python.decorators import Compiled, P, R

if TYPE_CHECKING:
    from parrotc.eager.library import Callee, Library
    from parrotc.flowhandle import FlowHandle
    from parrotc.program import LoadedProgram

_COMPILING = Lock()  # callers of one module wait for one program, instead of opening several


class Standard(Compiled[P, R]):
    """A function of the standard library. Called by itself, it is a program of its own."""

    def compile(
        self, *, engine: str | None = None, models: dict[str, str] | None = None, **settings: Any
    ) -> "FlowHandle":
        """See `Compiled.compile`. Functions of one module share a program, and so its engines."""
        given = tuple(sorted((models or {}).items())), tuple(sorted(settings.items()))
        with _COMPILING:
            program = _program(self._function.__module__, engine, *given)
        flow: FlowHandle = getattr(program, self._function.__name__)
        return flow

    @cached_property
    def callee(self) -> "Callee":
        """What a graph captures when this is given a variable."""
        with _COMPILING:
            return _library(self._function.__module__).callee(self._function.__name__)


def standard(function: Callable[P, R], /) -> Standard[P, R]:
    """What `function` declares is in the `.pfn` file of its module, under the same name."""
    return Standard(function)


@cache
def _library(module: str) -> "Library":
    from parrotc.check.loader import standard_source
    from parrotc.eager.library import Library
    from parrotc.python.values import OwnTypes

    types = OwnTypes(vars(sys.modules[module]))
    return Library.of(standard_source(module.rpartition(".")[2]), Path.cwd(), types)


@cache
def _program(
    module: str,
    engine: str | None,
    models: tuple[tuple[str, str], ...],
    settings: tuple[tuple[str, Any], ...],
) -> "LoadedProgram":
    from parrotc import settings as setting
    from parrotc.check.loader import standard_source
    from parrotc.driver import compile_source
    from parrotc.program import LoadedProgram
    from parrotc.python.values import OwnTypes
    from parrotc.targets import ModelOverrides

    given = setting.load(engine=engine, **dict(settings))
    overrides = ModelOverrides.of(given, dict(models))
    source = standard_source(module.rpartition(".")[2])
    compiled = compile_source(source, level=given.level, models=overrides, alone=True)
    types = OwnTypes(vars(sys.modules[module]))
    return LoadedProgram(compiled.plan, folder=Path.cwd(), settings=given, types=types)
