"""A program as a `.pyi` file, so that editors and type checkers know what importing it gives.

class _summarise(Protocol):
    def __call__(self, doc: str, size: int = 1200, *, seed: …, timeout: …) -> str: ...
    async def acall(self, …) -> str: ...
    def stream(self, …) -> AsyncIterator[str]: ...
summarise: _summarise
"""

from collections.abc import Sequence

from parrotc.check.program import FlowSymbol, ParamInfo, PfuncSymbol, Program
from parrotc.ir.types import (
    Bool,
    Choice,
    Enum,
    Float,
    Int,
    ListOf,
    Nothing,
    Optional,
    Record,
    Scored,
    Str,
    Type,
    named,
)

_HEAD = '''"""Written by parrotc: do not edit."""

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Literal, Protocol

from parrotc.runtime.results import Scored
from pydantic import BaseModel
'''
_ALWAYS = "seed: int | None = None, timeout: float | None = None"


def stubs(program: Program) -> str:
    """The text of the stub file of a program that has no errors."""
    symbols = [s for s in program.exports.values() if isinstance(s, FlowSymbol | PfuncSymbol)]
    types: dict[str, Enum | Record] = {}
    for symbol in symbols:
        for type_ in (*(param.type for param in symbol.params), symbol.result):
            for one in named(type_):
                types.setdefault(one.name, one)
    parts = [_HEAD, *map(_class, types.values()), *map(_flow, symbols)]
    return "\n".join(parts)


def _class(type_: Enum | Record) -> str:
    if isinstance(type_, Enum):
        rows = [f'    {member.name} = "{member.name}"\n' for member in type_.members]
        return f"class {_last(type_.name)}(StrEnum):\n{''.join(rows)}"
    return _record(_last(type_.name), type_)


def _record(name: str, record: Record) -> str:
    rows = [
        f"    {field.name}: {_annotation(field.type)}{' = ...' if field.has_default else ''}\n"
        for field in record.fields
    ]
    return f"class {name}(BaseModel):\n{''.join(rows)}"


def _flow(symbol: FlowSymbol | PfuncSymbol) -> str:
    name, outputs = symbol.name, ""
    result = _annotation(symbol.result)
    if isinstance(symbol.result, Record) and not symbol.result.name:
        result = f"_{name}_outputs"
        outputs = _record(result, symbol.result) + "\n"
    takes = ", ".join(["self", *map(_param, symbol.params), "*", _ALWAYS])
    return (
        f"{outputs}class _{name}(Protocol):\n"
        f"    def __call__({takes}) -> {result}: ...\n"
        f"    async def acall({takes}) -> {result}: ...\n"
        f"    def stream({takes}) -> AsyncIterator[{result}]: ...\n\n"
        f"{name}: _{name}\n"
    )


def _param(param: ParamInfo) -> str:
    simple = isinstance(param.default, bool | int | float | str | None)
    default = f" = {param.default!r}" if simple else " = ..."
    return f"{param.name}: {_annotation(param.type)}{default if param.has_default else ''}"


def _annotation(type_: Type) -> str:
    match type_:
        case Str():
            return "str"
        case Int():
            return "int"
        case Float():
            return "float"
        case Bool():
            return "bool"
        case Nothing():
            return "None"
        case ListOf(item=item):
            return f"list[{_annotation(item)}]"
        case Optional(item=item):
            return f"{_annotation(item)} | None"
        case Choice(options=options):
            return f"Literal[{', '.join(map(repr, options))}]"
        case Scored(item=item):
            return f"Scored[{_annotation(item)}]"
        case Enum() | Record() if type_.name:
            return _last(type_.name)
        case Record(fields=fields):
            return _tuple([field.type for field in fields])
    raise TypeError(f"`{type_}` is not a type of values")


def _tuple(types: Sequence[Type]) -> str:
    return f"tuple[{', '.join(map(_annotation, types))}]"


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]
