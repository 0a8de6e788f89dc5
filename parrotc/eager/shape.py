"""The shape of a segment: which calls feed which, with a slot for every value that is not known.

    a = digest("A …")            slots   text, text
    b = digest("B …")     ==>    calls   digest(slot 0), digest(slot 1), merge([call 0, call 1])
    merge([a, b])                wanted  2

Equal shapes are one program, whatever is in the slots: it is compiled once. A value that is given
twice has one slot, so that the compiler sees that prompts have it in common.
"""

import json
from dataclasses import dataclass

from parrotc.eager.library import Callee
from parrotc.ir.types import Json, Type


@dataclass(frozen=True, slots=True)
class Slot:
    """A value that comes from outside; `fields` leads to the part of it that is meant."""

    number: int
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """What a call of the segment gives."""

    call: int
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of values of which some are not known yet."""

    items: tuple["Given", ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Fields:
    """A record of such values."""

    names: tuple[str, ...]
    values: tuple["Given", ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Default:
    """The parameter's default."""


Given = Slot | Made | Listed | Fields | Default


@dataclass(frozen=True, slots=True)
class CallShape:
    callee: Callee
    args: tuple[Given, ...]  # one for each parameter
    criteria: str | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """A segment without its values. `wanted` are the calls whose results are told."""

    name: str
    slots: tuple[Type, ...]
    calls: tuple[CallShape, ...]
    wanted: tuple[int, ...]


def constant_key(type_: Type, data: Json) -> tuple[Type, str]:
    """Equal for equal constants."""
    return type_, json.dumps(data, ensure_ascii=False, sort_keys=True)
