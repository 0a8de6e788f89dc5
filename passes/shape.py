"""What an op says, apart from the names of what it makes: equal shapes compute equal values."""

from collections.abc import Hashable
from dataclasses import fields

from parrotc.ir.ops import OPS, Block, Generate, Op, Value

Local = dict[Value, int]  # values made inside the region that is looked at, by number


_IGNORED = {"results", "notes", "span"}
_COMPARED = {
    kind: tuple(f.name for f in fields(kind) if f.name not in _IGNORED) for kind in OPS.values()
} | {Generate: tuple(f.name for f in fields(Generate) if f.name not in _IGNORED | {"site", "name"})}


def shape(op: Op, local: Local | None = None) -> Hashable:
    """Kind, operands and attributes of an op and of its regions, up to the names inside them.

    Generations are compared without `site` and `name`: a greedy one draws nothing. Whether equal
    shapes may stand for each other is for the caller to say.
    """
    held = (getattr(op, name) for name in _COMPARED[type(op)])
    types = tuple(value.type for value in op.results)
    return (type(op).__name__, types, *(_canonical(one, local or {}) for one in held))


def _canonical(held: object, local: Local) -> Hashable:
    match held:
        case Block():
            return _region(held, local)
        case Value():
            return local.get(held, held)
        case tuple() if local:
            return tuple(_canonical(one, local) for one in held)
    assert isinstance(held, Hashable)
    return held


def _region(block: Block, local: Local) -> Hashable:
    inner = dict(local)
    for value in block.params:
        inner[value] = len(inner)
    ops: list[Hashable] = []
    for op in block.ops:
        ops.append(shape(op, inner))
        for value in op.results:
            inner[value] = len(inner)
    params = tuple(value.type for value in block.params)
    return (params, tuple(ops), tuple(inner.get(value, value) for value in block.yields))
