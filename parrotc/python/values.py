"""Plain data as instances of the classes that a Python program is written with."""

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any

from parrotc.ir.types import Enum, Json, Record, Scored, Type
from parrotc.runtime import results
from parrotc.runtime.results import PythonTypes


class OwnTypes(PythonTypes):
    """Results as the classes of the program's own module, found by name.

    A record without a name is what several outputs make: it becomes the `NamedTuple` that has
    their names. What the module does not have is made as for any other program.
    """

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        super().__init__()
        self._namespace = namespace

    def build(self, type_: Type, data: Json) -> Any:
        match type_:
            case Scored(item=item):
                dist = {self.build(item, option): p for option, p in data["dist"].items()}
                return results.Scored(self.build(item, data["value"]), data["p"], dist)
            case Record(fields=fields) if own := self._own(type_):
                return own(**{f.name: self.build(f.type, data[f.name]) for f in fields})
        return super().build(type_, data)

    def _make(self, type_: Type) -> Any:
        own = self._own(type_) if isinstance(type_, Enum | Record) else None
        return own or super()._make(type_)

    def _own(self, type_: Enum | Record) -> Any:
        """The module's class for a type, None if it has none of that name and those fields."""
        if isinstance(type_, Enum):
            found = self._class(type_.name)
            names = [member.name for member in type_.members]
            is_enum = isinstance(found, enum.EnumMeta)
            return found if is_enum and list(found.__members__) == names else None
        names = [field.name for field in type_.fields]
        if type_.name:
            found = self._class(type_.name)
            return found if found is not None and _field_names(found) == names else None
        tuples = (v for v in self._namespace.values() if getattr(v, "_fields", ()) == tuple(names))
        return next((v for v in tuples if isinstance(v, type)), None)

    def _class(self, name: str) -> Any:
        found = self._namespace.get(name.rsplit(".", 1)[-1])
        return found if isinstance(found, type) else None


def _field_names(held: Any) -> list[str]:
    """The names of a class's fields, in order; those of a dataclass before its annotations."""
    if dataclasses.is_dataclass(held):
        return [field.name for field in dataclasses.fields(held)]
    if hasattr(held, "model_fields"):
        return list(held.model_fields)
    return list(typing.get_type_hints(held)) if typing.is_typeddict(held) else []


def from_data(annotation: Any, data: Any) -> Any:
    """Plain data as what an annotation says; what is no plain data passes as it is."""
    arguments = typing.get_args(annotation)
    match typing.get_origin(annotation):
        case origin if origin is list and isinstance(data, list) and arguments:
            return [from_data(arguments[0], item) for item in data]
        case types.UnionType | typing.Union if data is not None:
            return from_data(next(one for one in arguments if one is not type(None)), data)
        case results.Scored if isinstance(data, dict):
            dist = {from_data(arguments[0], option): p for option, p in data["dist"].items()}
            return results.Scored(from_data(arguments[0], data["value"]), data["p"], dist)
    if isinstance(annotation, enum.EnumMeta) and isinstance(data, str):
        return annotation[data] if data in annotation.__members__ else data
    if isinstance(annotation, type) and isinstance(data, dict) and _field_names(annotation):
        hints = typing.get_type_hints(annotation)
        return annotation(**{name: from_data(hints.get(name), v) for name, v in data.items()})
    return data
