"""Neighbouring parts and neighbouring fills made one."""

from collections.abc import Iterable
from dataclasses import replace

from parrotc.ir.ops import (
    Block,
    Fill,
    Ids,
    Op,
    Part,
    Text,
    Value,
    blocks,
    substitute,
    with_blocks,
)
from parrotc.passes.rewrite import count_uses


def joined(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts with neighbouring texts, and neighbouring ids, made one; empty texts dropped."""
    out: list[Part] = []
    for part in parts:
        last = out[-1] if out else None
        match last, part:
            case _, Text(text=""):
                pass
            case Text(), Text():
                out[-1] = Text(last.text + part.text)
            case Ids(), Ids():
                out[-1] = Ids(last.ids + part.ids, last.text + part.text)
            case _:
                out.append(part)
    return tuple(out)


def merge_fills(body: Block) -> Block:
    """The body with every fill that only another fill of its region reads merged into that one.

    A fill of nothing goes. Linear.
    """
    uses = count_uses(body)
    same: dict[Value, Value] = {}

    def visit(block: Block) -> Block:
        ops: list[Op | None] = []
        fills: dict[str, int] = {}  # where the fill of a context stands in `ops`
        for op in block.ops:
            op = substitute(op, same)
            if isinstance(op, Fill):
                at = fills.get(op.context.name)
                if at is not None and uses[op.context.name] == 1:
                    before = ops[at]
                    assert isinstance(before, Fill)
                    ops[at] = None
                    parts = before.parts + op.parts
                    op = replace(op, context=before.context, parts=parts, span=before.span)
                parts = joined(op.parts)
                if parts != op.parts:
                    op = replace(op, parts=parts)
                if not parts:
                    same[op.result] = op.context
                    uses[op.context.name] += uses[op.result.name] - 1
                    continue
                fills[op.result.name] = len(ops)
            elif held := blocks(op):
                op = with_blocks(op, tuple(map(visit, held)))
            ops.append(op)
        yields = tuple(same.get(value, value) for value in block.yields)
        return Block(block.params, tuple(op for op in ops if op is not None), yields)

    return visit(body)
