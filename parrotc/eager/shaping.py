"""From captured calls to the shape of their segment, and what is in its slots."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from parrotc.eager.arguments import Argument, Known, Later, Many, Missing, Parts
from parrotc.eager.fields import type_at
from parrotc.eager.node import CallNode, Node
from parrotc.eager.shape import (
    CallShape,
    Default,
    Fields,
    Given,
    Listed,
    Made,
    Shape,
    Slot,
    constant_key,
)
from parrotc.ir.types import Json, Type


def needed(calls: Sequence[CallNode]) -> list[CallNode]:
    """The calls that somebody wants, that have an effect, or that such a one needs; in order."""
    wanted: set[Node] = set()
    for call in reversed(calls):
        if call in wanted or call.is_held or call.callee.has_effect:
            wanted.add(call)
            wanted.update(call.needs())
    return [call for call in calls if call in wanted]


class Shaping:
    """The shape of `calls`, each of which comes after those that it needs."""

    def __init__(self, name: str, calls: Sequence[CallNode]) -> None:
        self.values: list[Json | Future[Any]] = []
        self._types: list[Type] = []
        self._slots: dict[object, int] = {}
        self._numbers = {call: number for number, call in enumerate(calls)}
        shapes = tuple(
            CallShape(call.callee, tuple(map(self._given, call.args)), call.criteria)
            for call in calls
        )
        self.shape = Shape(name, tuple(self._types), shapes, tuple(range(len(calls))))

    def _given(self, argument: Argument) -> Given:
        match argument:
            case Known(type=type_, data=data):
                return Slot(self._slot(constant_key(type_, data), type_, data))
            case Later(node=node, fields=fields):
                if isinstance(node, CallNode) and node in self._numbers:
                    return Made(self._numbers[node], fields)
                cell, way = node.cell_of(fields)
                type_ = type_at(node.type, fields[: len(fields) - len(way)])
                return Slot(self._slot(cell, type_, cell.outcome), way)
            case Many(items=items, type=type_):
                return Listed(tuple(map(self._given, items)), type_)
            case Parts(names=names, values=values, type=type_):
                return Fields(names, tuple(map(self._given, values)), type_)
            case Missing():
                return Default()

    def _slot(self, key: object, type_: Type, value: "Json | Future[Any]") -> int:
        if key not in self._slots:
            self._slots[key] = len(self.values)
            self.values.append(value)
            self._types.append(type_)
        return self._slots[key]
