"""The prefix trees of a module: one that each model starts, one below each other context.

Every fill of every flow is entered, so a node knows which flows go through it, how many of their
fills do, and where in each flow all of these can see it. Nodes of constants that several flows go
through, that every run of one flow reads again, or that other programs go on from (see
`ModelTarget.starts`), are *entries*: prefixes of the module.

Entries stay filled between runs, so there is a budget for them, `ModelTarget.kept`: first come
those whose number of flows times length is highest. The others are filled in each run.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from parrotc.ir.ops import Block, Fill, Flow, Module, Op, Open, Part, Value, blocks, operands, walk
from parrotc.passes.costs import UNKNOWN
from parrotc.passes.regions import Position, Regions
from parrotc.passes.target import Target
from parrotc.passes.trie import Node, cut, insert, leave, units_of

WORTH_KEEPING = 16  # tokens that one flow begins with, from which on they stay between its runs


@dataclass(slots=True)
class Filling:
    """How a fill goes through a tree: from one node to another, with parts left after that."""

    start: Node
    end: Node
    rest: tuple[Part, ...]


@dataclass(slots=True)
class Planted:
    """What one flow has in the forest."""

    at: dict[Value, Node] = field(default_factory=dict)  # contexts that stand at a node
    fillings: dict[Value, Filling] = field(default_factory=dict)  # by what the fill assigns
    roots: dict[Node, Value] = field(default_factory=dict)  # trees below a context of the flow


class Forest:
    def __init__(self, module: Module, target: Target) -> None:
        self.trees: dict[str, Node] = {model.name: Node() for model in module.models}
        self._prefixes = {prefix.name: prefix for prefix in module.prefixes}
        self.flows = {flow.name: self._plant(flow) for flow in module.flows}
        self.entries: dict[Node, str] = {}
        self.left_out: dict[str, list[Node]] = {}  # by model: what the budget has no room for
        for model, tree in self.trees.items():
            known = target.models.get(model, UNKNOWN)
            for start in known.starts:
                leave(tree, start)
            order = _candidates(tree)
            kept = _within(order, known.kept)
            self.left_out[model] = [node for node in order if node not in kept]
            _name_entries([node for node in order if node in kept], self.entries)

    def _plant(self, flow: Flow) -> Planted:
        planted = Planted()
        regions = Regions(flow.body)
        for op, position in _positions(flow.body):
            if isinstance(op, Open):
                self._open(flow.name, op, position, regions, planted)
            elif isinstance(op, Fill):
                self._fill(flow.name, op, position, regions, planted)
        for op in walk(flow.body):
            yielded = [value for block in blocks(op) for value in block.yields]
            for value in (*operands(op), *yielded):
                if value in planted.at:
                    planted.at[value].ends.add(flow.name)
        return planted

    def _open(
        self, flow: str, op: Open, position: Position, regions: Regions, planted: Planted
    ) -> None:
        root = node = self.trees[op.model]
        for node in (root, *insert(root, self._ids(op.prefix))):
            node.enter(flow, op, position, regions)
        node.names.setdefault(flow, op.result)
        planted.at[op.result] = node

    def _ids(self, name: str | None) -> list[int]:
        """The ids of a prefix that the module has already."""
        chain: list[tuple[int, ...]] = []
        while name is not None:
            chain.append(self._prefixes[name].ids)
            name = self._prefixes[name].parent
        return [token for ids in reversed(chain) for token in ids]

    def _fill(
        self, flow: str, op: Fill, position: Position, regions: Regions, planted: Planted
    ) -> None:
        start = planted.at.get(op.context)
        if start is None:
            start = planted.at[op.context] = Node()
            planted.roots[start] = op.context
        units, rest = units_of(op.parts)
        end = start
        for end in insert(start, units):
            end.enter(flow, op, position, regions)
        end.ends.add(flow)
        if not rest:
            planted.at[op.result] = end
            end.names.setdefault(flow, op.result)
        planted.fillings[op.result] = Filling(start, end, rest)


def _positions(body: Block) -> Iterator[tuple[Op, Position]]:
    """Every op with where it stands, outer before inner; regions are numbered as they are met."""
    count = -1

    def visit(block: Block) -> Iterator[tuple[Op, Position]]:
        nonlocal count
        count += 1
        region = count
        for at, op in enumerate(block.ops):
            yield op, Position(region, at)
            for inner in blocks(op):
                yield from visit(inner)

    return visit(body)


def _candidates(tree: Node) -> list[Node]:
    """The nodes below a root that are worth keeping, parents first."""
    order: list[Node] = []
    waiting = list(reversed(tree.children.values()))
    while waiting:
        node = waiting.pop()
        node = cut(node, _lead(node))  # where a value comes, constants may end nowhere else
        if all(isinstance(unit, int) for unit in node.units):
            order.append(node)
            waiting += reversed(node.children.values())
    wanted: set[Node | None] = set()
    for node in reversed(order):  # children first: what leads to one worth keeping is kept too
        if len(node.flows) > 1 or node.is_left or _length(node) >= WORTH_KEEPING:
            wanted.add(node)
        if node in wanted:
            wanted.add(node.parent)
    return [node for node in order if node in wanted]


def _lead(node: Node) -> int:
    """How many units to cut off so that they are constants, or all if it begins with none."""
    lead = next((n for n, unit in enumerate(node.units) if not isinstance(unit, int)), 0)
    return lead or len(node.units)


def _within(order: list[Node], budget: int) -> set[Node]:
    """The nodes that `budget` units have room for, with all that is above each of them.

    Greedy by uses × units. Equals come in the order of their ids, which does not depend on what
    the tree was made from: a pass that runs again finds the same.
    """
    if sum(len(node.units) for node in order) <= budget:
        return set(order)
    ranked = sorted(order, key=lambda node: (-len(node.flows) * _length(node), _spelling(node)))
    kept: set[Node] = set()
    for node in ranked:
        chain, cost = [], 0
        while node.parent is not None and node not in kept and cost <= budget:
            chain.append(node)
            cost += len(node.units)
            node = node.parent
        if cost <= budget:
            kept.update(chain)
            budget -= cost
    return kept


def _name_entries(order: list[Node], names: dict[Node, str]) -> None:
    """Name those of some nodes, parents first, that somebody opens or that branch."""
    entries = set(order)
    kept: set[Node] = set()
    branches: dict[Node, int] = {}  # how many children lead to entries that are kept
    for node in reversed(order):
        is_opened = node.is_left or any(_opens(node, f, entries) for f in node.flows)
        if is_opened or branches.get(node, 0) > 1:
            kept.add(node)
        if (node in kept or branches.get(node, 0)) and node.parent is not None:
            branches[node.parent] = branches.get(node.parent, 0) + 1
    for node in order:
        if node in kept:
            names[node] = f"p{len(names)}"


def _length(node: Node) -> int:
    """How many units there are from the root to the end of a node."""
    total = 0
    while node.parent is not None:
        total += len(node.units)
        node = node.parent
    return total


def _opens(node: Node, flow: str, entries: set[Node]) -> bool:
    """Whether a flow needs a context right at an entry, not only at entries below it."""
    below = (child for child in node.children.values() if flow in child.flows)
    return flow in node.ends or any(child not in entries for child in below)


def _spelling(node: Node) -> list[int]:
    """The ids from the root to the end of a node that has read nothing else."""
    chain: list[Node] = []
    while node.parent is not None:
        chain.append(node)
        node = node.parent
    return [unit for one in reversed(chain) for unit in one.units if isinstance(unit, int)]
