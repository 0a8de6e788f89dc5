"""Mocks while a test runs: what they answer, how often they were asked, whether they are used up.

mock rate -> each [3, 9]          the first call gives 3, the second 9, a third one is a failure
mock solve -> {answer: "4"}       each call gives it; the output that is left out is empty
"""

from collections.abc import Sequence
from dataclasses import dataclass

from parrotc.ir.schema import problem
from parrotc.ir.types import (
    Bool,
    Choice,
    Enum,
    Float,
    Int,
    Json,
    ListOf,
    Optional,
    Record,
    Scored,
    Str,
    Type,
)
from parrotc.lower.testing import MockStatement
from parrotc.runtime.errors import Failed


@dataclass
class Mock:
    """A `mock` that a test has come to. `drawn` counts the answers it has given."""

    statement: MockStatement
    values: Sequence[Json]
    drawn: int = 0

    @classmethod
    def of(cls, statement: MockStatement, value: Json) -> "Mock":
        """Raises `Failed` for a value that the function could not give."""
        values = value if statement.node.each else [value]
        for one in values:
            found = _problem(statement.result, one)
            if found:
                name = statement.node.function.id
                message = f"`{name}` gives `{statement.result}`, and its mock does not: {found}"
                raise Failed("E0804", message)
        return cls(statement, [_whole(statement.result, one) for one in values])

    def draw(self) -> Json:
        """The next answer. Raises `Failed` when `each` has none left."""
        self.drawn += 1
        if not self.statement.node.each:
            return self.values[0]
        if self.drawn <= len(self.values):
            return self.values[self.drawn - 1]
        count = len(self.values)
        name = self.statement.node.function.id
        held = f"{count} value{'s' * (count != 1)}"
        raise Failed(
            "E0802",
            f"this is call {self.drawn} of `{name}`, and its mock has {held}",
            help=f"give `each` a value for every call, or say `mock {name} -> …` for all of them",
        )


def _problem(type_: Type, value: Json) -> str | None:
    """Why a function of this type cannot give the value. Outputs may be left out."""
    match type_, value:
        case Scored(item=item), {"0": chosen, "1": p}:
            is_probability = 0 <= p <= 1
            return problem(item, chosen) if is_probability else f"{p} is no probability"
        case Record(name=""), dict():
            found = (_problem(f.type, value[f.name]) for f in type_.fields if f.name in value)
            return next(filter(None, found), None)
    return problem(type_, value)


def _whole(type_: Type, value: Json) -> Json:
    """The value as a call would give it: nothing left out, a scored choice with every option."""
    match type_, value:
        case Scored(item=item), {"0": chosen, "1": p}:
            others = [name for name in _options(item) if name != chosen]
            dist = {name: (1 - p) / len(others) for name in others} | {chosen: p}
            return {"value": chosen, "p": p, "dist": dist}
        case Record(name="", fields=fields), dict():
            return {
                f.name: _whole(f.type, value[f.name]) if f.name in value else _blank(f.type)
                for f in fields
            }
    return value


def _options(type_: Enum | Choice) -> Sequence[str]:
    return type_.options if isinstance(type_, Choice) else [m.name for m in type_.members]


def _blank(type_: Type) -> Json:
    """The emptiest value of a type. Bounds do not matter: nobody reads what a test leaves out."""
    match type_:
        case Str():
            return ""
        case Bool():
            return False
        case Int() | Float():
            return 0
        case ListOf():
            return []
        case Enum() | Choice():
            return _options(type_)[0]
        case Scored(item=item):
            return _whole(type_, {"0": _blank(item), "1": 1.0})
        case Record(fields=fields):
            return {field.name: _blank(field.type) for field in fields}
        case Optional():
            return None
    return None
