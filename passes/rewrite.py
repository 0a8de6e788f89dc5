"""What passes share for building new regions: copies, and questions about regions."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from parrotc.ir.names import Names
from parrotc.ir.ops import (
    Attempt,
    Block,
    Flow,
    Fold,
    Function,
    Generate,
    Map,
    Module,
    Op,
    Value,
    blocks,
    operands,
    substitute,
    walk,
    with_blocks,
)


def map_bodies(module: Module, change: Callable[[Flow | Function], Block]) -> Module:
    """The module with the body of every flow and semantic function changed."""
    functions = tuple(replace(f, body=change(f)) for f in module.functions)
    flows = tuple(replace(f, body=change(f)) for f in module.flows)
    return replace(module, functions=functions, flows=flows)


def map_flows(module: Module, change: Callable[[Flow], Block]) -> Module:
    """The module with the body of every flow changed."""
    return replace(module, flows=tuple(replace(f, body=change(f)) for f in module.flows))


def count_uses(block: Block) -> Counter[str]:
    """How often each value is read, by ops and by yields, in regions too."""
    uses = Counter(value.name for value in block.yields)
    for op in walk(block):
        for value in operands(op):
            uses[value.name] += 1
        for inner in blocks(op):
            for value in inner.yields:
                uses[value.name] += 1
    return uses


def is_pure(op: Op) -> bool:
    """Whether two equal ops give equal values; a region is as pure as what it holds."""
    return op.is_pure() and all(is_pure(inner) for block in blocks(op) for inner in block.ops)


def has_effect(op: Op) -> bool:
    """Whether an op, or one in its regions, must run even if nobody reads its value."""
    return op.has_effect() or any(has_effect(inner) for block in blocks(op) for inner in block.ops)


def holds_sampled(op: Op) -> bool:
    """Whether an op is, or holds, a sampled generation."""
    if isinstance(op, Generate):
        return op.is_sampled()
    return any(holds_sampled(inner) for block in blocks(op) for inner in block.ops)


def iterates(op: Op) -> bool:
    """Whether an op's regions add an index to the draw keys of what is in them."""
    return isinstance(op, Map | Fold | Attempt)


class Copy:
    """Copies ops under fresh names. `values` says what the old names mean in the copy."""

    def __init__(
        self,
        names: Names,
        values: Mapping[Value, Value],
        adapt: Callable[[Op], Op] = lambda op: op,
    ) -> None:
        self._names = names
        self._values = dict(values)
        self._adapt = adapt

    def ops(self, ops: tuple[Op, ...]) -> list[Op]:
        return [self.op(op) for op in ops]

    def op(self, op: Op) -> Op:
        if held := blocks(op):
            op = with_blocks(op, tuple(map(self.block, held)))
        return self._adapt(substitute(op, self._values, self._define(op.results)))

    def block(self, block: Block) -> Block:
        params = self._define(block.params)
        ops = tuple(self.ops(block.ops))
        return Block(params, ops, self.of(block.yields))

    def of(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        """What old values are called in the copy."""
        return tuple(self._values.get(value, value) for value in values)

    def _define(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        for value in values:
            if value not in self._values:
                self._values[value] = self._names.like(value)
        return self.of(values)


def renamed(block: Block, names: Mapping[Value, Value]) -> Block:
    """The block with values replaced everywhere they are read."""
    table = dict(names)

    def visit(block: Block) -> Block:
        ops = []
        for op in block.ops:
            op = substitute(op, table)
            if held := blocks(op):
                op = with_blocks(op, tuple(map(visit, held)))
            ops.append(op)
        return Block(block.params, tuple(ops), tuple(table.get(v, v) for v in block.yields))

    return visit(block) if table else block
