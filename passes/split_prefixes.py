"""Fill once what several prompts begin with, across the whole module.

    %a = context.fill %c, ids[7, 8, 9, 1]         %c.1 = context.fill %c, ids[7, 8, 9]
    %b = context.fill %c, ids[7, 8, 9, 2]    ==>  %a = context.fill %c.1, ids[1]
                                                  %b = context.fill %c.1, ids[2]

All that is read after one context makes a radix tree over token ids and values (`trie.py`): the
same unknown value in the same place is shared too. Fills are split where their prompts diverge,
and a piece that several read is filled where all of them can see it; fills run on demand, so one
that only an arm of an `if` reads costs nothing when the other is taken. Pieces of constants that
several flows begin with become prefixes of the module, which flows open from.

A piece ends only after an id: text that is held back is tokenised with what follows, so two
prompts that differ there share none of it. Text endpoints have no ids and are left alone.

Precondition: `tokenize` has run; no `context.free`. Linear in the tokens of the module.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from parrotc.ir.ops import (
    Block,
    Fill,
    Flow,
    Ids,
    Module,
    Op,
    Open,
    Part,
    Prefix,
    Value,
    blocks,
    substitute,
    with_blocks,
)
from parrotc.ir.types import CONTEXT
from parrotc.passes.chains import origins
from parrotc.passes.forest import Forest
from parrotc.passes.regions import Position
from parrotc.passes.remark import Remark, Remarks
from parrotc.passes.rewrite import Names, map_flows
from parrotc.passes.target import Target
from parrotc.passes.trie import Node, Unit, parts_of

WORTH_SAYING = 16  # shared tokens


def split_prefixes(module: Module, target: Target, remarks: Remarks) -> Module:
    forest = Forest(module)
    module = map_flows(module, lambda flow: _Splitting(flow, forest, target, remarks).body())
    return replace(module, prefixes=_prefixes(forest, target, remarks))


def _prefixes(forest: Forest, target: Target, remarks: Remarks) -> tuple[Prefix, ...]:
    models = {tree: name for name, tree in forest.trees.items()}
    found: list[Prefix] = []
    for node, name in forest.entries.items():
        ids: tuple[Unit, ...] = node.units
        above = node.parent
        while above is not None and above.parent is not None and above not in forest.entries:
            ids = above.units + ids
            above = above.parent
        root = node
        while root.parent is not None:
            root = root.parent
        tokens = tuple(unit for unit in ids if isinstance(unit, int))
        text = _text(models[root], tokens, target)
        parent = forest.entries.get(above) if above is not None else None
        found.append(Prefix(name, models[root], parent, tokens, text))
        message = f"{len(tokens)} tokens are a prefix that {len(node.flows)} flows open from"
        remarks.append(Remark("split-prefixes", message))
    return tuple(found)


def _text(model: str, ids: tuple[int, ...], target: Target) -> str:
    known = target.models.get(model)
    return known.tokenizer.decode(list(ids)) if known and known.tokenizer else ""


class _Splitting:
    """One flow, built anew: what several fills go through stands where all of them see it."""

    def __init__(self, flow: Flow, forest: Forest, target: Target, remarks: Remarks) -> None:
        self._flow = flow
        self._forest = forest
        self._planted = forest.flows[flow.name]
        self._models = {tree: name for name, tree in forest.trees.items()}
        self._origins = origins(flow.body)
        self._target = target
        self._remarks = remarks
        self._names = Names(flow.body)
        self._contexts: dict[Node, Value] = dict(self._planted.roots)
        self._inserted: dict[Position, list[Op]] = defaultdict(list)
        self._fills: dict[Value, Fill] = {}
        self._same: dict[Value, Value] = {}
        self._region = -1

    def body(self) -> Block:
        self._place(self._flow.body)
        return self._block(self._flow.body)

    # --- first, the contexts that each op needs ---

    def _place(self, block: Block) -> None:
        for op in block.ops:
            if isinstance(op, Fill):
                self._fill(op)
            for inner in blocks(op):
                self._place(inner)
        for value, node in self._planted.at.items():
            ...

    def _fill(self, op: Fill) -> None:
        """A fill of what it alone reads, from the last context that it shares."""
        filling = self._planted.fillings[op.result]
        own: list[Node] = []
        node = filling.end
        while node is not filling.start and not self._is_shared(node):
            own.append(node)
            assert node.parent is not None
            node = node.parent
        context = self._context(node)
        units = [unit for one in reversed(own) for unit in one.units]
        if not units and not filling.rest:
            self._same[op.result] = context
            return
        parts = (*self._parts(units, op.context), *filling.rest)
        self._fills[op.result] = replace(op, context=context, parts=parts)
        if not filling.rest:
            self._contexts[filling.end] = op.result

    def _is_shared(self, node: Node) -> bool:
        return node in self._forest.entries or node.flows[self._flow.name].count > 1
