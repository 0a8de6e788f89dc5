"""What each context of a flow belongs to and comes from, through regions.

A chain of contexts begins with one `context.open` and stays with its model: fills, generations,
messages, and the loops and arms that carry it.
"""

from collections.abc import Iterable, Iterator

from parrotc.ir.ops import (
    Attempt,
    Block,
    End,
    Fill,
    Fold,
    Generate,
    If,
    Map,
    Message,
    Open,
    Render,
    Value,
    blocks,
)
from parrotc.ir.types import Context


def origins(body: Block) -> dict[str, Open]:
    """For every context by name, the op that opened its chain."""
    found: dict[str, Open] = {}

    def visit(block: Block) -> None:
        for op in block.ops:
            match op:
                case Open():
                    found[op.result.name] = op
                case Message() | End() | Fill() | Generate() | Render():
                    found[op.results[0].name] = found[op.context.name]
                case Map() | Fold() | If() | Attempt():
                    region(op)

    def region(op: Map | Fold | If | Attempt) -> None:
        if isinstance(op, Fold):
            for init, param, _, _ in carried(op):
                found[param.name] = found[init.name]
        held = blocks(op)
        for inner in held:
            visit(inner)
        first = len(held[0].yields) - len(op.results)  # a fold that may stop yields a bool first
        for result, last in zip(op.results, held[0].yields[first:], strict=True):
            if last.name in found:
                found[result.name] = found[last.name]

    visit(body)
    return found


def contexts(values: Iterable[Value]) -> Iterator[Value]:
    return (value for value in values if isinstance(value.type, Context))


def carried(op: Fold) -> Iterator[tuple[Value, Value, Value, Value]]:
    """For each carried context: first value, parameter, what an iteration yields, result."""
    first = 1 if op.early else 0
    rows = zip(op.inits, op.body.params[2:], op.body.yields[first:], op.results, strict=True)
    return (row for row in rows if isinstance(row[1].type, Context))
