"""The rules of types: how they read, which value may stand where, what two values have in common.

A constraint (`int(ge=1, le=10)`, `str(regex=…)`) says what a model may generate. A value that is
passed on is not checked against it again, unless it is a literal; so an `int` may stand where
`int(ge=1, le=10)` is wanted. `BROKEN` is the type of anything that is already reported: it fits
everywhere, so that one cause gives one error.
"""

import re
from dataclasses import replace

from parrotc.ir.types import (
    FLOAT,
    INT,
    NONE,
    STR,
    Bool,
    Choice,
    Enum,
    Field,
    Float,
    Int,
    Json,
    ListOf,
    Nothing,
    Optional,
    Record,
    Scored,
    Str,
    Type,
    quote,
)

BROKEN: Type = Record("<error>", ())  # a name that no author can write
EMPTY_LIST = ListOf(NONE)  # the type of `[]` where nothing says what it is a list of


def tuple_of(*items: Type) -> Record:
    """The type of `(a, b)`: a record without a name, with the fields "0", "1", …"""
    return Record("", tuple(Field(str(i), item) for i, item in enumerate(items)))


def is_tuple(type_: Type) -> bool:
    return (
        isinstance(type_, Record)
        and not type_.name
        and [f.name for f in type_.fields] == [str(i) for i in range(len(type_.fields))]
    )


def is_number(type_: Type) -> bool:
    return isinstance(type_, Int | Float)


def is_text(type_: Type) -> bool:
    return isinstance(type_, Str | Choice)


def is_shown(type_: Type) -> bool:
    """Whether a hole can show a value of the type as it is."""
    return isinstance(type_, Str | Int | Float | Bool | Enum | Choice) or type_ == BROKEN


def describe(type_: Type) -> str:
    """The type as an author would write it."""
    match type_:
        case ListOf(item=Nothing()):
            return "list"
        case ListOf(item=item, max_len=length):
            return f"list[{describe(item)}]" + (f"(max_len={length})" if length else "")
        case Optional(item=item):
            return f"{describe(item)}?"
        case Choice(options=options):
            return " | ".join(quote(option) for option in options)
        case Scored(item=item):
            return f"scored[{describe(item)}]"
        case Nothing():
            return "None"
        case Record(name="", fields=fields) if is_tuple(type_):
            return "(" + ", ".join(describe(f.type) for f in fields) + ")"
        case Record(name="", fields=fields):
            return "(" + ", ".join(f"{f.name}: {describe(f.type)}" for f in fields) + ")"
    return str(type_)


def a(type_: Type) -> str:
    """The type with an article and in backticks, for messages."""
    name = describe(type_)
    if type_ == NONE:
        return "`None`"
    article = "an" if name[0] in "aeiouAEIO" else "a"
    return f"{article} `{name}`"


def assignable(given: Type, wanted: Type) -> bool:
    """Whether a value of type `given` may stand where `wanted` is asked for."""
    if given == wanted or BROKEN in (given, wanted):
        return True
    match given, wanted:
        case (Int(), Int() | Float()) | (Float(), Float()) | (Str() | Choice(), Str()):
            return True
        case Choice(), Choice():
            return set(given.options) <= set(wanted.options)
        case Nothing(), Optional():
            return True
        case Optional(), Optional():
            return assignable(given.item, wanted.item)
        case _, Optional():
            return assignable(given, wanted.item)
        case ListOf(), ListOf():
            return given == EMPTY_LIST or assignable(given.item, wanted.item)
        case Scored(), Scored():
            return assignable(given.item, wanted.item)
        case Record(), Record():
            return "" in (given.name, wanted.name) and _same_fields(given, wanted)
    return False


def _same_fields(given: Record, wanted: Record) -> bool:
    """Records without a name go by structure: the same fields, each of a type that fits."""
    if {f.name for f in given.fields} != {f.name for f in wanted.fields}:
        return False
    types = {f.name: f.type for f in given.fields}
    return all(assignable(types[f.name], f.type) for f in wanted.fields)


