"""Where ops stand: in which region, and where two of them have a place before both."""

from dataclasses import dataclass

from parrotc.ir.ops import Block, blocks


@dataclass(frozen=True, slots=True)
class Position:
    """Before the op `at` of the region `region`."""

    region: int
    at: int


class Regions:
    """The regions of a flow, numbered as a walk meets them: outer before inner."""

    def __init__(self, body: Block) -> None:
        self._holders: list[Position | None] = []
        self._depths: list[int] = []
        self._visit(body, None, 0)

    def _visit(self, block: Block, holder: Position | None, depth: int) -> None:
        number = len(self._holders)
        self._holders.append(holder)
        self._depths.append(depth)
        for at, op in enumerate(block.ops):
            for inner in blocks(op):
                self._visit(inner, Position(number, at), depth + 1)

    def common(self, first: Position, second: Position) -> Position:
        """The last position before both that both can see; `first` comes first in the program."""
        while first.region != second.region:
            if self._depths[first.region] >= self._depths[second.region]:
                first = self._out(first)
            else:
                second = self._out(second)
        return first

    def _out(self, position: Position) -> Position:
        holder = self._holders[position.region]
        assert holder is not None
        return holder
