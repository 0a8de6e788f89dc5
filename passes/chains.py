"""What each context of a flow belongs to and comes from, through regions.

A chain of contexts begins with one `context.open` and stays with its model: fills, generations,
messages, and the loops and arms that carry it.
"""

from collections.abc import Iterator

from parrotc.ir.ops import Block, Fold, Op, Open, Value, blocks, operands
from parrotc.ir.types import Context


def origins(body: Block) -> dict[str, Open]:
    """For every context by name, the op that opened its chain."""
    found: dict[str, Open] = {}

    def visit(block: Block) -> None:
        for op in block.ops:
            if isinstance(op, Open):
                found[op.result.name] = op
            elif isinstance(op, Fold):
                for param, init in zip(op.body.params[2:], op.inits, strict=True):
                    if init.name in found:
                        found[param.name] = found[init.name]
            held = blocks(op)
            for inner in held:
                visit(inner)
            if held:
                leave(op, held[0])
            else:
                for value in contexts(op.results):
                    for operand in contexts(operands(op)):
                        found.setdefault(value.name, found[operand.name])

    def leave(op: Op, block: Block) -> None:
        first = len(block.yields) - len(op.results)  # a fold that may stop yields a bool first
        for result, last in zip(op.results, block.yields[first:], strict=True):
            if last.name in found:
                found[result.name] = found[last.name]

    visit(body)
    return found


def contexts(values: "tuple[Value, ...] | Iterator[Value]") -> Iterator[Value]:
    return (value for value in values if isinstance(value.type, Context))


def carried(op: Fold) -> Iterator[tuple[Value, Value, Value, Value]]:
    """For each carried context: first value, parameter, what an iteration yields, result."""
    first = 1 if op.early else 0
    rows = zip(op.inits, op.body.params[2:], op.body.yields[first:], op.results, strict=True)
    return (row for row in rows if isinstance(row[1].type, Context))
