"""Free every context after its last use.

    %c2, %d = context.gen %c1                     %c2, %d = context.gen %c1
    %n = apply upper(%d)                     ==>  context.free %c1
    %c3 = context.fill %c2, %n                    %n = apply upper(%d)
    …                                             %c3 = context.fill %c2, %n
                                                  context.free %c2

A context is freed in the region that makes it: after the last op there that reads it, or holds a
region that does; right away if nothing reads it. What a region yields belongs to whoever holds the
region. `next_use`, on fills and on prefixes of the module, is how many generations lie between two
uses (`gaps.py`), `pin` how many tokens need not be filled again if it is kept between its uses (a
use in a loop counts twice).

Precondition: `lower-calls` has run. Linear in the module. Frees that are there are put anew.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from parrotc.ir.ops import (
    Block,
    Fill,
    Flow,
    Fold,
    Free,
    Ids,
    Map,
    Module,
    Op,
    Prefix,
    Value,
    blocks,
    operands,
    with_blocks,
)
from parrotc.passes.chains import contexts
from parrotc.passes.gaps import Key, gaps
from parrotc.passes.remark import Remarks
from parrotc.passes.rewrite import map_flows
from parrotc.passes.target import Target


def lifetimes(module: Module, target: Target, remarks: Remarks) -> Module:
    distances = gaps(module)

    def change(flow: Flow) -> Block:
        return _block(_without_frees(flow.body), distances)[0]

    return replace(map_flows(module, change), prefixes=_prefixes(module, distances))


def _prefixes(module: Module, distances: Mapping[Key, int]) -> tuple[Prefix, ...]:
    return tuple(_noted_prefix(one, distances.get(one.name)) for one in module.prefixes)


def _noted_prefix(prefix: Prefix, gap: int | None) -> Prefix:
    notes = {name: held for name, held in prefix.notes if name != "next_use"}
    if gap is not None:
        notes["next_use"] = gap
    return replace(prefix, notes=tuple(sorted(notes.items())))


def _without_frees(block: Block) -> Block:
    ops = (op for op in block.ops if not isinstance(op, Free))
    kept = [with_blocks(op, tuple(map(_without_frees, blocks(op)))) for op in ops]
    return replace(block, ops=tuple(kept))


@dataclass(slots=True)
class _Use:
    """Where a context is made and last read in its block, and how often it is read."""

    made: int
    last: int | None = None
    count: int = 0

    def read(self, at: int, times: int) -> None:
        self.last = at
        self.count += times


def _block(block: Block, distances: Mapping[Key, int]) -> tuple[Block, Counter[Value]]:
    """The block with frees, and how often it reads contexts of the regions around it."""
    uses = {param: _Use(-1) for param in contexts(block.params)}
    outside: Counter[Value] = Counter()
    ops: list[Op] = []
    for at, op in enumerate(block.ops):
        op, read = _inner(op, distances)
        ops.append(op)
        for context, times in read.items():
            if context in uses:
                uses[context].read(at, times)
            else:
                outside[context] += times
        uses.update({context: _Use(at) for context in contexts(op.results)})
    outside.update(context for context in contexts(block.yields) if context not in uses)
    return replace(block, ops=_freeing(ops, uses, block.yields, distances)), outside


def _inner(op: Op, distances: Mapping[Key, int]) -> tuple[Op, Counter[Value]]:
    """An op with frees in its regions, and how often it and they read contexts around it."""
    read = Counter(contexts(operands(op)))
    done: list[Block] = []
    for held in blocks(op):
        held, outside = _block(held, distances)
        done.append(held)
        for context, times in outside.items():
            read[context] += 2 * times if isinstance(op, Map | Fold) else times
    return with_blocks(op, tuple(done)), read


def _freeing(
    ops: list[Op],
    uses: dict[Value, _Use],
    yields: tuple[Value, ...],
    distances: Mapping[Key, int],
) -> tuple[Op, ...]:
    """The ops with notes on what makes a context, and a free after each one's last use."""
    ends: dict[int, list[Value]] = {}
    for context, use in uses.items():
        if context not in yields:
            ends.setdefault(use.made if use.last is None else use.last, []).append(context)
    out: list[Op] = [Free(context=context, results=()) for context in ends.get(-1, ())]
    for at, op in enumerate(ops):
        if isinstance(op, Fill):
            op = _noted(op, uses[op.result], distances.get(op.result))
        out.append(op)
        out += [Free(context=one, results=(), span=op.span) for one in ends.get(at, ())]
    return tuple(out)


def _noted(op: Fill, use: _Use, gap: int | None) -> Fill:
    """A fill, with what is known of its context's future."""
    saved = sum(len(p.ids) for p in op.parts if isinstance(p, Ids)) * (use.count - 1)
    return op.with_notes(next_use=gap, pin=saved if saved > 0 else None)
