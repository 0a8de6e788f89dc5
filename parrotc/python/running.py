"""From a decorated function to the program of its file, compiled when it is first called.

A `@pfunc` that is called by itself is a flow of one call.
"""

import ast
import linecache
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from parrotc import settings as setting
from parrotc.driver import compile_source
from parrotc.eager.library import Library
from parrotc.flowhandle import FlowHandle
from parrotc.ir.diagnostic import CompileError, Diagnostic
from parrotc.ir.source import Source
from parrotc.program import LoadedProgram
from parrotc.python.parsing import parsed
from parrotc.python.places import Places
from parrotc.python.values import OwnTypes
from parrotc.targets import ModelOverrides

_COMPILING = Lock()  # callers of one file wait for one program, instead of opening several


@dataclass(frozen=True)
class Request:
    """What decides which program a call runs on: the text of a file, and for what."""

    file: str
    text: str
    module: str
    models: tuple[tuple[str, str], ...]
    settings: setting.Settings


def handle(
    function: Callable[..., Any],
    *,
    engine: str | None = None,
    models: dict[str, str] | None = None,
    **settings: Any,
) -> FlowHandle:
    """The flow of a decorated function; that of a `@pfunc` is one call of it.

    Functions of one file share a program, and so its engines. Raises `CompileError`.
    """
    file, text = _read(function)
    given = setting.load(engine=engine, **settings)
    named = tuple(sorted((models or {}).items()))
    with _COMPILING:
        program = _program(Request(file, text, function.__module__, named, given))
    flow: FlowHandle = getattr(program, function.__name__)
    return flow


def library(function: Callable[..., Any]) -> Library:
    """What the file of a decorated function declares, to be called eagerly.

    Raises `CompileError`.
    """
    file, text = _read(function)
    with _COMPILING:
        return _library(file, text, function.__module__)


def _read(function: Callable[..., Any]) -> tuple[str, str]:
    """The file of a function, and its text. Raises `CompileError`."""
    file = function.__code__.co_filename
    text = "".join(linecache.getlines(file, function.__globals__))
    if not text:
        message = f"the source of `{function.__name__}` cannot be read ({file})"
        raise CompileError([Diagnostic("E0100", message)])
    if "<locals>" in function.__qualname__ or "." in function.__qualname__:
        raise CompileError([_nested(function, file, text)])
    return file, text


def _nested(function: Callable[..., Any], file: str, text: str) -> Diagnostic:
    """That a function does not stand at the top of its file, at its place if that can be found."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(parsed(text)) if isinstance(node, kinds)]
    line = function.__code__.co_firstlineno
    named = [node for node in nodes if node.name == function.__name__]
    node = min(named, key=lambda node: abs(node.lineno - line), default=None)
    return Diagnostic(
        "E0129",
        f"`{function.__name__}` stands inside something, and must stand at the top of its file",
        Places(Source(file, text)).name(node) if node else None,
        notes=("the names that it uses are those of the file",),
    )


@cache
def _program(request: Request) -> LoadedProgram:
    given = request.settings
    overrides = ModelOverrides.of(given, dict(request.models))
    source = _source(request.file, request.text)
    compiled = compile_source(source, level=given.level, models=overrides, alone=True)
    folder = Path(request.file).resolve().parent
    types = _types(request.module)
    return LoadedProgram(compiled.plan, folder=folder, settings=given, types=types)


@cache
def _library(file: str, text: str, module: str) -> Library:
    return Library.of(_source(file, text), Path(file).resolve().parent, _types(module))


def _source(file: str, text: str) -> Source:
    return Source(file if file.endswith(".py") else f"{file}.py", text)


def _types(module: str) -> OwnTypes:
    return OwnTypes(vars(sys.modules[module]) if module in sys.modules else {})
