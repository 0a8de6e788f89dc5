"""Compute equal values once.

    %a = context.fill %c, ids[1, 2]               %a = context.fill %c, ids[1, 2]
    %b = context.fill %c, ids[1, 2]          ==>
    %d, %x = context.gen %a                       %d, %x = context.gen %a
    %e, %y = context.gen %b                       return %x, %x
    return %x, %y

Value numbering by scope: an op gives way to an equal one before it, in its own region or in one
around it. Generations are compared without `site` and `name`: a greedy one draws nothing, so where
it stands does not matter. Whole regions are compared too, up to the names inside them.

Left alone: sampled generations, always, since two of them are two draws; natives that are not pure;
seeded generations in different loops, because the index of the loop is part of their key;
generations and natives in different attempts, because each attempt must fail or succeed by itself.

Precondition: no `context.free`. Linear in the module, times how deep regions are nested.
"""

from collections.abc import Hashable
from dataclasses import dataclass, fields
from functools import cache

from parrotc.ir.ops import (
    Attempt,
    Block,
    Flow,
    Function,
    Generate,
    Module,
    Native,
    Op,
    Value,
    blocks,
    substitute,
    with_blocks,
)
from parrotc.passes.notes import merged
from parrotc.passes.remark import Remark, Remarks
from parrotc.passes.rewrite import is_pure, iterates, map_bodies
from parrotc.passes.target import Target


def cse(module: Module, target: Target, remarks: Remarks) -> Module:
    def change(held: Flow | Function) -> Block:
        numbering = _Numbering(remarks)
        return numbering.block(held.body)

    return map_bodies(module, change)


@dataclass(slots=True)
class _Known:
    """An op that was kept, and where it stands, so that a merge can add to its notes."""

    ops: list[Op]
    at: int

    @property
    def op(self) -> Op:
        return self.ops[self.at]


class _Numbering:
    def __init__(self, remarks: Remarks) -> None:
        self._remarks = remarks
        self._known: dict[Hashable, _Known] = {}
        self._names: dict[Value, Value] = {}
        self._loop = 0  # the innermost region with an index in the draw keys, numbered as met
        self._attempt = 0  # the innermost attempt
        self._loops = 0

    def block(self, block: Block) -> Block:
        kept: list[Op] = []
        keys: list[Hashable] = []
        for op in block.ops:
            op = self._inner(substitute(op, self._names))
            key = self._key(op)
            if key is None:
                kept.append(op)
            elif (known := self._known.get(key)) is not None:
                self._merge(known, op)
            else:
                self._known[key] = _Known(kept, len(kept))
                keys.append(key)
                kept.append(op)
        for key in keys:  # what a region computes is not known after it
            del self._known[key]
        yields = tuple(self._names.get(value, value) for value in block.yields)
        return Block(block.params, tuple(kept), yields)

    def _inner(self, op: Op) -> Op:
        if not (held := blocks(op)):
            return op
        loop, attempt = self._loop, self._attempt
        if iterates(op):
            self._loops += 1
            self._loop = self._loops
        if isinstance(op, Attempt):
            self._attempt = self._loop
        op = with_blocks(op, tuple(map(self.block, held)))
        self._loop, self._attempt = loop, attempt
        return op

    def _merge(self, known: _Known, op: Op) -> None:
        self._names.update(zip(op.results, known.op.results, strict=True))
        known.ops[known.at] = merged(known.op, op)
        if isinstance(op, Generate):
            first = known.op
            assert isinstance(first, Generate)
            message = f"`{op.site}` asks what `{first.site}` asks, greedily: it runs once for both"
            self._remarks.append(Remark("cse", message, op.span))

    def _key(self, op: Op) -> Hashable:
        """Equal for ops that give equal values here; None for an op that stands for itself."""
        if not is_pure(op):
            return None
        return (self._scope(op), _shape(op, {}), tuple(value.type for value in op.results))

    def _scope(self, op: Op) -> Hashable:
        """What the value depends on besides its operands: see *Left alone*."""
        match op:
            case Generate():
                return (self._attempt, None if op.temperature == 0.0 else self._loop)
            case Native():
                return self._attempt
        return (self._attempt, self._loop) if blocks(op) else None


@cache
def _compared(kind: type[Op]) -> tuple[str, ...]:
    ignored = {"results", "notes", "span"} | ({"site", "name"} if kind is Generate else set())
    return tuple(spec.name for spec in fields(kind) if spec.name not in ignored)


def _shape(op: Op, local: dict[Value, int]) -> Hashable:
    """What an op says, with values made inside the region it is in by number, not by name."""
    held = (getattr(op, name) for name in _compared(type(op)))
    return (type(op), *(_canonical(one, local) for one in held))


def _canonical(held: object, local: dict[Value, int]) -> Hashable:
    match held:
        case Block():
            return _region(held, local)
        case Value():
            return local.get(held, held)
        case tuple() if local:
            return tuple(_canonical(one, local) for one in held)
        case bool() | int() | float():
            return (type(held), held)  # 1, 1.0 and true are three values
    assert held is None or hasattr(held, "__hash__")
    return held


def _region(block: Block, local: dict[Value, int]) -> Hashable:
    inner = dict(local)
    shape: list[Hashable] = []
    for value in block.params:
        inner[value] = len(inner)
        shape.append(value.type)
    for op in block.ops:
        shape.append((_shape(op, inner), tuple(value.type for value in op.results)))
        for value in op.results:
            inner[value] = len(inner)
    return (tuple(shape), tuple(inner.get(value, value) for value in block.yields))

