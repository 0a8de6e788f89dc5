"""Remove ops whose value nobody reads.

    %c, %draft = context.gen %b              ==>
    return %doc                                  return %doc

A generation that nobody reads goes too, sampled or not: drawing a text and dropping it cannot be
seen from outside. What a `map`, `fold` or `if` makes beside what is read goes from its yields, and
module prefixes that nothing opens go. Left alone: natives with effects and regions that hold one;
every yield of an `attempt` that stays, because any of them may be what makes it try again.

Precondition: none. Linear in the module, times how deep folds that carry values are nested.
"""

from collections.abc import Iterable
from dataclasses import replace

from parrotc.ir.ops import (
    Attempt,
    Block,
    Call,
    Fold,
    If,
    Map,
    Module,
    Op,
    Open,
    Prefix,
    Value,
    blocks,
    operands,
    walk,
)
from parrotc.passes.remark import Remarks
from parrotc.passes.rewrite import has_effect, map_bodies
from parrotc.passes.target import Target


def dce(module: Module, target: Target, remarks: Remarks) -> Module:
    effectful = {f.name for f in module.functions if any(map(has_effect, f.body.ops))}
    module = map_bodies(module, lambda held: _Sweep(effectful).block(held.body, held.body.yields))
    return replace(module, prefixes=_opened(module))


class _Sweep:
    def __init__(self, effectful: set[str]) -> None:
        self._effectful = effectful  # functions that call a native with an effect
        self._live: set[str] = set()

    def block(self, block: Block, yields: tuple[Value, ...]) -> Block:
        """The block with what `yields` and effects need."""
        self._read(yields)
        kept: list[Op] = []
        for op in reversed(block.ops):  # backwards, so that a dead chain goes in one walk
            wanted = [value.name in self._live for value in op.results]
            if any(wanted) or self._must_run(op):
                op = self._trim(op, wanted)
                self._read(operands(op))
                kept.append(op)
        return Block(block.params, tuple(reversed(kept)), yields)

    def _read(self, values: Iterable[Value]) -> None:
        self._live.update(value.name for value in values)

    def _must_run(self, op: Op) -> bool:
        if isinstance(op, Call):
            return op.function in self._effectful
        if held := blocks(op):
            return any(self._must_run(inner) for block in held for inner in block.ops)
        return op.has_effect()

    def _trim(self, op: Op, wanted: list[bool]) -> Op:
        """An op that stays, without the yields that nobody reads."""
        match op:
            case Map(body=body):
                body = self.block(body, _some(body.yields, wanted))
                return replace(op, results=_some(op.results, wanted), body=body)
            case If(then=then, orelse=orelse):
                return replace(
                    op,
                    results=_some(op.results, wanted),
                    then=self.block(then, _some(then.yields, wanted)),
                    orelse=self.block(orelse, _some(orelse.yields, wanted)),
                )
            case Attempt(body=body):
                return replace(op, body=self.block(body, body.yields))
            case Fold():
                return self._fold(op, wanted)
        return op

    def _fold(self, op: Fold, wanted: list[bool]) -> Op:
        """A carried value stays while its result, or the next round of one that stays, reads it."""
        first = 1 if op.early else 0
        carried = op.body.params[2:]
        while True:
            yields = op.body.yields[:first] + _some(op.body.yields[first:], wanted)
            body = self.block(op.body, yields)
            needed = [
                want or value.name in self._live
                for want, value in zip(wanted, carried, strict=True)
            ]
            if needed == wanted:
                break
            wanted = needed
        return replace(
            op,
            results=_some(op.results, wanted),
            inits=_some(op.inits, wanted),
            body=replace(body, params=op.body.params[:2] + _some(carried, wanted)),
        )


def _some(values: tuple[Value, ...], wanted: list[bool]) -> tuple[Value, ...]:
    return tuple(value for value, want in zip(values, wanted, strict=True) if want)


def _opened(module: Module) -> tuple[Prefix, ...]:
    """The prefixes that flows open from, with those they come after."""
    bodies = [flow.body for flow in module.flows]
    used = {op.prefix for body in bodies for op in walk(body) if isinstance(op, Open)}
    kept: list[Prefix] = []
    for prefix in reversed(module.prefixes):
        if prefix.name in used:
            used.add(prefix.parent)
            kept.append(prefix)
    return tuple(reversed(kept))
