"""Number the groups of generations that are awaited together, and order each by shared prefixes.

    %x = context.gen %c1                     %x = context.gen %c1 {group = 0, order = 0}
    %y = context.gen %c9                ==>  %y = context.gen %c9 {group = 0, order = 2}
    %z = context.gen %c2                     %z = context.gen %c2 {group = 0, order = 1}
    %all = apply list(%x, %y, %z)            %all = apply list(%x, %y, %z)

A group has one awaiting reader, one criterion and one model. `order` is the depth-first order of
the tree of contexts, so that prompts which share most run next to each other. Every generation is
in exactly one group; those of one `map` are one op, hence one group.

Precondition: `lower-calls` has run; `propagate-criteria`, for criteria. Linear, but for one sort.
"""

from collections import defaultdict
from collections.abc import Hashable

from parrotc.ir.ops import Block, Flow, Generate, Module, Op, blocks, operands, walk, with_blocks
from parrotc.passes.awaits import awaited
from parrotc.passes.chains import contexts, origins
from parrotc.passes.remark import Remark, Remarks
from parrotc.passes.rewrite import map_flows
from parrotc.passes.target import Target


def group(module: Module, target: Target, remarks: Remarks) -> Module:
    return map_flows(module, lambda flow: _grouped(flow, remarks))


def _grouped(flow: Flow, remarks: Remarks) -> Block:
    waits = awaited(flow.body)
    models = {name: op.model for name, op in origins(flow.body).items()}
    place = _depth_first(flow.body)
    groups: dict[Hashable, list[Generate]] = defaultdict(list)
    for op in walk(flow.body):
        if isinstance(op, Generate):
            key = (waits[op.site], op.note("criteria"), models[op.context.name])
            groups[key].append(op)
    notes: dict[str, tuple[int, int]] = {}
    for number, gens in enumerate(groups.values()):
        for order, op in enumerate(sorted(gens, key=lambda op: place[op.context.name])):
            notes[op.site] = (number, order)
        if len(gens) > 1:
            message = f"{len(gens)} generations are awaited together: they run as one group"
            remarks.append(Remark("group", message, gens[0].span))
    return _noted(flow.body, notes)


def _noted(block: Block, notes: dict[str, tuple[int, int]]) -> Block:
    def visit(op: Op) -> Op:
        if isinstance(op, Generate):
            number, order = notes[op.site]
            return op.with_notes(group=number, order=order)
        held = blocks(op)
        return with_blocks(op, tuple(_noted(one, notes) for one in held)) if held else op

    return Block(block.params, tuple(map(visit, block.ops)), block.yields)


def _depth_first(body: Block) -> dict[str, int]:
    """Contexts numbered depth-first over the tree in which each hangs below what it goes on from.

    What a region carries or yields hangs below what goes in.
    """
    children: dict[str, list[str]] = defaultdict(list)
    roots: list[str] = []
    for op in walk(body):
        held = blocks(op)
        yields = [value for block in held for value in block.yields]
        above = [value.name for value in contexts((*operands(op), *yields))]
        params = [param for block in held for param in block.params]
        for value in contexts((*op.results, *params)):
            (children[above[0]] if above else roots).append(value.name)
    place: dict[str, int] = {}
    waiting = roots[::-1]
    while waiting:
        name = waiting.pop()
        place[name] = len(place)
        waiting += reversed(children[name])
    return place
