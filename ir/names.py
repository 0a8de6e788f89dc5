"""Names for new values: the author's own where they are free, numbered where they are taken."""

from collections.abc import Iterator
from functools import cached_property

from parrotc.ir.ops import Block, Value, blocks, walk
from parrotc.ir.types import Type


class Names:
    """Fresh value names for one flow: `c`, `c.1`, `c.2`, … after those that `block` has taken."""

    def __init__(self, block: Block | None = None) -> None:
        self._block = block
        self._next: dict[str, int] = {}

    def fresh(self, hint: str, type_: Type) -> Value:
        """A new value. A number after the last dot of `hint` is not part of the name."""
        stem = base_name(hint)
        number = self._next.get(stem, 0)
        while (name := f"{stem}.{number}" if number else stem) in self._taken:
            number += 1
        self._next[stem] = number + 1
        self._taken.add(name)
        return Value(name, type_)

    def like(self, value: Value) -> Value:
        return self.fresh(value.name, value.type)

    @cached_property
    def _taken(self) -> set[str]:
        """Many flows need no fresh name, so this is found when the first one is asked for."""
        return {value.name for value in values_of(self._block)} if self._block else set()


def base_name(name: str) -> str:
    """A name without the number that made it unique."""
    stem, dot, number = name.rpartition(".")
    return stem if dot and number.isdigit() else name


def values_of(block: Block) -> Iterator[Value]:
    """Every value that a block or a region in it defines."""
    yield from block.params
    for op in walk(block):
        yield from op.results
        for inner in blocks(op):
            yield from inner.params
