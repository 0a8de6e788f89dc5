"""Free every context after its last use.

    %c2, %d = context.gen %c1                     %c2, %d = context.gen %c1
    %n = apply upper(%d)                     ==>  context.free %c1
    %c3 = context.fill %c2, %n                    %n = apply upper(%d)
    …                                             %c3 = context.fill %c2, %n
                                                  context.free %c2

A context is freed in the region that makes it: after the last op there that reads it, or holds a
region that does; right away if nothing reads it. What a region yields belongs to whoever holds the
region. `next_use` is how many generations stand between making a context and first reading it,
`pin` how many tokens need not be filled again if it is kept between its uses (a use in a loop
counts twice).

Precondition: `lower-calls` has run. Linear in the module. Frees that are there are put anew.
"""

from collections import Counter
from dataclasses import dataclass, replace
from itertools import accumulate

from parrotc.ir.ops import (
    Block,
    Fill,
    Flow,
    Fold,
    Free,
    Generate,
    Ids,
    Map,
    Module,
    Op,
    Value,
    blocks,
    operands,
    with_blocks,
)
from parrotc.passes.chains import contexts
from parrotc.passes.remark import Remarks
from parrotc.passes.rewrite import map_flows
from parrotc.passes.target import Target


def lifetimes(module: Module, target: Target, remarks: Remarks) -> Module:
    def change(flow: Flow) -> Block:
        return _block(_without_frees(flow.body))[0]

    return map_flows(module, change)


def _without_frees(block: Block) -> Block:
    ops = (op for op in block.ops if not isinstance(op, Free))
    kept = [with_blocks(op, tuple(map(_without_frees, blocks(op)))) for op in ops]
    return replace(block, ops=tuple(kept))


@dataclass(slots=True)
class _Use:
    """Where a context is made, first read and last read in its block, and how often it is read."""

    made: int
    first: int | None = None
    last: int | None = None
    count: int = 0

    def read(self, at: int, times: int) -> None:
        self.first = at if self.first is None else self.first
        self.last = at
        self.count += times


def _block(block: Block) -> tuple[Block, Counter[Value]]:
    """The block with frees, and how often it reads contexts of the regions around it."""
    uses = {param: _Use(-1) for param in contexts(block.params)}
    outside: Counter[Value] = Counter()
    ops: list[Op] = []
    for at, op in enumerate(block.ops):
        op, read = _inner(op)
        ops.append(op)
        for context, times in read.items():
            if context in uses:
                uses[context].read(at, times)
            else:
                outside[context] += times
        uses.update({context: _Use(at) for context in contexts(op.results)})
    outside.update(context for context in contexts(block.yields) if context not in uses)
    return replace(block, ops=_freeing(ops, uses, block.yields)), outside


def _inner(op: Op) -> tuple[Op, Counter[Value]]:
    """An op with frees in its regions, and how often it and they read contexts around it."""
    read = Counter(contexts(operands(op)))
    done: list[Block] = []
    for held in blocks(op):
        held, outside = _block(held)
        done.append(held)
        for context, times in outside.items():
            read[context] += 2 * times if isinstance(op, Map | Fold) else times
    return with_blocks(op, tuple(done)), read


def _freeing(ops: list[Op], uses: dict[Value, _Use], yields: tuple[Value, ...]) -> tuple[Op, ...]:
    """The ops with notes on what makes a context, and a free after each one's last use."""
    ends: dict[int, list[Value]] = {}
    for context, use in uses.items():
        if context not in yields:
            ends.setdefault(use.made if use.last is None else use.last, []).append(context)
    before = list(accumulate((isinstance(op, Generate) for op in ops), initial=0))
    out: list[Op] = [Free(context=context, results=()) for context in ends.get(-1, ())]
    for at, op in enumerate(ops):
        for context in contexts(op.results):
            op = _noted(op, uses[context], before)
        out.append(op)
        out += [Free(context=one, results=(), span=op.span) for one in ends.get(at, ())]
    return tuple(out)


def _noted(op: Op, use: _Use, before: list[int]) -> Op:
    """An op that makes a context, with what is known of the context's future."""
    saved = 0
    if isinstance(op, Fill):
        saved = sum(len(p.ids) for p in op.parts if isinstance(p, Ids)) * (use.count - 1)
    gap = 0 if use.first is None else before[use.first] - before[use.made + 1]
    return op.with_notes(next_use=gap or None, pin=saved if saved > 0 else None)
