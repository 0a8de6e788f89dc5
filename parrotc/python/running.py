"""From a decorated function to the program of its file, compiled when it is first called.

A `@pfunc` that is called by itself is a flow of one call. Such flows stand behind the text of the
file when it is compiled here, so that every place in the file keeps its offset.
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
from parrotc.flowhandle import FlowHandle
from parrotc.ir.diagnostic import CompileError, Diagnostic
from parrotc.ir.source import Source
from parrotc.program import LoadedProgram
from parrotc.python.places import Places
from parrotc.python.scope import ModuleScope
from parrotc.python.values import OwnTypes
from parrotc.targets import ModelOverrides

_CALL = "__call_"
_COMPILING = Lock()  # callers of one file wait for one program, instead of opening several


@dataclass(frozen=True)
class Request:
    """What decides which program a call runs on: the text of a file, and for what."""

    file: str
    text: str
    module: str
    engine: str | None
    models: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, Any], ...]


def handle(
    function: Callable[..., Any],
    *,
    alone: bool,
    engine: str | None = None,
    models: dict[str, str] | None = None,
    **settings: Any,
) -> FlowHandle:
    """The flow of a decorated function; `alone`: it is a `@pfunc`, and gets a flow of its own.

    Functions of one file share a program, and so its engines. Raises `CompileError`.
    """
    file = function.__code__.co_filename
    text = "".join(linecache.getlines(file, function.__globals__))
    if not text:
        message = f"the source of `{function.__name__}` cannot be read ({file})"
        raise CompileError([Diagnostic("E0100", message)])
    name = function.__name__
    if "<locals>" in function.__qualname__ or "." in function.__qualname__:
        raise CompileError([_nested(function, file, text)])
    given = tuple(sorted((models or {}).items())), tuple(sorted(settings.items()))
    with _COMPILING:
        program = _program(Request(file, text, function.__module__, engine, *given))
    return getattr(program, f"{_CALL}{name}" if alone else name)  # type: ignore[no-any-return]


def _nested(function: Callable[..., Any], file: str, text: str) -> Diagnostic:
    source = Source(file, text)
    line = function.__code__.co_firstlineno
    nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
    named = [n for n in nodes if n.name == function.__name__]
    node = min(named, key=lambda n: abs(n.lineno - line))
    return Diagnostic(
        "E0129",
        f"`{function.__name__}` stands inside something, and must stand at the top of its file",
        Places(source).name(node),
        notes=("the names that it uses are those of the file",),
    )


@cache
def _program(request: Request) -> LoadedProgram:
    given = setting.load(engine=request.engine, **dict(request.settings))
    overrides = ModelOverrides(
        given.engine or None, dict(request.models), given.model_cache or None
    )
    name = request.file if request.file.endswith(".py") else f"{request.file}.py"
    source = Source(name, request.text + _one_call_flows(name, request.text))
    try:
        compiled = compile_source(source, level=given.level, models=overrides)
    except CompileError as error:
        own = [d for d in error.diagnostics if not d.span or d.span.start < len(request.text)]
        raise CompileError(own or error.diagnostics) from None
    namespace = vars(sys.modules[request.module]) if request.module in sys.modules else {}
    folder = Path(request.file).resolve().parent
    return LoadedProgram(compiled.plan, folder=folder, settings=given, types=OwnTypes(namespace))


def _one_call_flows(name: str, text: str) -> str:
    """The text of a flow for each `@pfunc` of a file, with the same signature."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return ""  # the compilation says so
    scope = ModuleScope(Places(Source(name, text)), body)
    flows = []
    for node in body:
        decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
        called = [d.func if isinstance(d, ast.Call) else d for d in decorators]
        if not isinstance(node, ast.FunctionDef) or node.returns is None:
            continue
        if any(scope.from_parrotc(decorator) == "pfunc" for decorator in called):
            names = [arg.arg for arg in _all(node.args)]
            flows.append(
                f"@{_CALL}flow\ndef {_CALL}{node.name}({ast.unparse(node.args)})"
                f" -> {ast.unparse(node.returns)}:\n"
                f"    return {node.name}({', '.join(f'{n}={n}' for n in names)})\n"
            )
    return "".join([f"\nfrom parrotc import flow as {_CALL}flow\n", *flows]) if flows else ""


def _all(args: ast.arguments) -> list[ast.arg]:
    return [*args.posonlyargs, *args.args, *args.kwonlyargs]
