"""The types of values: what a hole may show, what a generation must give, what a flow returns.

One definition serves the checker, the IR, the plan and the runtime, so this file imports nothing
of ours. Values themselves are plain JSON data at every stage (`str`, `int`, `float`, `bool`,
`None`, `list`, `dict`): an enum value is its member's name, a record is a dict, a scored choice is
`{"value": …, "p": …, "dist": {…}}`. Python classes appear only at the edge, when a caller asks.

The text form of a type (`str(t)`) is the one the IR prints: `list<str>`, `int(ge=1, le=10)`,
`Answer`, `{reason: str, topic: scored<Topic>}`, `context`. Enums and records with a name are
declared once in a module and referred to by name.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

# None, bool, int, float, str, list, dict: a recursive alias costs mypy more than it gives
Json = Any


@dataclass(frozen=True, slots=True)
class Str:
    regex: str | None = None
    max_len: int | None = None

    def __str__(self) -> str:
        return "str" + _bounds(regex=self.regex, max_len=self.max_len)


@dataclass(frozen=True, slots=True)
class Int:
    ge: int | None = None
    le: int | None = None

    def __str__(self) -> str:
        return "int" + _bounds(ge=self.ge, le=self.le)


@dataclass(frozen=True, slots=True)
class Float:
    ge: float | None = None
    le: float | None = None

    def __str__(self) -> str:
        return "float" + _bounds(ge=self.ge, le=self.le)


@dataclass(frozen=True, slots=True)
class Bool:
    def __str__(self) -> str:
        return "bool"


@dataclass(frozen=True, slots=True)
class Nothing:
    """The type of `None`."""

    def __str__(self) -> str:
        return "none"


@dataclass(frozen=True, slots=True)
class ListOf:
    item: "Type"
    max_len: int | None = None

    def __str__(self) -> str:
        return f"list<{self.item}>" + _bounds(max_len=self.max_len)


@dataclass(frozen=True, slots=True)
class Optional:
    item: "Type"

    def __str__(self) -> str:
        return f"{self.item}?"


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Enum:
    """A closed choice declared by `enum`. Its values are member names."""

    name: str
    members: tuple[Member, ...]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Choice:
    """A union of literal texts: `"yes" | "no"`."""

    options: tuple[str, ...]

    def __str__(self) -> str:
        return f"choice({', '.join(quote(option) for option in self.options)})"


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    type: "Type"
    doc: str = ""
    default: Json = field(default=None, hash=False)  # may be a list
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A record. `name` is empty for the several outputs of a semantic function."""

    name: str
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field | None:
        return next((f for f in self.fields if f.name == name), None)

    def __str__(self) -> str:
        if self.name:
            return self.name
        return "{" + ", ".join(f"{f.name}: {f.type}" for f in self.fields) + "}"


@dataclass(frozen=True, slots=True)
class Scored:
    """A choice that comes back with the probability of every option."""

    item: "Enum | Choice"

    def __str__(self) -> str:
        return f"scored<{self.item}>"


@dataclass(frozen=True, slots=True)
class Context:
    """The state of a model after reading some tokens. Never a value a user sees."""

    def __str__(self) -> str:
        return "context"


Type = (
    Str
    | Int
    | Float
    | Bool
    | Nothing
    | ListOf
    | Optional
    | Enum
    | Choice
    | Record
    | Scored
    | Context
)

STR, INT, FLOAT, BOOL, NONE, CONTEXT = Str(), Int(), Float(), Bool(), Nothing(), Context()


def fits(given: Type, wanted: Type) -> bool:
    """Whether values of `given` have the shape that `wanted` asks for.

    Enums and choices are texts, an int may stand for a float, None and any item for an optional
    one, the empty list (`list<none>`) for every list. Bounds are left to `ir/schema.py`, which
    looks at the value.
    """
    match given, wanted:
        case (_, Optional(item=item)):
            inner = given.item if isinstance(given, Optional) else given
            return isinstance(inner, Nothing) or fits(inner, item)
        case (Str() | Enum() | Choice(), Str()) | (Str(), Enum() | Choice()):
            return True
        case (Choice() | Enum(), Choice() | Enum()):
            return isinstance(given, Choice) or isinstance(wanted, Choice) or given == wanted
        case (Int(), Int() | Float()) | (Float(), Float()):
            return True
        case ListOf(item=a), ListOf(item=b):
            return isinstance(a, Nothing) or fits(a, b)
        case Record(fields=fields), Record():
            return _fields_fit(fields, wanted.fields)
        case Scored(item=a), Scored(item=b):
            return fits(a, b)
    return given == wanted


