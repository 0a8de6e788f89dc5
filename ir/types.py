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
from dataclasses import dataclass
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

    def __str__(self) -> str:
        return f"list<{self.item}>"


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
    default: Json = None
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


def quote(text: str) -> str:
    """A text as a literal of the IR: JSON, with every character a reader may want to see kept."""
    return json.dumps(text, ensure_ascii=False)


def _bounds(**limits: Json) -> str:
    given = [
        f"{k}={quote(v) if isinstance(v, str) else v}" for k, v in limits.items() if v is not None
    ]
    return f"({', '.join(given)})" if given else ""
