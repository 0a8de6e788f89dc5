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
from dataclasses import dataclass

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
from parrotc.passes.shape import shape
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
            message = f"`{op.site}` gives what `{first.site}` gives: it runs once for both"
            self._remarks.append(Remark("cse", message, op.span))

    def _key(self, op: Op) -> Hashable:
        """Equal for ops that give equal values here; None for an op that stands for itself."""
        if not is_pure(op):
            return None
        return (self._scope(op), shape(op))

    def _scope(self, op: Op) -> Hashable:
        """What the value depends on besides its operands: see *Left alone*."""
        match op:
            case Generate():
                return (self._attempt, None if op.temperature == 0.0 else self._loop)
            case Native():
                return self._attempt
        return (self._attempt, self._loop) if blocks(op) else None
