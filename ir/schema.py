"""What a type demands of text and of data: constraints, JSON Schemas, reading and checking.

A leaf (it knows only `ir/types.py`), so that the planner, the reference evaluation and the
executor share one answer to three questions: what must a generation match, which value does a
generated text stand for, and does a value that came from outside have the type it should.

    constraint_of(Int(1, 3))               choices "1", "2", "3"
    read(ListOf(STR), '["a", "b"]')        ["a", "b"]
    problem(ListOf(INT), [1, "b"])         '[1]: a text where `int` was expected'
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from parrotc.ir.types import (
    Bool,
    Choice,
    Context,
    Enum,
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
)

MAX_CHOICES = 128  # a bounded int with more values than this becomes a schema


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a generated text must match; at most one of the first three is set, none for free text.

    `choices`: one of these texts (with `scored`, the probability of each is reported).
    `regex`: a full match. `json_schema`: a JSON document of that schema.
    """

    choices: tuple[str, ...] | None = None
    regex: str | None = None
    json_schema: str | None = None  # JSON text, with fields in the author's order
    scored: bool = False


def constraint_of(type_: Type) -> Constraint:
    """The constraint of a generation that gives a value of this type."""
    match type_:
        case Str(regex=None, max_len=None):
            return Constraint()
        case Str(regex=None, max_len=length):
            return Constraint(regex=f"(?s:.{{0,{length}}})")
        case Str(regex=regex):
            return Constraint(regex=regex)
        case Scored(item=item):
            return Constraint(choices=options_of(item), scored=True)
    options = options_of(type_)
    if options:
        return Constraint(choices=options)
    # not canonical: a model writes the fields in the order of the schema, so it is the author's
    schema = json.dumps(json_schema(type_), ensure_ascii=False, separators=(",", ":"))
    return Constraint(json_schema=schema)


def options_of(type_: Type) -> tuple[str, ...]:
    """The texts of a type with few values, in order; empty for any other type."""
    match type_:
        case Enum(members=members):
            return tuple(member.name for member in members)
        case Choice(options=options):
            return options
        case Bool():
            return ("true", "false")
        case Int(ge=int(low), le=int(high)) if high - low < MAX_CHOICES:
            return tuple(map(str, range(low, high + 1)))
    return ()


def canonical(value: Json) -> str:
    """JSON text that is the same for equal data: sorted keys, no spaces."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def json_schema(type_: Type) -> Json:
    """The JSON Schema of a type's values; records are written out where they stand."""
    match type_:
        case Str(regex=regex, max_len=length):
            return _given(type="string", pattern=regex and f"^(?:{regex})$", maxLength=length)
        case Int(ge=low, le=high):
            return _given(type="integer", minimum=low, maximum=high)
        case Float(ge=low, le=high):
            return _given(type="number", minimum=low, maximum=high)
        case Bool():
            return {"type": "boolean"}
        case Nothing():
            return {"type": "null"}
        case ListOf(item=item, max_len=length):
            return _given(type="array", items=json_schema(item), maxItems=length)
        case Optional(item=item):
            return {"anyOf": [json_schema(item), {"type": "null"}]}
        case Enum() | Choice():
            return {"enum": list(options_of(type_))}
        case Scored(item=item):
            return json_schema(item)
        case Record(fields=fields):
            return {
                "type": "object",
                "properties": {
                    f.name: _given(**json_schema(f.type), description=f.doc or None) for f in fields
                },
                "required": [f.name for f in fields if not f.has_default],
                "additionalProperties": False,
            }
        case Context():
            raise ValueError("a context is not a value")


def _given(**entries: Json) -> dict[str, Json]:
    return {name: value for name, value in entries.items() if value is not None}


def read(type_: Type, text: str) -> Json:
    """The value a generated text stands for. Raises `ValueError`, for people, if it is none.

    A scored choice needs its probabilities too: see `scored`.
    """
    match type_:
        case Str() | Enum() | Choice():
            value: Json = text
        case _:
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                raise ValueError("the text is not JSON") from None
    value = with_defaults(type_, value)
    found = problem(type_, value)
    if found:
        raise ValueError(found)
    return value


