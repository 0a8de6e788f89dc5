"""Move what is the same in every iteration out of the loop.

    %ys = map %x in %xs {                             %c = context.open @m
      %c = context.open @m                            %c1.1 = context.fill %c, ids[1, 2]
      %c1 = context.fill %c, ids[1, 2], %x      ==>   %ys = map %x in %xs {
      %c2, %y = context.gen %c1                         %c1 = context.fill %c1.1, %x
      yield %y                                          %c2, %y = context.gen %c1
    }                                                   yield %y
                                                      }

Constants, pure functions and steps of contexts that read nothing made in the loop go out of `map`,
`fold` and `attempt`, as far out as they can; so does a region that holds nothing else, such as the
loop of a prompt that lists what all rounds know. A fill that begins with invariant parts is split
after the last ids among them: what comes then is tokenised with the value that follows, so it
stays. Out of an `if` go only single ops that both arms have. Fills run when a generation needs
them, so a loop over nothing fills nothing; a failed function is a value that only its readers see.

Left alone: generations, which would run even if the loop does not; natives.

Precondition: no `context.free`. Linear in the module, times how deep regions are nested.
"""

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import replace

from parrotc.ir.names import Names
from parrotc.ir.ops import (
    Apply,
    Block,
    Const,
    End,
    Fill,
    Flow,
    Fold,
    Ids,
    If,
    Map,
    Message,
    Module,
    Op,
    Open,
    Render,
    Value,
    blocks,
    operands,
    substitute,
    walk,
    with_blocks,
)
from parrotc.passes.remark import Remark, Remarks
from parrotc.passes.rewrite import map_flows, renamed
from parrotc.passes.shape import shape
from parrotc.passes.target import Target

MOVABLE = (Const, Apply, Open, Message, End, Fill, Render)
REGIONS = (Map, Fold, If)  # that move as a whole when all that they hold is movable


def hoist(module: Module, target: Target, remarks: Remarks) -> Module:
    def change(flow: Flow) -> Block:
        return _Hoisting(Names(flow.body), remarks).block(flow.body)

    return map_flows(module, change)


class _Hoisting:
    def __init__(self, names: Names, remarks: Remarks) -> None:
        self._names = names
        self._remarks = remarks

    def block(self, block: Block) -> Block:
        """The block with what its regions gave up standing before them, innermost first."""
        ops: list[Op] = []
        for op in block.ops:
            if held := blocks(op):
                inner = tuple(map(self.block, held))
                out, inner = self._arms(inner) if isinstance(op, If) else self._body(*inner)
                self._remark(op, out)
                ops += out
                op = with_blocks(op, inner)
            ops.append(op)
        return replace(block, ops=tuple(ops))

    def _remark(self, op: Op, out: list[Op]) -> None:
        if not isinstance(op, Map | Fold):
            return
        fills = [one for one in out if isinstance(one, Fill)]
        ids = [len(part.ids) for one in fills for part in one.parts if isinstance(part, Ids)]
        found = [f"{sum(ids)} tokens are"] if ids else []
        found += ["what a loop inside writes is" for one in out if _writes(one)]
        for what in found:
            message = f"{what} read once before this loop, not in each round"
            self._remarks.append(Remark("hoist", message, op.span))

    def _body(self, block: Block) -> tuple[list[Op], tuple[Block, ...]]:
        """What goes out of a region, and the region without it."""
        local = {value.name for value in block.params}
        out: list[Op] = []
        kept: list[Op] = []
        for op in block.ops:
            if isinstance(op, Fill) and op.context.name not in local:
                lead, op = self._split(op, local)
                out += lead
            if _moves_whole(op, local):
                out.append(op)
            else:
                local.update(value.name for value in op.results)
                kept.append(op)
        return out, (replace(block, ops=tuple(kept)),)

    def _split(self, op: Fill, local: set[str]) -> tuple[list[Op], Fill]:
        """A fill of the invariant leading parts up to the last ids among them, and of the rest."""
        variant = (n for n, p in enumerate(op.parts) if isinstance(p, Value) and p.name in local)
        end = next(variant, len(op.parts))
        if end == len(op.parts):
            return [], op
        while end and not isinstance(op.parts[end - 1], Ids):
            end -= 1
        if end == 0:
            return [], op
        context = self._names.like(op.result)
        lead = replace(op, results=(context,), parts=op.parts[:end])
        return [lead], replace(op, context=context, parts=op.parts[end:])

    def _arms(self, arms: tuple[Block, ...]) -> tuple[list[Op], tuple[Block, ...]]:
        """What both arms compute, and the arms without it."""
        then, orelse = arms
        twins = _Twins(orelse)
        local: set[str] = set()
        out: list[Op] = []
        kept: list[Op] = []
        for op in then.ops:
            if _moves(op, local) and twins.take(op):
                out.append(op)
            else:
                local.update(value.name for value in op.results)
                kept.append(op)
        return out, (replace(then, ops=tuple(kept)), twins.rest())


class _Twins:
    """The ops of one arm that the other may have too, as soon as what they read has gone out."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._local = {value.name for op in block.ops for value in op.results}
        self._same: dict[Value, Value] = {}
        self._ready: dict[Hashable, list[int]] = defaultdict(list)
        self._readers: dict[str, list[int]] = defaultdict(list)
        self._gone: set[int] = set()
        for at, op in enumerate(block.ops):
            for value in operands(op):
                self._readers[value.name].append(at)
            self._offer(at)

    def take(self, op: Op) -> bool:
        """Whether the arm has an equal op; it then gives way to `op`."""
        ready = self._ready[shape(op)]
        if not ready:
            return False
        at = ready.pop()
        self._gone.add(at)
        twin = self._block.ops[at]
        self._same[twin.results[0]] = op.results[0]
        self._local.discard(twin.results[0].name)
        for reader in self._readers[twin.results[0].name]:
            self._offer(reader)
        return True

    def _offer(self, at: int) -> None:
        op = self._block.ops[at]
        if _moves(op, self._local):
            self._ready[shape(substitute(op, self._same))].append(at)

    def rest(self) -> Block:
        ops = tuple(op for at, op in enumerate(self._block.ops) if at not in self._gone)
        return renamed(replace(self._block, ops=ops), self._same)


def _writes(op: Op) -> bool:
    """Whether a loop reads something into a prompt that it carries."""
    return isinstance(op, Fold) and any(isinstance(one, Fill) for one in walk(op.body))


def _moves(op: Op, local: set[str]) -> bool:
    return isinstance(op, MOVABLE) and not any(v.name in local for v in operands(op))


def _moves_whole(op: Op, local: set[str]) -> bool:
    """Whether an op can go, with its regions if it has some. Names are unique in a flow, so what
    the regions define themselves is never in `local`."""
    if not isinstance(op, REGIONS):
        return _moves(op, local)
    held = blocks(op)
    return not any(v.name in local for v in operands(op)) and all(
        all(_moves_whole(inner, local) for inner in block.ops)
        and not any(v.name in local for v in block.yields)
        for block in held
    )