def _fields_fit(given: tuple[Field, ...], wanted: tuple[Field, ...]) -> bool:
    held = {f.name: f.type for f in given}
    return len(held) <= len(wanted) and all(
        fits(held[f.name], f.type) if f.name in held else f.has_default for f in wanted
    )


def freeze(data: Json) -> Json:
    """The data with tuples for lists, so that what holds it can be hashed."""
    return tuple(map(freeze, data)) if isinstance(data, list | tuple) else data


def quote(text: str) -> str:
    """A text as a literal of the IR: JSON, with every character a reader may want to see kept."""
    return json.dumps(text, ensure_ascii=False)


def _bounds(**limits: Json) -> str:
    given = [
        f"{k}={quote(v) if isinstance(v, str) else v}" for k, v in limits.items() if v is not None
    ]
    return f"({', '.join(given)})" if given else ""


def named(type_: Type) -> Iterator[Enum | Record]:
    """The types with names in a type, parts before wholes."""
    match type_:
        case ListOf() | Optional() | Scored():
            yield from named(type_.item)
        case Record():
            for field in type_.fields:
                yield from named(field.type)
            if type_.name:
                yield type_
        case Enum():
            yield type_


def to_json(type_: Type) -> Json:
    """A type as plain data, whole: `from_json` gives an equal type."""
    match type_:
        case ListOf(item=item, max_len=int(length)):
            return {"kind": "list", "item": to_json(item), "max_len": length}
        case ListOf(item=item) | Optional(item=item) | Scored(item=item):
            return {"kind": _KIND_OF[type(type_)], "item": to_json(item)}
        case Enum(name=name, members=members):
            return {"kind": "enum", "name": name, "members": [[m.name, m.doc] for m in members]}
        case Record(name=name, fields=given):
            return {"kind": "record", "name": name, "fields": [_field_to_json(f) for f in given]}
    limits = {spec.name: getattr(type_, spec.name) for spec in fields(type_)}
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in limits.items() if v is not None}
    return {"kind": _KIND_OF[type(type_)], **plain}


def from_json(data: Json) -> Type:
    """The type that `to_json` wrote. Raises `ValueError` for anything else."""
    try:
        type_: Type = _from_json(data)
        return type_
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a type: {error}") from None


_KINDS: dict[str, type[Type]] = {
    "str": Str, "int": Int, "float": Float, "bool": Bool, "none": Nothing, "list": ListOf,
    "optional": Optional, "enum": Enum, "choice": Choice, "record": Record, "scored": Scored,
    "context": Context,
}  # fmt: skip
_KIND_OF = {cls: kind for kind, cls in _KINDS.items()}


def _field_to_json(field: Field) -> Json:
    data = {"name": field.name, "type": to_json(field.type), "doc": field.doc}
    return data | ({"default": field.default} if field.has_default else {})


def _from_json(data: Json) -> Any:
    kind, held = data["kind"], {name: value for name, value in data.items() if name != "kind"}
    match kind:
        case "list" | "optional" | "scored":
            held["item"] = _from_json(held["item"])
        case "enum":
            held["members"] = tuple(Member(name, doc) for name, doc in held["members"])
        case "choice":
            held["options"] = tuple(held["options"])
        case "record":
            held["fields"] = tuple(
                Field(
                    name=one["name"],
                    type=_from_json(one["type"]),
                    doc=one["doc"],
                    default=one.get("default"),
                    has_default="default" in one,
                )
                for one in held["fields"]
            )
    return _KINDS[kind](**held)
