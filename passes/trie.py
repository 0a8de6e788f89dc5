"""A radix tree over what contexts read: token ids and, in their place, texts and values.

A *unit* is an id, or the texts and values before a hard boundary together with the id after it:
they are tokenised as one string, so prompts that differ inside a unit share none of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from parrotc.ir.ops import Ids, Op, Part, Value
from parrotc.ir.source import Span
from parrotc.passes.regions import Position, Regions

Unit = int | tuple[Part | int | None, ...]  # (…, None): a boundary without an id


@dataclass(slots=True)
class Passing:
    """Which fills of one flow go through a node: how many, where all of them can see it."""

    count: int
    position: Position
    span: Span | None


@dataclass(eq=False, slots=True)
class Node:
    """A place in the tree. `ends`: the flows in which a prompt may stop, or go on, right here;
    `is_left`: prompts of programs that are not in the tree may."""

    units: tuple[Unit, ...] = ()  # from the parent to here
    parent: "Node | None" = None
    children: dict[Unit, "Node"] = field(default_factory=dict)
    flows: dict[str, Passing] = field(default_factory=dict)
    ends: set[str] = field(default_factory=set)
    is_left: bool = False
    names: dict[str, Value] = field(default_factory=dict)  # by flow, of a fill that ends here
    root: "Node" = field(init=False)

    def __post_init__(self) -> None:
        self.root = self if self.parent is None else self.parent.root

    def enter(self, flow: str, op: Op, position: Position, regions: Regions) -> None:
        """Note that `op`, which stands at `position`, goes through here."""
        passing = self.flows.get(flow)
        if passing is None:
            self.flows[flow] = Passing(1, position, op.span)
        else:
            passing.count += 1
            passing.position = regions.common(passing.position, position)

    def above(self) -> "Node":
        """The parent of a node that has one."""
        assert self.parent is not None
        return self.parent


def insert(node: Node, units: Sequence[Unit]) -> list[Node]:
    """The nodes that spell `units` below `node`, new where there were none."""
    path: list[Node] = []
    at = 0
    while at < len(units):
        child = node.children.get(units[at])
        if child is None:
            child = Node(tuple(units[at:]), node)
            node.children[units[at]] = child
        else:
            child = cut(child, _common(child.units, units, at))
        path.append(child)
        at += len(child.units)
        node = child
    return path


def leave(node: Node, units: Sequence[Unit]) -> None:
    """Cut the tree below `node` where it stops to spell `units`."""
    at = 0
    while at < len(units) and (child := node.children.get(units[at])) is not None:
        node = cut(child, _common(child.units, units, at))
        at += len(node.units)
    node.is_left = at > 0


def _common(label: Sequence[Unit], units: Sequence[Unit], at: int) -> int:
    """How many units of a label are those of `units` from `at` on."""
    most = min(len(label), len(units) - at)
    return next((n for n in range(most) if label[n] != units[at + n]), most)


def cut(node: Node, length: int) -> Node:
    """The first `length` units of a node as a node of their own; the rest stays the old node."""
    if length == len(node.units):
        return node
    parent = node.above()
    flows = {name: replace(p) for name, p in node.flows.items()}
    upper = Node(node.units[:length], parent, {node.units[length]: node}, flows)
    parent.children[upper.units[0]] = upper
    node.units = node.units[length:]
    node.parent = upper
    return upper


def units_of(parts: Iterable[Part]) -> tuple[list[Unit], tuple[Part, ...]]:
    """The units of a fill, and the texts and values after its last ids."""
    units: list[Unit] = []
    held: list[Part] = []
    for part in parts:
        if not isinstance(part, Ids):
            held.append(part)
            continue
        if held or not part.ids:
            units.append((*held, part.ids[0] if part.ids else None))
            units += part.ids[1:]
            held = []
        else:
            units += part.ids
    return units, tuple(held)


def parts_of(units: Iterable[Unit]) -> Iterator[Part | list[int]]:
    """The parts that units stand for, with runs of ids as lists."""
    run: list[int] | None = None
    for unit in units:
        if isinstance(unit, int):
            run = [] if run is None else run
            run.append(unit)
            continue
        *held, first = unit
        if run is not None and held:
            yield run
            run = None
        yield from (part for part in held if not isinstance(part, int | None))
        run = [] if run is None else run
        if isinstance(first, int):
            run.append(first)
    if run is not None:
        yield run
