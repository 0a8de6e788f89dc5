"""What a call is given: plain values, variables, and lists and records that hold variables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parrotc.eager.library import Callee
from parrotc.eager.node import Node
from parrotc.eager.place import Place
from parrotc.eager.variable import Var
from parrotc.ir.types import Json, ListOf, Optional, Record, Type, fits
from parrotc.runtime.errors import Failed, RunError
from parrotc.runtime.values import as_input


@dataclass(frozen=True, slots=True)
class Known:
    """A value that is there, as data."""

    type: Type
    data: Json

    def nodes(self) -> Iterator[Node]:
        yield from ()


@dataclass(frozen=True, slots=True)
class Later:
    """What a node will give; `fields` leads to the part of it that is meant."""

    node: Node
    fields: tuple[str, ...]

    def nodes(self) -> Iterator[Node]:
        yield self.node


@dataclass(frozen=True, slots=True)
class Many:
    items: "tuple[Argument, ...]"
    type: Type

    def nodes(self) -> Iterator[Node]:
        for item in self.items:
            yield from item.nodes()


@dataclass(frozen=True, slots=True)
class Parts:
    names: tuple[str, ...]
    values: "tuple[Argument, ...]"
    type: Type

    def nodes(self) -> Iterator[Node]:
        for value in self.values:
            yield from value.nodes()


@dataclass(frozen=True, slots=True)
class Missing:
    """The parameter has its default."""

    def nodes(self) -> Iterator[Node]:
        yield from ()


Argument = Known | Later | Many | Parts | Missing


def bound(
    callee: Callee, args: Sequence[Any], kwargs: Mapping[str, Any], place: Place | None
) -> tuple[Argument, ...]:
    """An argument for each parameter of a call.

    Raises `TypeError` for a call that does not fit the parameters, as Python does, and `RunError`
    E0607 for a value of a wrong type.
    """
    params = callee.flow.params
    names = [param.value.name for param in params]
    given = _named(callee.name, names, args, kwargs)
    found: list[Argument] = []
    try:
        for name, param in zip(names, params, strict=True):
            if name in given:
                found.append(_argument(name, param.value.type, given[name]))
            elif param.has_default:
                found.append(Missing())
            else:
                raise TypeError(f"`{callee.name}` needs the input `{name}`")
    except Failed as failed:
        raise RunError(failed.at(place.span() if place else None)) from None
    return tuple(found)


def _named(
    callee: str, names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    if len(args) > len(names):
        raise TypeError(f"`{callee}` takes {len(names)} inputs, not {len(args)}")
    given = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name in given:
            raise TypeError(f"`{callee}` got two values for `{name}`")
        if name not in names:
            takes = ", ".join(f"`{one}`" for one in names) or "no inputs"
            raise TypeError(f"`{callee}` has no input `{name}`; it takes {takes}")
        given[name] = value
    return given


def _argument(name: str, type_: Type, given: Any) -> Argument:
    if isinstance(given, Var):
        return _later(name, type_, given)
    if not holds_variable(given):
        return Known(type_, as_input(name, type_, given))
    inner = type_.item if isinstance(type_, Optional) else type_
    match inner, given:
        case ListOf(item=item), list() | tuple():
            items = (_argument(f"{name}[{n}]", item, one) for n, one in enumerate(given))
            return Many(tuple(items), inner)
        case Record(), Mapping():
            return _parts(name, inner, given)
    raise Failed("E0607", f"{name}: a `{type_}` is wanted, and here is a {type(given).__name__}")


def _parts(name: str, type_: Record, given: Mapping[str, Any]) -> Parts:
    for extra in given.keys() - {field.name for field in type_.fields}:
        raise Failed("E0607", f"{name}: `{type_}` has no field `{extra}`")
    values: list[Argument] = []
    for field in type_.fields:
        if field.name in given:
            values.append(_argument(f"{name}.{field.name}", field.type, given[field.name]))
        elif field.has_default:
            values.append(Known(field.type, field.default))
        else:
            raise Failed("E0607", f"{name}: the field `{field.name}` is missing")
    return Parts(tuple(field.name for field in type_.fields), tuple(values), type_)


def _later(name: str, type_: Type, var: "Var[Any]") -> Later:
    if not fits(var._type, type_):
        message = f"{name}: a `{type_}` is wanted, and the variable `{var.name}` is a `{var._type}`"
        raise Failed("E0607", message, notes=(f"the input `{name}` is a `{type_}`",))
    return Later(var._node, var._fields)


def holds_variable(given: Any) -> bool:
    """Whether a value is a variable, or a list or mapping that holds one."""
    if isinstance(given, Var):
        return True
    if isinstance(given, list | tuple):
        return any(map(holds_variable, given))
    return isinstance(given, dict) and any(map(holds_variable, given.values()))