def scored(value: str, scores: tuple[tuple[str, float], ...]) -> Json:
    """The value of a scored choice, from the probabilities an engine reports."""
    dist = dict(scores)
    return {"value": value, "p": dist.get(value, 0.0), "dist": dist}


def with_defaults(type_: Type, value: Json) -> Json:
    """The value with the defaults of fields it leaves out, at every depth."""
    match type_, value:
        case ListOf(item=item), list():
            return [with_defaults(item, one) for one in value]
        case Optional(item=item), _ if value is not None:
            return with_defaults(item, value)
        case Record(fields=fields), dict():
            full = {f.name: f.default for f in fields if f.has_default} | value
            kinds = {f.name: f.type for f in fields}
            return {
                name: with_defaults(kinds[name], held) if name in kinds else held
                for name, held in full.items()
            }
    return value


def problem(type_: Type, value: Json) -> str | None:
    """Why `value` is not of this type, with the path to the place; None if it is.

    An int counts as a float; nothing else is converted.
    """
    return _problem(type_, value, "")


def _problem(type_: Type, value: Json, path: str) -> str | None:
    match type_, value:
        case Optional(), None:
            return None
        case Optional(item=item), _:
            return _problem(item, value, path)
        case ListOf(max_len=int(length)), list() if len(value) > length:
            found = f"{len(value)} items where at most {length} were expected"
            return f"{path}: {found}".removeprefix(": ")
        case ListOf(item=item), list():
            return _first(_problem(item, one, f"{path}[{n}]") for n, one in enumerate(value))
        case Record(), dict():
            return _record_problem(type_, value, path)
        case Scored(item=item), {"value": str(chosen), "p": float() | int(), "dist": dict()}:
            return _problem(item, chosen, f"{path}.value")
    what = _scalar_problem(type_, value)
    return what and f"{path}: {what}".removeprefix(": ")


def _record_problem(record: Record, value: dict[str, Json], path: str) -> str | None:
    for name in value:
        if record.field(name) is None:
            return f"{path}.{name}: no such field in `{record}`"
    for field in record.fields:
        if field.name not in value:
            return f"{path}.{field.name}: the field is missing"
    return _first(_problem(f.type, value[f.name], f"{path}.{f.name}") for f in record.fields)


def _scalar_problem(type_: Type, value: Json) -> str | None:
    match type_, value:
        case (Nothing(), None) | (Bool(), bool()):
            return None
        case (Int() | Float(), bool()):
            pass
        case (Int() as bounds, int()) | (Float() as bounds, int() | float()):
            return _range_problem(bounds, value)
        case Str(regex=regex, max_len=length), str():
            if length is not None and len(value) > length:
                return f"{len(value)} characters where at most {length} were expected"
            if regex is not None and re.fullmatch(regex, value) is None:
                return f"{_brief(value)} does not match {_brief(regex)}"
            return None
        case ((Enum() | Choice()), str()):
            options = options_of(type_)
            return None if value in options else f"{_brief(value)} is none of {', '.join(options)}"
    return f"{_kind(value)} where `{type_}` was expected"


def _range_problem(type_: Int | Float, value: float) -> str | None:
    if type_.ge is not None and value < type_.ge:
        return f"{value} is less than {type_.ge}"
    if type_.le is not None and value > type_.le:
        return f"{value} is more than {type_.le}"
    return None


def _first(found: Iterable[str | None]) -> str | None:
    return next((text for text in found if text is not None), None)


def _brief(text: str) -> str:
    shown = json.dumps(text, ensure_ascii=False)
    return shown if len(shown) <= 60 else shown[:59] + "…"


def _kind(value: Json) -> str:
    names = {str: "a text", bool: "a bool", int: "an int", float: "a float"}
    names |= {list: "a list", dict: "a record", type(None): "None"}
    return names.get(type(value), f"a Python `{type(value).__name__}`")
