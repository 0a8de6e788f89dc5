"""Say of every op what running it once more, or not at all, would change.

    %a = native @lookup(%q)                  %a = native @lookup(%q) {pure}
    %c, %d = context.gen %b              ==> %c, %d = context.gen %b {determinism = greedy}
    %e = map %x in %xs { … gen … }           %e = map %x in %xs {determinism = sampled} { … }

A native takes the effect of its declaration; where the two differ the more cautious one stays, and
a native that nobody declared stays effectful: nothing unknown is ever upgraded. A generation is
`greedy`, `seeded` or `sampled`; a region is as the least certain op in it. Ops that compute data
are pure by kind and carry no note.

Precondition: none. Linear in the module.
"""

from collections.abc import Iterable
from dataclasses import replace

from parrotc.ir.ops import (
    Block,
    Effect,
    Generate,
    Module,
    Native,
    Op,
    blocks,
    with_blocks,
)
from parrotc.passes.remark import Remarks
from parrotc.passes.rewrite import map_bodies
from parrotc.passes.target import Target

CAUTION = (Effect.PURE, Effect.IDEMPOTENT, Effect.EFFECTFUL)
CERTAINTY = ("greedy", "seeded", "sampled")


def effects(module: Module, target: Target, remarks: Remarks) -> Module:
    declared = {native.name: native.effect for native in module.natives}
    return map_bodies(module, lambda held: _block(held.body, declared))


def _block(block: Block, declared: dict[str, Effect]) -> Block:
    return replace(block, ops=tuple(_op(op, declared) for op in block.ops))


def _op(op: Op, declared: dict[str, Effect]) -> Op:
    match op:
        case Native():
            effect = declared.get(op.native, Effect.EFFECTFUL)
            return replace(op, effect=max(op.effect, effect, key=CAUTION.index))
        case Generate():
            return op.with_notes(determinism=_determinism(op))
    if not (held := blocks(op)):
        return op
    op = with_blocks(op, tuple(_block(block, declared) for block in held))
    inner = [one for block in blocks(op) for one in block.ops]
    return op.with_notes(
        determinism=_worst(CERTAINTY, (one.note("determinism") for one in inner)),
        effect=_worst(CAUTION[1:], map(_effect, inner)),
    )


def _determinism(op: Generate) -> str:
    if op.temperature == 0.0:
        return "greedy"
    return "sampled" if op.is_sampled() else "seeded"


def _effect(op: Op) -> str | None:
    if isinstance(op, Native):
        return None if op.effect is Effect.PURE else str(op.effect)
    noted: str | None = op.note("effect")
    return noted


def _worst(order: Iterable[str], found: Iterable[str | None]) -> str | None:
    """The last of `order` that was found; None if none was."""
    seen = set(found)
    return max((str(one) for one in order if one in seen), key=list(order).index, default=None)
