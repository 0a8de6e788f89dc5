"""The parts of a value that is not there yet, as far as its type says which it has."""

from collections.abc import Sequence

from parrotc.ir.types import FLOAT, Record, Scored, Type


def field_type(type_: Type, name: str) -> Type | None:
    """The type of a field of a value, if it has one of that name."""
    match type_:
        case Record():
            found = type_.field(name)
            return found.type if found else None
        case Scored(item=item):
            return {"value": item, "p": FLOAT}.get(name)
    return None


def type_at(type_: Type, fields: Sequence[str]) -> Type:
    """The type of the part that fields lead to, each of which its value has."""
    for name in fields:
        found = field_type(type_, name)
        assert found is not None
        type_ = found
    return type_


def field_names(type_: Type) -> tuple[str, ...] | None:
    """What a value is unpacked into: the outputs of a call that has several; else None."""
    if isinstance(type_, Record) and not type_.name:
        return tuple(field.name for field in type_.fields)
    return None
