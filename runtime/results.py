"""Typed results: plain data as the Python values a caller expects.

An enum is a `StrEnum`, a record a frozen pydantic model, a tuple a tuple, a scored choice a
`Scored`. Classes are made once for a program, so results of two calls compare and pattern-
match as expected. pydantic is imported only when a program has a record.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from parrotc.ir import types
from parrotc.ir.types import (
    Bool,
    Choice,
    Enum,
    Float,
    Int,
    Json,
    ListOf,
    Nothing,
    Optional,
    Record,
    Str,
    Type,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Scored(Generic[T]):
    """A choice with its probability, and that of every option."""

    value: T
    p: float
    dist: dict[T, float]


class PythonTypes:
    """The Python classes of one program's types."""

    def __init__(self) -> None:
        self._classes: dict[Type, Any] = {}

    def build(self, type_: Type, data: Json) -> Any:
        """Data of this type as Python values."""
        match type_:
            case Enum():
                return self.of(type_)[data]
            case ListOf(item=item):
                return [self.build(item, one) for one in data]
            case Optional(item=item):
                return None if data is None else self.build(item, data)
            case Record(fields=fields):
                built = {f.name: self.build(f.type, data[f.name]) for f in fields}
                if _is_tuple(type_):
                    return tuple(built.values())
                return self.of(type_).model_construct(**built)
            case types.Scored(item=item):
                dist = {self.build(item, option): p for option, p in data["dist"].items()}
                return Scored(self.build(item, data["value"]), data["p"], dist)
        return data

    def of(self, type_: Type) -> Any:
        """The annotation, or class, that stands for a type in Python."""
        if type_ not in self._classes:
            self._classes[type_] = self._make(type_)
        return self._classes[type_]

    def _make(self, type_: Type) -> Any:
        match type_:
            case Str():
                return str
            case Int():
                return int
            case Float():
                return float
            case Bool():
                return bool
            case Nothing():
                return None
            case ListOf(item=item):
                return list[self.of(item)]  # type: ignore[misc]
            case Optional(item=item):
                return self.of(item) | None
            case Choice(options=options):
                return Literal[options]
            case Enum(name=name, members=members):
                return StrEnum(name, [(m.name, m.name) for m in members])
            case types.Scored():
                return Scored
            case Record() if _is_tuple(type_):
                return tuple[*(self.of(f.type) for f in type_.fields)]  # type: ignore[misc]
            case Record():
                return self._model(type_)
        raise TypeError(f"`{type_}` is not a type of values")

    def _model(self, record: Record) -> Any:
        from pydantic import ConfigDict, create_model
        from pydantic import Field as PydanticField

        fields: dict[str, Any] = {
            f.name: (
                self.of(f.type),
                PydanticField(
                    default=self.build(f.type, f.default) if f.has_default else ...,
                    description=f.doc or None,
                ),
            )
            for f in record.fields
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a field may be called like a method of BaseModel
            return create_model(
                record.name or "Outputs",
                __config__=ConfigDict(frozen=True, protected_namespaces=()),
                **fields,
            )


def _is_tuple(record: Record) -> bool:
    """Tuples are unnamed records with the fields 0, 1, …"""
    names: Sequence[str] = [f.name for f in record.fields]
    return not record.name and names == [str(n) for n in range(len(names))]
