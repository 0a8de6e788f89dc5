"""How many generations must come before another, and how many can run at the same time.

%c1, %a = context.gen %c                       depth 0
if %wanted {                                   (%wanted is computed from %a)
  %d1, %b = context.gen %d                     depth 1, though it reads nothing of %a
}
"""

from collections.abc import Callable, Sequence

from parrotc.ir.ops import (
    Attempt,
    Block,
    Call,
    Fold,
    Generate,
    If,
    Map,
    Op,
    Value,
    blocks,
    operands,
    walk,
)
from parrotc.ir.symbolic import Most, Symbolic, lift, most
from parrotc.ir.totals import Items, Taken, arms

NONE = Most()


class Depths:
    """The depth of every generation of a body, and of the whole. Near-linear.

    Nothing in a region starts before its op does: an `if` waits for its condition, a loop for its
    items. `before` is about the first round of a loop and the first attempt of a retry.
    """

    def __init__(self, body: Block, items: Items, taken: Taken) -> None:
        self._items = items
        self._taken = taken
        self._depths: dict[Value, Most] = {}
        self.before: dict[int, Most] = {}  # by the identity of a generation or call
        self.deepest = self._block(body, NONE)

    def _block(self, block: Block, start: Most) -> Most:
        """The depth of the deepest op of a block that starts after `start`."""
        deepest = start
        for op in block.ops:
            read = (self._depths.get(value, NONE) for value in operands(op))
            after = self._op(op, most_of([start, *read]))
            self._depths.update(dict.fromkeys(op.results, after))
            deepest = deepest | after
        return deepest

    def _op(self, op: Op, before: Most) -> Most:
        """How deep its results are."""
        if isinstance(op, Generate | Call):
            self.before[id(op)] = before
            return before + 1
        if isinstance(op, Fold):
            return self._repeated(op.body, before, self._items(op))
        if isinstance(op, Attempt):
            return self._repeated(op.body, before, lift(1 + op.retries))
        if held := arms(op, self._taken) if isinstance(op, If) else blocks(op):
            return most_of([self._region(block, before) for block in held])
        return before

    def _region(self, block: Block, before: Most) -> Most:
        self._depths.update(dict.fromkeys(block.params, before))
        return self._block(block, before)

    def _repeated(self, body: Block, before: Most, rounds: Symbolic) -> Most:
        """Rounds follow one another, each as long as one that finds everything there."""
        deepest = self._region(body, before)
        if rounds == lift(1):
            return deepest
        alone = Depths(body, self._items, self._taken)
        return before.plus(alone.deepest * rounds) | deepest


class Widths:
    """How many generations of a body can run at the same time, counted level by level."""

    def __init__(self, body: Block, items: Items, count: Callable[[Value], Symbolic]) -> None:
        self._items = items
        self._count = count  # what a number is that tells how often a call is to be made
        self.widest = self._block(body)

    def _block(self, block: Block) -> Most:
        """Ops of one level (longest chain of ops before them) may run together."""
        level: dict[Value, int] = {}
        widths: dict[int, Most] = {}
        for op in block.ops:
            own = self._op(op)
            reads = [*operands(op), *(v for held in blocks(op) for v in _free(held))]
            at = max((level.get(value, 0) for value in reads), default=0)
            if own.constant != 0:
                widths[at] = widths.get(at, Most()).plus(own)
                at += 1
            level.update(dict.fromkeys(op.results, at))
        return most_of(list(widths.values()))

    def _op(self, op: Op) -> Most:
        match op:
            case Generate():
                return Most((lift(1),))
            case Call():
                return Most((lift(1) if op.count is None else self._count(op.count),))
            case Map():
                return self._block(op.body) * self._items(op)
        return most_of([self._block(held) for held in blocks(op)])


def most_of(options: Sequence[Most]) -> Most:
    return most(option for one in options for option in one.options)


def _free(block: Block) -> list[Value]:
    """Values a region reads and does not make itself."""
    made = {value for op in walk(block) for value in op.results} | set(block.params)
    made |= {param for op in walk(block) for held in blocks(op) for param in held.params}
    read = [value for op in walk(block) for value in operands(op)]
    return [value for value in dict.fromkeys(read) if value not in made]
