"""Which generations are waited for together.

What awaits a generation is what its value or its context flows into, through functions, fills and
the yields of regions, up to the next generation, native or loop, or to the result. Generations
that the same things await cannot depend on each other: they are one *group*, whose completion
counts and not that of any one of them.
"""

from collections import defaultdict
from collections.abc import Hashable

from parrotc.ir.ops import Block, Fold, Generate, If, Map, Native, Op, blocks, operands

Signature = Hashable


def awaited(body: Block) -> dict[str, Signature]:
    """What awaits each generation, by site: equal for those that are awaited together. Linear."""
    walk = _Walk()
    walk.block(body, [("result",) for _ in body.yields])
    return walk.found


class _Walk:
    """One walk from the result backwards. Sets of readers are numbered, so that a value that goes
    through a long list does not carry all readers of the list."""

    def __init__(self) -> None:
        self.found: dict[str, Signature] = {}
        self._readers: dict[str, set[Hashable]] = defaultdict(set)
        self._numbers: dict[frozenset[Hashable], int] = {}
        self._count = 0

    def block(self, block: Block, yields: list[Hashable]) -> None:
        for value, reader in zip(block.yields, yields, strict=True):
            self._readers[value.name].add(reader)
        for op in reversed(block.ops):
            self._op(op)

    def _op(self, op: Op) -> None:
        readers = [self._readers.pop(value.name, set()) for value in op.results]
        after = [self._number(one) for one in readers]
        reader = self._number(set().union(*readers))
        match op:
            case Generate():
                self.found[op.site] = reader
                reader = self._own()
            case Native():
                reader = self._own()
            case Fold():
                reader = self._own()
                self.block(op.body, [reader for _ in op.body.yields])
            case Map():
                self.block(op.body, after)
                reader = self._own()
            case If():
                self.block(op.then, after)
                self.block(op.orelse, after)
            case _:
                for held in blocks(op):
                    self.block(held, after)
        for value in operands(op):
            self._readers[value.name].add(reader)

    def _own(self) -> Hashable:
        self._count += 1
        return ("op", self._count)

    def _number(self, readers: set[Hashable]) -> Hashable:
        """Stands for a set of readers; a single reader stands for itself."""
        if len(readers) == 1:
            return next(iter(readers))
        return self._numbers.setdefault(frozenset(readers), len(self._numbers))
