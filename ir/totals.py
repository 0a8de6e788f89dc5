"""How often things happen in a flow, at most, and whether it could be less.

    if %long { gen  gen } else { gen }      at most 2 generations; exactly 2 where %long is true

A total adds up a weight over the ops of a region: loops multiply it, and of the arms of an `if` the
larger one counts. `taken` knows better where inputs decide a condition: the share of its runs in
which an `if` takes its first arm.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from parrotc.ir.ops import Attempt, Block, Fold, If, Map, Op, blocks
from parrotc.ir.symbolic import Most, Symbolic, added, lift

Weight = Callable[[Op], Symbolic]  # of one run of an op, without its regions
Items = Callable[[Map | Fold], Symbolic]
Taken = Mapping[int, float]  # by the identity of an `if`

_OPTIONS = 8  # polynomials to tell apart; more become one that covers them


@dataclass(frozen=True, slots=True)
class Total:
    """At most so many; `is_exact` if no run has fewer."""

    most: Most
    is_exact: bool = True

    def plus(self, other: "Total") -> "Total":
        if len(self.most.options) * len(other.most.options) > _OPTIONS:
            sum_ = Most((self.most.hull() + other.most.hull(),))
        else:
            sum_ = self.most.plus(other.most)
        return Total(sum_, self.is_exact and other.is_exact)

    def times(self, rounds: Symbolic, *, is_exact: bool = True) -> "Total":
        """For loops: of one round each size is a mean, so only a hull bounds the sum of rounds."""
        product = Most((self.most.hull() * rounds,))
        return Total(product, (self.is_exact and is_exact) or product == Most())


def arms(op: If, taken: Taken) -> tuple[Block, ...]:
    """The arms that may run."""
    match taken.get(id(op)):
        case 1:
            return (op.then,)
        case 0:
            return (op.orelse,)
    return (op.then, op.orelse)


@dataclass(frozen=True, slots=True)
class Totals:
    """`items` tells how long a loop is."""

    items: Items
    taken: Taken

    def of(self, block: Block, weight: Weight) -> Total:
        """Near-linear: every op is looked at once."""
        total = Total(Most((added(weight(op) for op in block.ops),)))
        for op in block.ops:
            if blocks(op):
                total = total.plus(self._held(op, weight))
        return total

    def _held(self, op: Op, weight: Weight) -> Total:
        match op:
            case Map():
                return self.of(op.body, weight).times(self.items(op))
            case Fold():
                once = self.of(op.body, weight)
                return once.times(self.items(op), is_exact=not op.early)
            case Attempt():
                once = self.of(op.body, weight)
                return once.times(lift(1 + op.retries), is_exact=not op.retries)
            case If():
                return self._branch(op, weight)
        raise AssertionError(f"{type(op).__name__} holds no regions")

    def _branch(self, op: If, weight: Weight) -> Total:
        first, *others = (self.of(arm, weight) for arm in arms(op, self.taken))
        if not others:
            return first
        (second,) = others
        share = self.taken.get(id(op))
        constant = (first.most.constant, second.most.constant)
        if share is not None and None not in constant:
            mean = first.most.hull() * share + second.most.hull() * (1 - share)
            return Total(Most((mean,)), first.is_exact and second.is_exact)
        is_exact = first == second and first.is_exact
        return Total(first.most | second.most, is_exact)