def lacks_class(given: Type, wanted: Type) -> bool:
    """Whether `wanted` names a class where `given`, which may stand for it, goes by structure."""
    match given, wanted:
        case Optional(), _:
            return lacks_class(given.item, wanted)
        case _, Optional():
            return lacks_class(given, wanted.item)
        case ListOf(), ListOf():
            return lacks_class(given.item, wanted.item)
        case Record(name=""), Record():
            pairs = ((given.field(field.name), field.type) for field in wanted.fields)
            inner = (lacks_class(field.type, type_) for field, type_ in pairs if field)
            return bool(wanted.name) or any(inner)
    return False


def join(a: Type, b: Type) -> Type | None:
    """The narrowest type that holds the values of both; None if there is none."""
    if a == b or b == BROKEN:
        return a
    match a, b:
        case _ if a == BROKEN:
            return b
        case (Int(), Int()):
            return INT
        case ((Int() | Float()), (Int() | Float())):
            return FLOAT
        case ((Str() | Choice()), (Str() | Choice())):
            return STR
        case Nothing(), _:
            return b if isinstance(b, Optional) else Optional(b)
        case _, Nothing():
            return a if isinstance(a, Optional) else Optional(a)
        case (Optional(), _) | (_, Optional()):
            inner = join(without_none(a), without_none(b))
            return None if inner is None else Optional(inner)
        case ListOf(), ListOf():
            return _join_lists(a, b)
        case Record(), Record() if assignable(a, b) or assignable(b, a):
            return b if assignable(a, b) else a
        case Record(name=""), Record(name=""):
            return _join_fields(a, b)
    return None


def _join_fields(a: Record, b: Record) -> Type | None:
    """Records without a name that have the same fields: each holds what either holds."""
    fields = []
    for field in a.fields:
        other = b.field(field.name)
        type_ = join(field.type, other.type) if other else None
        if type_ is None or len(a.fields) != len(b.fields):
            return None
        fields.append(replace(field, type=type_))
    return Record("", tuple(fields))


def _join_lists(a: ListOf, b: ListOf) -> Type | None:
    if EMPTY_LIST in (a, b):
        return b if a == EMPTY_LIST else a
    item = join(a.item, b.item)
    return None if item is None else ListOf(item)


def without_none(type_: Type) -> Type:
    return type_.item if isinstance(type_, Optional) else type_


def comparable(a: Type, b: Type) -> bool:
    """Whether `a == b` can be true for some values."""
    return join(a, b) is not None


def fits_literal(value: Json, wanted: Type) -> str:
    """Why a literal of the right kind is not one of the type's values; empty if it is."""
    if value is None:
        return ""
    match wanted:
        case Int(ge=low, le=high) | Float(ge=low, le=high):
            if low is not None and value < low:
                return f"it is less than {low}"
            if high is not None and value > high:
                return f"it is more than {high}"
        case Str(regex=regex, max_len=most):
            if regex is not None and re.fullmatch(regex, value) is None:
                return f"it does not match {quote(regex)}"
            if most is not None and len(value) > most:
                return f"it has more than {most} characters"
    return ""


def names_of(type_: Enum | Choice) -> tuple[str, ...]:
    """What a choice chooses from."""
    return type_.options if isinstance(type_, Choice) else tuple(m.name for m in type_.members)


def attributes(type_: Type) -> dict[str, Type]:
    """What can be read from a value with a dot."""
    match type_:
        case Record(fields=fields) if not is_tuple(type_):
            return {f.name: f.type for f in fields}
        case Scored(item=item):
            chances = Record("", tuple(Field(name, FLOAT) for name in names_of(item)))
            return {"value": item, "p": FLOAT, "dist": chances}
        case Enum():
            return {"name": STR, "doc": STR}
    return {}
