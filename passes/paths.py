"""Which messages a context may have been through: the lists of roles that a template must render.

Loops are followed for no, one, two and three rounds: a template that treats those alike treats all
alike. A path is a tuple of the values that `context.message` assigned, in order.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

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
)
from parrotc.passes.chains import carried

Path = tuple[Value, ...]
Paths = frozenset[Path]

ROUNDS = 3
MOST = 256  # paths of one context; beyond, nothing is promised


@dataclass(slots=True)
class Gen:
    """A generation, and the message lists it may be reached with; None: too many to list."""

    op: Generate
    paths: Paths | None


@dataclass(slots=True)
class Trace:
    """What following every chain of a flow found."""

    gens: dict[str, Gen] = field(default_factory=dict)  # by site
    messages: dict[Value, Message] = field(default_factory=dict)
    ends: list[End] = field(default_factory=list)
    paths: dict[Value, Paths | None] = field(default_factory=dict)


def trace(body: Block) -> Trace:
    found = Trace()
    _visit(body, found)
    return found


def _visit(block: Block, found: Trace) -> None:
    paths = found.paths
    for op in block.ops:
        match op:
            case Open():
                paths[op.result] = frozenset([()])
            case Message():
                found.messages[op.result] = op
                before = paths[op.context]
                after = None if before is None else _bounded((*p, op.result) for p in before)
                paths[op.result] = after
            case Generate():
                gen = found.gens.setdefault(op.site, Gen(op, frozenset()))
                gen.paths = _union(gen.paths, paths[op.context])
                paths[op.results[0]] = paths[op.context]
            case Fold():
                _fold(op, found)
            case If():
                _visit(op.then, found)
                _visit(op.orelse, found)
                rows = zip(op.results, op.then.yields, op.orelse.yields, strict=True)
                for result, then, orelse in rows:
                    if then in paths:
                        paths[result] = _union(paths[then], paths[orelse])
            case End():
                found.ends.append(op)
                paths[op.result] = paths[op.context]
            case Fill() | Render():
                paths[op.result] = paths[op.context]
            case Map() | Attempt():
                _visit(op.body, found)
                for result, last in zip(op.results, op.body.yields, strict=True):
                    if last in paths:
                        paths[result] = paths[last]


def _fold(op: Fold, found: Trace) -> None:
    paths = found.paths
    rows = list(carried(op))
    for init, param, _, result in rows:
        paths[param] = paths[result] = paths[init]
    for _ in range(ROUNDS if rows else 1):
        _visit(op.body, found)
        for _, param, last, result in rows:
            paths[param] = paths[last]
            paths[result] = _union(paths[result], paths[last])


def _union(a: Paths | None, b: Paths | None) -> Paths | None:
    if a is None or b is None:
        return None
    return a if b is a else _bounded((*a, *b))


def _bounded(paths: Iterable[Path]) -> Paths | None:
    every = frozenset(paths)
    return every if len(every) <= MOST else None
