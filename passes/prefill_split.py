"""Fill a prompt as far as it is known while the value that it waits for is still on its way.

    %facts = native @look(%q)                         %facts = native @look(%q)
    %c1 = context.fill %c, ids[…] "Rules…",           %c1.1 = context.fill %c, ids[…] "Rules…",
        %doc, "Facts: ", %facts, ids[…]         ==>       %doc, "Facts: " {early = true}
    %c2, %a = context.gen %c1                         %c1 = context.fill %c1.1, %facts, ids[…]
                                                      %c2, %a = context.gen %c1

A fill is cut before each value that arrives later than all before it, and what comes before the
cut is marked `early`: the runtime may fill it as soon as its operands are there, with room that
nobody else needs. Where everything before the value is filled by a region around (a hoisted
prefix), an empty fill carries the mark. A fold whose rounds wait for what the round before carries
is marked `ahead`: the next round's fills begin while this one runs.

Left alone: fills that no generation of their own region is sure to need, so that nothing is filled
for a branch not taken or a loop over nothing; fewer than `WORTH` tokens; folds that may stop early;
text endpoints.

Precondition: `tokenize` has run; no `context.free`. Linear, but for folds, which are walked twice.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from parrotc.ir.names import Names
from parrotc.ir.ops import (
    Apply,
    Block,
    Fill,
    Flow,
    Fold,
    Module,
    Op,
    Open,
    Value,
    blocks,
    with_blocks,
)
from parrotc.passes.arrivals import Arrivals, carried, cut, prompts
from parrotc.passes.costs import VALUE, Costs
from parrotc.passes.remark import Remark, Remarks
from parrotc.passes.rewrite import map_flows
from parrotc.passes.target import Target

WORTH = 16  # tokens


def prefill_split(module: Module, target: Target, remarks: Remarks) -> Module:
    sizes: dict[str | None, int] = {None: 0}
    for prefix in module.prefixes:  # parents first
        sizes[prefix.name] = sizes[prefix.parent] + len(prefix.ids)

    def change(flow: Flow) -> Block:
        costs = Costs(flow.body, target)
        work = _Splitting(Arrivals(flow.body, costs), costs, sizes, Names(flow.body), remarks)
        return work.block(flow.body)

    return map_flows(module, change)


@dataclass(slots=True)
class _Marks:
    """What is to be done in one region, by the names of contexts."""

    cuts: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    early: set[str] = field(default_factory=set)  # made by fills, or opened
    carriers: dict[str, Value] = field(default_factory=dict)  # fills that need one before them
    late: set[str] = field(default_factory=set)  # values that something is filled before


class _Splitting:
    def __init__(
        self,
        arrivals: Arrivals,
        costs: Costs,
        sizes: dict[str | None, int],
        names: Names,
        remarks: Remarks,
    ) -> None:
        self._arrivals = arrivals
        self._costs = costs
        self._sizes = sizes
        self._names = names
        self._remarks = remarks

    def block(self, block: Block) -> Block:
        return self._marked(block, self._marks(block))

    def _marked(self, block: Block, marks: _Marks) -> Block:
        ops: list[Op] = []
        for op in block.ops:
            if isinstance(op, Fold):
                op = self._fold(op)
            elif held := blocks(op):
                op = with_blocks(op, tuple(map(self.block, held)))
            ops += self._changed(op, marks)
        return replace(block, ops=tuple(ops))

    def _fold(self, op: Fold) -> Fold:
        marks = self._marks(op.body)
        body = self._marked(op.body, marks)
        waits = marks.late & _made_of({param.name for param, _ in carried(op)}, op.body)
        op = replace(op, body=body)
        return op.with_notes(ahead=True) if waits and not op.early else op

    # --- what is early ---

    def _marks(self, block: Block) -> _Marks:
        opened = {op.result.name: op for op in block.ops if isinstance(op, Open)}
        marks = _Marks()
        for fills in prompts(block):
            if fills and self._costs.model(fills[0].context).tokenizer is not None:
                self._prompt(fills, opened.get(fills[0].context.name), marks)
        return marks

    def _prompt(self, fills: tuple[Fill, ...], opened: Open | None, marks: _Marks) -> None:
        """Mark what of one prompt can be filled before values that come late."""
        latest = self._arrivals.at(fills[0].context)
        tokens = self._sizes[opened.prefix] if opened else VALUE
        for number, fill in enumerate(fills):
            for at, part in enumerate(fill.parts):
                if isinstance(part, Value):
                    when = self._arrivals.at(part)
                    if self._arrivals.is_late(part, fill) and when >= latest and tokens >= WORTH:
                        self._cut(fills[: number + 1], at, opened, marks)
                        marks.late.add(part.name)
                        tokens = 0
                    latest = max(latest, when)
                tokens += self._tokens(fill, at)

    def _tokens(self, fill: Fill, at: int) -> int:
        if isinstance(fill.parts[at], Value):
            return VALUE
        return self._costs.constant_tokens(replace(fill, parts=fill.parts[at : at + 1]))

    def _cut(self, fills: tuple[Fill, ...], at: int, opened: Open | None, marks: _Marks) -> None:
        """All of `fills` is early, but for what comes from part `at` of the last on."""
        *before, last = fills
        marks.early.update(fill.result.name for fill in before)
        if at:
            marks.cuts[last.result.name].add(at)
        elif not before and opened is not None:
            marks.early.add(opened.result.name)
        elif not before:
            marks.carriers[last.result.name] = last.context

    # --- making it so ---

    def _changed(self, op: Op, marks: _Marks) -> Iterator[Op]:
        match op:
            case Open() if op.result.name in marks.early:
                yield op.with_notes(early=True)
            case Fill():
                yield from self._fills(op, marks)
            case _:
                yield op

    def _fills(self, op: Fill, marks: _Marks) -> Iterator[Fill]:
        name = op.result.name
        if name in marks.carriers:
            context = self._names.like(op.result)
            first = replace(op, results=(context,), parts=())
            yield first.with_notes(early=True)
            op = replace(op, context=context)
        pieces = cut(op, sorted(marks.cuts.get(name, ())), self._names)
        for piece in pieces[:-1]:
            yield piece.with_notes(early=True)
        last = pieces[-1]
        yield last.with_notes(early=True) if name in marks.early else last
        if len(pieces) > 1:
            message = "a prompt is filled up to here before the value that it waits for"
            self._remarks.append(Remark("prefill-split", message, op.span))


def _made_of(names: set[str], block: Block) -> set[str]:
    """The values with `names`, and those that functions make of them in a region."""
    found = set(names)
    for op in block.ops:
        if isinstance(op, Apply) and any(arg.name in found for arg in op.args):
            found.add(op.result.name)
    return found
