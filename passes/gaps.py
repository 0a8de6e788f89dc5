"""How many generations lie between two uses of a context, or of a prefix of the module.

    %c = context.fill …
    %r = fold … {                                  %c: 2
      %c1 = context.fill %c, %x;  gen              one generation after it is read comes another,
      %d1 = context.fill %d, %y;  gen              and then the next round begins
    }

Counted are generations as they stand in the flow, both arms of an `if` as the longer one. Of
several distances the least counts: what is said to be used too soon is only kept too long. Uses
with no generation between them are one use. Linear in the module, times the depth of its regions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from parrotc.ir.ops import (
    Block,
    Fold,
    Free,
    Generate,
    If,
    Map,
    Module,
    Op,
    Open,
    Value,
    blocks,
    operands,
)
from parrotc.passes.chains import contexts

Key = Value | str  # a context, or a prefix by its name


@dataclass(frozen=True, slots=True)
class _Uses:
    """The first and the last use in a stretch of ops, in generations from its start, and the least
    distance between two."""

    first: int
    last: int
    gap: int | None = None

    def then(self, later: "_Uses") -> "_Uses":
        """With more uses, counted from the same start."""
        between = max(0, later.first - self.last) or None
        gap = min((gap for gap in (self.gap, later.gap, between) if gap), default=None)
        return _Uses(min(self.first, later.first), max(self.last, later.last), gap)

    def moved(self, by: int) -> "_Uses":
        return _Uses(self.first + by, self.last + by, self.gap)


@dataclass(frozen=True, slots=True)
class _Stretch:
    length: int  # generations
    uses: Mapping[Key, _Uses]


def gaps(module: Module) -> dict[Key, int]:
    """The distances in all flows, of what is used more than once."""
    walk = _Walk(module)
    for flow in module.flows:
        walk.end(walk.block(flow.body).uses)
    return walk.found


class _Walk:
    """`found` has those whose uses are all known: a context's when its region ends."""

    def __init__(self, module: Module) -> None:
        self.found: dict[Key, int] = {}
        self._above = {prefix.name: prefix.parent for prefix in module.prefixes}
        self._opened: dict[Value, str] = {}

    def end(self, uses: Mapping[Key, _Uses]) -> None:
        for key, known in uses.items():
            if known.gap is not None:
                self.found[key] = min(known.gap, self.found.get(key, known.gap))

    def block(self, block: Block) -> _Stretch:
        at = 0
        uses: dict[Key, _Uses] = {}
        for op in block.ops:
            stretch = self._op(op)
            for key, found in stretch.uses.items():
                moved = found.moved(at)
                uses[key] = uses[key].then(moved) if key in uses else moved
            at += stretch.length
        own = {*block.params, *(result for op in block.ops for result in op.results)}
        self.end({key: found for key, found in uses.items() if key in own})
        return _Stretch(at, {key: found for key, found in uses.items() if key not in own})

    def _op(self, op: Op) -> _Stretch:
        if isinstance(op, Open) and op.prefix is not None:
            self._opened[op.result] = op.prefix
        uses: dict[Key, _Uses] = {}
        if not isinstance(op, Free):
            uses = {
                key: _Uses(0, 0) for value in contexts(operands(op)) for key in self._keys(value)
            }
        inner = [self.block(held) for held in blocks(op)]
        for stretch in inner:
            for key, found in stretch.uses.items():
                found = _repeated(found, stretch.length) if isinstance(op, Map | Fold) else found
                both = isinstance(op, If) and key in uses
                uses[key] = _either(uses[key], found) if both else found
        length = max((stretch.length for stretch in inner), default=0)
        return _Stretch(length + isinstance(op, Generate), uses)

    def _keys(self, value: Value) -> list[Key]:
        """The context, and the prefixes that are used when it is."""
        keys: list[Key] = [value]
        name = self._opened.get(value)
        while name is not None:
            keys.append(name)
            name = self._above[name]
        return keys


def _repeated(uses: _Uses, length: int) -> _Uses:
    """Of a loop whose rounds have so many generations: what two rounds say of it."""
    return uses.then(uses.moved(length))


def _either(one: _Uses, other: _Uses) -> _Uses:
    gap = min((gap for gap in (one.gap, other.gap) if gap), default=None)
    return _Uses(min(one.first, other.first), max(one.last, other.last), gap)
