"""Native functions: Python of the program itself, in a thread of this process.

    @P.native_function()
    def shout(text: P.Input, loud: P.Output):
        loud.set(text.upper())

The function sees plain values. No code travels: a core that the program talks to sees the values
only.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from parrotc.compat.parrot.parameters import Parameter, ParamType
from parrotc.compat.parrot.templates import places_of
from parrotc.eager.here import offered
from parrotc.eager.library import Callee, Library
from parrotc.eager.pytypes import type_of
from parrotc.ir.names import Names
from parrotc.ir.ops import Block, Flow, Module, Native, NativeDecl, Param
from parrotc.ir.types import STR, Field, Record, Type

Run = Callable[..., Any]


class NativeOutput:
    """What stands for an output inside of a native function."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.value: str | None = None

    def set(self, value: Any) -> None:
        self.value = str(value)


def runner(function: Callable[..., Any], params: Sequence[Parameter]) -> Run:
    """What runs a function on the values of its inputs, in order: its one output, or a mapping.

    It raises `TypeError` for an output that was not given.
    """
    inputs = [param.name for param in params if not param.is_output]
    outputs = [param.name for param in params if param.is_output]
    named = [name for name in outputs if name in inspect.signature(function).parameters]

    def run(*values: Any) -> Any:
        cells = {name: NativeOutput(name) for name in outputs}
        given = dict(zip(inputs, values, strict=True)) | {name: cells[name] for name in named}
        returned = function(**given)
        unset = [name for name in outputs if cells[name].value is None]
        gave = returned if isinstance(returned, tuple) else (returned,)
        if returned is not None and len(gave) == len(unset):
            for name, value in zip(unset, gave, strict=True):
                cells[name].set(value)
            unset = []
        if unset:
            raise TypeError(
                f"`{function.__name__}` gave no value for its output `{unset[0]}`:"
                f" `{unset[0]}.set(…)`, or return it"
            )
        if len(outputs) == 1:
            return cells[outputs[0]].value
        return {name: cell.value for name, cell in cells.items()}

    return run


def native_callee(
    function: Callable[..., Any], run: Run, params: Sequence[Parameter], timeout: float
) -> Callee:
    """A native function as a flow of one call. Raises `TypeError` for types that it cannot have."""
    name, (span, _) = function.__name__, places_of(function)
    outputs = [param.name for param in params if param.is_output]
    names = Names()
    values = [names.fresh(p.name, _type(p)) for p in params if not p.is_output]
    result: Type = STR
    if len(outputs) > 1:
        result = Record("", tuple(Field(output, STR) for output in outputs))
    given = tuple(map(Param, values))
    declared = NativeDecl(name, offered(run), given, result, timeout=timeout, span=span)
    made = names.fresh("result", result)
    op = Native(results=(made,), native=name, args=tuple(values), span=span)
    flow = Flow(name, given, Block(tuple(values), (op,), (made,)), span=span)
    sources = (span.source,) if span else ()
    module = Module(name, natives=(declared,), flows=(flow,))
    return Callee(Library(module, Path.cwd(), sources=sources, here=(run,)), flow)


def _type(param: Parameter) -> Type:
    if param.typ is ParamType.INPUT_LOC or param.annotation is None:
        return STR
    return type_of(param.annotation, None)
