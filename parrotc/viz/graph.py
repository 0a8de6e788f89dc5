"""What a picture of a flow shows, as data: inputs, calls, results, and prompts that calls share.

An op that only rearranges data is not drawn: who reads it is joined to those whose values it
holds. Shared prompts are drawn as a tree: each part that several calls continue, once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import networkx as nx

from parrotc.ir.ops import (
    Apply,
    Attempt,
    Block,
    Const,
    Effect,
    Fill,
    Flow,
    Fold,
    Generate,
    If,
    Map,
    Module,
    Native,
    Op,
    Open,
    Value,
    blocks,
    operands,
    walk,
)
from parrotc.passes.target import Target
from parrotc.prompts import Prompt, Prompts


@dataclass(frozen=True)
class Tokens:
    """A prompt, in words: what is read once for several calls, other constants, other values."""

    shared: str
    constant: int
    values: str


@dataclass(frozen=True)
class Node:
    """`kind` is input, call, native, result or shared. `box` is the loop it stands in, if any."""

    name: str
    kind: str
    title: str
    detail: str = ""
    tokens: Tokens | None = None
    group: int | None = None
    weight: float = 0.0
    box: str | None = None
    critical: bool = False


@dataclass(frozen=True)
class Edge:
    """From one node to another: a value that is passed on, or (`shared`) a prompt continued."""

    start: str
    end: str
    shared: bool = False
    critical: bool = False


@dataclass(frozen=True)
class Box:
    """A loop or a branch, around what it repeats."""

    name: str
    title: str
    box: str | None = None


@dataclass(frozen=True)
class Picture:
    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    boxes: tuple[Box, ...]


def picture(title: str, written: Module, module: Module, flow: Flow, target: Target) -> Picture:
    """The picture of a flow of `module`, which `written` was lowered to."""
    drawn = _Drawing(Prompts(written, module, flow, target))
    drawn.draw()
    nodes, edges = _with_critical_path(tuple(drawn.nodes), _needed(drawn.edges))
    return Picture(title, nodes, edges, tuple(drawn.boxes))


@dataclass(slots=True)
class _Drawing:
    """A walk through a flow. `origins` are the nodes that a value comes from."""

    prompts: Prompts
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    origins: dict[Value, tuple[str, ...]] = field(default_factory=dict)
    _by_op: dict[int, Prompt] = field(default_factory=dict)
    _decided_by: tuple[str, ...] = ()  # what must be known before it is clear that a call happens

    def draw(self) -> None:
        flow = self.prompts.flow
        self._by_op = {id(prompt.op): prompt for prompt in self.prompts.prompts}
        for param in flow.params:
            name = f"input:{param.value.name}"
            default = f" = {param.default}" if param.has_default else ""
            self.nodes.append(Node(name, "input", param.value.name, f"{param.value.type}{default}"))
            self.origins[param.value] = (name,)
        self._forks()
        self._block(flow.body, None)
        self.nodes.append(Node("result", "result", "result", str(flow.result.type)))
        self._join(self.origins.get(flow.result, ()), "result")
        self._drop_unused_inputs()

    def _block(self, block: Block, box: str | None) -> None:
        for op in block.ops:
            match op:
                case Generate():
                    self._call(op, box)
                case Native():
                    self._native(op, box)
                case Map() | Fold() | Attempt() | If():
                    self._region(op, box)
                case _:
                    sources = self._sources(operands(op))
                    self.origins.update(dict.fromkeys(op.results, sources))

    def _call(self, op: Generate, box: str | None) -> None:
        prompt = self._by_op[id(op)]
        name = f"call:{op.site}"
        self.nodes.append(
            Node(
                name,
                "call",
                prompt.title,
                _asked(op),
                tokens=self._tokens(prompt),
                group=op.note("group"),
                weight=float(op.note("cost") or 1),
                box=box,
            )
        )
        self._join(_unique((*self._read(prompt), *self._decided_by)), name)
        if prompt.fork is not None and self.prompts.continued(prompt) is None:
            self.edges.append(Edge(self._fork(prompt.fork), name, shared=True))
        self.origins.update(dict.fromkeys(op.results, (name,)))

    def _read(self, prompt: Prompt) -> tuple[str, ...]:
        """The nodes whose values a prompt shows, after the last generation that it continues."""
        return self.origins.get(prompt.op.context, ())

    def _native(self, op: Native, box: str | None) -> None:
        name = f"native:{op.result.name}"
        effect = "" if op.effect is Effect.PURE else str(op.effect)
        title = self.prompts.python_name(op)
        self.nodes.append(Node(name, "native", title, effect, box=box))
        self._join(self._sources(op.args), name)
        self.origins[op.result] = (name,)

    def _region(self, op: Map | Fold | Attempt | If, box: str | None) -> None:
        """A loop or a branch: a box if something in it is drawn, else nothing to see."""
        visible = any(isinstance(inner, Generate | Native) for inner in _inside(op))
        inner_box = box
        if visible and not isinstance(op, Attempt):
            inner_box = f"box:{len(self.boxes)}"
            self.boxes.append(Box(inner_box, self._heading(op), box))
        outside = self._sources(operands(op))
        if isinstance(op, Map | Fold):
            (body,) = blocks(op)
            given = [op.items, op.items, *(op.inits if isinstance(op, Fold) else ())]
            for param, value in zip(body.params, given, strict=True):
                self.origins[param] = self.origins.get(value, ())
        before = self._decided_by
        if isinstance(op, If):
            self._decided_by = _unique((*before, *outside))
        for body in blocks(op):
            self._block(body, inner_box)
        self._decided_by = before
        for index, result in enumerate(op.results):
            at = index + (1 if isinstance(op, Fold) and op.early else 0)
            yields = [body.yields[at] for body in blocks(op)]
            reached = self._sources(yields)
            also = outside if isinstance(op, If) or not reached else ()
            self.origins[result] = _unique((*reached, *also))

    def _heading(self, op: Map | Fold | If) -> str:
        if isinstance(op, If):
            arms = [any(isinstance(one, Generate) for one in walk(body)) for body in blocks(op)]
            return "one or the other" if all(arms) else "only in some cases"
        how = "at once" if isinstance(op, Map) else "one after another"
        count = self.prompts.labelled(self.prompts.analysis.items(op))
        maker = self.prompts.analysis.producer(op.items)
        if isinstance(maker, Const) or (isinstance(maker, Apply) and maker.function == "range"):
            return f"{count} times, {how}"
        return f"for each of {self.prompts.label(op.items.name)}, {how}"

    # --- shared prompts ---

    def _forks(self) -> None:
        """A node for each context that several calls continue, under the one before it."""
        drawn: set[str] = set()
        for prompt in self.prompts.prompts:
            start, above = 0, ""
            for at, context in enumerate(prompt.contexts):
                if not self.prompts.is_fork(context):
                    continue
                name, part = self._fork(context), prompt.contexts[start : at + 1]
                if name not in drawn:
                    constant, values = self.prompts.made_of(part)
                    title = " + ".join([f"{constant} tokens", *values])
                    self.nodes.append(Node(name, "shared", f"{title}, read once", self._text(part)))
                    self.edges += [Edge(above, name, shared=True)] if above else []
                    drawn.add(name)
                start, above = at + 1, name

    def _fork(self, context: Value) -> str:
        """The node of a context that is continued; contexts opened from one prefix are one."""
        op = self.prompts.analysis.producer(context)
        name = op.prefix if isinstance(op, Open) and op.prefix else context.name
        return f"shared:{name}"

    def _tokens(self, prompt: Prompt) -> Tokens:
        shared = self.prompts.shared(prompt).constant
        constant, values = self.prompts.made_of(self.prompts.own(prompt))
        if self.prompts.continued(prompt) is not None:
            first = "goes on"
        elif prompt.fork is None:
            first = ""
        else:
            first = "shared" if shared is None else f"{shared:g} shared"
        return Tokens(first, constant, ", ".join(values))

    def _text(self, contexts: Sequence[Value]) -> str:
        """The text that is read on the way through contexts."""
        texts: list[str] = []
        for made in contexts:
            match self.prompts.analysis.producer(made):
                case Fill(parts=parts):
                    texts += [
                        f"{{{self.prompts.label(p.name)}}}" if isinstance(p, Value) else p.text
                        for p in parts
                    ]
                case Open(prefix=str(prefix)):
                    texts.append(self.prompts.prefix_text(prefix))
        return "".join(texts)

    # --- who reads what ---

    def _sources(self, values: Sequence[Value] | Iterator[Value]) -> tuple[str, ...]:
        return _unique(name for value in values for name in self.origins.get(value, ()))

    def _join(self, starts: Sequence[str], end: str) -> None:
        self.edges += [Edge(start, end) for start in starts]

    def _drop_unused_inputs(self) -> None:
        used = {edge.start for edge in self.edges}
        self.nodes = [node for node in self.nodes if node.kind != "input" or node.name in used]


def _unique(names: "Iterator[str] | Sequence[str] | tuple[str, ...]") -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _inside(op: Op) -> Iterator[Op]:
    for block in blocks(op):
        yield from walk(block)


def _asked(op: Generate) -> str:
    parts = [f"up to {op.max_tokens} tokens"]
    if op.temperature:
        parts.append(f"temperature {op.temperature:g}")
    criteria = op.note("criteria")
    if criteria:
        parts.append(str(criteria))
    return " · ".join(parts)


def _needed(edges: Sequence[Edge]) -> tuple[Edge, ...]:
    """The edges without those that longer ways imply: whoever waits for a call waits for what the
    call waits for."""
    graph = nx.DiGraph((edge.start, edge.end) for edge in edges if not edge.shared)
    kept = set(nx.transitive_reduction(graph).edges)
    every = dict.fromkeys(edges)
    return tuple(edge for edge in every if edge.shared or (edge.start, edge.end) in kept)


def _with_critical_path(
    nodes: tuple[Node, ...], edges: tuple[Edge, ...]
) -> tuple[tuple[Node, ...], tuple[Edge, ...]]:
    """The nodes and edges, those marked that are on the path that takes longest to the result.

    A call weighs what the compiler expects it to cost, or 1. Where several paths weigh the same,
    the first. Nodes are listed after those that they read.
    """
    before: dict[str, list[str]] = {node.name: [] for node in nodes}
    for edge in edges:
        if not edge.shared and edge.start in before:
            before[edge.end].append(edge.start)
    length: dict[str, float] = {}
    best: dict[str, str] = {}
    for node in nodes:
        for start in before[node.name]:
            if length.get(start, 0) > length.get(best.get(node.name, ""), -1):
                best[node.name] = start
        length[node.name] = length.get(best.get(node.name, ""), 0) + node.weight
    path = ["result"]
    while path[-1] in best:
        path.append(best[path[-1]])
    steps = set(zip(path[1:], path, strict=False))
    return (
        tuple(replace(node, critical=node.name in path) for node in nodes),
        tuple(
            replace(edge, critical=not edge.shared and (edge.start, edge.end) in steps)
            for edge in edges
        ),
    )
