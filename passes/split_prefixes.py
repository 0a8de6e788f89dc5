"""Fill once what several prompts begin with, across the whole module.

    %a = context.fill %c, ids[7, 8, 9, 1]         %c.1 = context.fill %c, ids[7, 8, 9]
    %b = context.fill %c, ids[7, 8, 9, 2]    ==>  %a = context.fill %c.1, ids[1]
                                                  %b = context.fill %c.1, ids[2]

All that is read after one context makes a radix tree over token ids and values (`trie.py`): the
same unknown value in the same place is shared too. Fills are split where their prompts diverge,
and a piece that several read is filled where all of them can see it; fills run on demand, so one
that only an arm of an `if` reads costs nothing when the other is taken. Pieces of constants that
several flows, or all runs of one, begin with become prefixes of the module, which flows open from.

A piece ends only after an id: text that is held back is tokenised with what follows, so two
prompts that differ there share none of it. Text endpoints have no ids and are left alone.

Precondition: `tokenize` has run; no `context.free`. Linear in the tokens of the module.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from parrotc.ir.names import Names
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
    operands,
    substitute,
    walk,
    with_blocks,
)
from parrotc.ir.types import CONTEXT
from parrotc.passes.chains import origins
from parrotc.passes.forest import Forest
from parrotc.passes.regions import Position
from parrotc.passes.remark import Remark, Remarks
from parrotc.passes.rewrite import map_flows
from parrotc.passes.target import Target
from parrotc.passes.trie import Node, Unit, parts_of

WORTH_SAYING = 16  # shared tokens


def split_prefixes(module: Module, target: Target, remarks: Remarks) -> Module:
    forest = Forest(module, target)
    module = map_flows(module, lambda flow: _Splitting(flow, forest, target, remarks).body())
    for model, nodes in forest.left_out.items():
        _remark_left_out(model, nodes, target, remarks)
    return replace(module, prefixes=_prefixes(forest, target, remarks))


def _prefixes(forest: Forest, target: Target, remarks: Remarks) -> tuple[Prefix, ...]:
    """The entries as prefixes of the module, parents first."""
    models = {tree: name for name, tree in forest.trees.items()}
    found: list[Prefix] = []
    for node, name in forest.entries.items():
        ids, above = node.units, node.above()
        while above.parent is not None and above not in forest.entries:
            ids = above.units + ids
            above = above.parent
        tokens = tuple(unit for unit in ids if isinstance(unit, int))
        model = models[node.root]
        text = _text(tokens, model, target)
        found.append(Prefix(name, model, forest.entries.get(above), tokens, text))
        users = f"{len(node.flows)} flows" if len(node.flows) > 1 else "all runs"
        message = f"{len(tokens)} tokens of `{model}` are filled once for {users}"
        remarks.append(Remark("split-prefixes", message))
    return tuple(found)


def _remark_left_out(model: str, nodes: list[Node], target: Target, remarks: Remarks) -> None:
    """Say what is filled again in each run, though every run begins with it."""
    ends = [node for node in nodes if node.ends]
    if not ends:
        return
    tokens = sum(len(node.units) for node in nodes)
    room = target.models[model].kept
    message = (
        f"{len(ends)} constant starts of `{model}` with {tokens:,} tokens are filled in each run: "
        f"{room:,} tokens are kept between runs"
    )
    remarks.append(Remark("split-prefixes", message))


def _text(ids: tuple[int, ...], model: str, target: Target) -> str:
    known = target.models.get(model)
    return known.tokenizer.decode(list(ids)) if known and known.tokenizer else ""


class _Splitting:
    """One flow, built anew: what several fills go through stands where all of them see it."""

    def __init__(self, flow: Flow, forest: Forest, target: Target, remarks: Remarks) -> None:
        self._flow = flow
        self._entries = forest.entries
        self._planted = forest.flows[flow.name]
        opened = origins(flow.body)
        self._models = {tree: name for name, tree in forest.trees.items()}
        self._models |= {r: opened[v.name].model for r, v in self._planted.roots.items()}
        self._target = target
        self._remarks = remarks
        self._names = Names(flow.body)
        self._contexts: dict[Node, Value] = {r: v for r, v in self._planted.roots.items()}
        self._inserted: dict[Position, list[Op]] = defaultdict(list)
        self._fills: dict[Value, Fill] = {}
        self._same: dict[Value, Value] = {}
        self._regions = 0

    def body(self) -> Block:
        """Contexts first, so that it is known what stands before each op."""
        body = self._flow.body
        for op in walk(body):
            if isinstance(op, Fill):
                self._fill(op)
        self._read(body.yields)
        for op in walk(body):
            if not isinstance(op, Fill):
                self._read(operands(op))
            for block in blocks(op):
                self._read(block.yields)
        return self._block(body)

    def _read(self, values: Iterable[Value]) -> None:
        for value in values:
            node = self._planted.at.get(value)
            if node is not None:
                self._same[value] = self._context(node)

    def _fill(self, op: Fill) -> None:
        """A fill keeps what it alone reads, after the last context that it shares."""
        filling = self._planted.fillings[op.result]
        own: tuple[Unit, ...] = ()
        node = filling.end
        while node is not filling.start and not self._is_shared(node):
            own = node.units + own
            node = node.above()
        context = self._context(node)
        if not own and not filling.rest:
            self._same[op.result] = context
            return
        parts = (*self._parts(own, node), *filling.rest)
        self._fills[op.result] = replace(op, context=context, parts=parts)
        if not filling.rest:
            self._contexts[filling.end] = op.result

    def _is_shared(self, node: Node) -> bool:
        return node in self._entries or node.flows[self._flow.name].count > 1

    # --- contexts at nodes ---

    def _context(self, node: Node) -> Value:
        """The context at a node, with those it needs on the way; made once."""
        chain: list[Node] = []
        while node not in self._contexts:
            chain.append(node)
            if self._opens(node):
                break
            node = self._before(node)
        for one in reversed(chain):
            self._contexts[one] = self._make(one)
        return self._contexts[chain[0] if chain else node]

    def _opens(self, node: Node) -> bool:
        return node in self._entries or node.parent is None

    def _before(self, node: Node) -> Node:
        """The closest node above whose context is of use to anything but this node."""
        name = self._flow.name
        count = node.flows[name].count
        above = node.above()
        while not (
            above in self._contexts
            or self._opens(above)
            or name in above.ends
            or above.flows[name].count != count
        ):
            above = above.above()
        return above

    def _make(self, node: Node) -> Value:
        passing = node.flows[self._flow.name]
        result = node.names.get(self._flow.name) or self._names.fresh("c", CONTEXT)
        op: Op
        if self._opens(node):
            model, prefix = self._models[node.root], self._entries.get(node)
            op = Open(results=(result,), model=model, prefix=prefix, span=passing.span)
        else:
            above = self._before(node)
            units, at = node.units, node.above()
            while at is not above:
                units, at = at.units + units, at.above()
            parts = tuple(self._parts(units, node))
            op = Fill(
                results=(result,), context=self._contexts[above], parts=parts, span=passing.span
            )
            self._remark(op, passing.count)
        self._inserted[passing.position].append(op)
        return result

    def _parts(self, units: Sequence[Unit], node: Node) -> Iterator[Part]:
        for part in parts_of(units):
            if isinstance(part, list):
                yield Ids(tuple(part), _text(tuple(part), self._models[node.root], self._target))
            else:
                yield part

    def _remark(self, op: Fill, count: int) -> None:
        tokens = sum(len(part.ids) for part in op.parts if isinstance(part, Ids))
        if count > 1 and tokens >= WORTH_SAYING:
            message = f"{count} prompts share {tokens} tokens"
            self._remarks.append(Remark("split-prefixes", message, op.span))

    # --- then the ops around them ---

    def _block(self, block: Block) -> Block:
        region = self._regions
        self._regions += 1
        ops: list[Op] = []
        for at, op in enumerate(block.ops):
            ops += sorted(self._inserted.get(Position(region, at), ()), key=_opens_first)
            match op:
                case Open():
                    pass  # made anew where it is needed
                case Fill():
                    if op.result in self._fills:
                        ops.append(self._fills[op.result])
                case _:
                    op = substitute(op, self._same)
                    if held := blocks(op):
                        op = with_blocks(op, tuple(map(self._block, held)))
                    ops.append(op)
        yields = tuple(self._same.get(value, value) for value in block.yields)
        return Block(block.params, tuple(ops), yields)


def _opens_first(op: Op) -> tuple[int, int, str]:
    """Opened prefixes by number before the fills, in whatever order contexts were asked for."""
    if not isinstance(op, Open):
        return (1, 0, "")
    return (0, len(op.prefix or ""), op.prefix or "")
