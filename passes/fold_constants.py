"""Compute what is known before anything runs.

    %k = const "Be brief."                        %k = const "Be brief."
    %n = apply upper(%k)                          %n = const "BE BRIEF."
    %c1 = context.fill %c, "Rules: ", %n     ==>  %c1 = context.fill %c, "Rules: BE BRIEF.\\0AGo."
    %c2 = context.fill %c1, "\\0AGo."

Functions of constants become constants; an `if` on a known condition becomes its arm; a loop over
a known list becomes its iterations where that gives constants or spells out a prompt; constant
values in a fill become text, and fills that follow each other one fill.

Left for run time: a function that has no value for its arguments (the error belongs to the run),
results of more than a megabyte, natives, pure or not, and loops that hold a call or a generation:
iterations are part of the keys of draws. `truncate` runs where its model's tokenizer is known.

Precondition: none. Linear in the module and in what unrolled loops come to.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from parrotc.ir.names import Names
from parrotc.ir.ops import (
    Apply,
    Block,
    Call,
    Const,
    Fill,
    Flow,
    Fold,
    Function,
    Generate,
    If,
    Map,
    Module,
    Native,
    Op,
    Part,
    Text,
    Value,
    blocks,
    substitute,
    walk,
    with_blocks,
)
from parrotc.ir.scalar import OF_A_MODEL, Encoder, ScalarError, apply
from parrotc.ir.source import Span
from parrotc.ir.types import INT, Context, Json
from parrotc.passes.fills import merge_fills
from parrotc.passes.remark import Remarks
from parrotc.passes.rewrite import Copy, map_bodies
from parrotc.passes.target import Target

LARGEST = 1_000_000  # characters of a computed constant
LONGEST = 10_000  # ops that one loop may come to


def fold_constants(module: Module, target: Target, remarks: Remarks) -> Module:
    tokenizers = {name: model.tokenizer for name, model in target.models.items() if model.tokenizer}

    def change(held: Flow | Function) -> Block:
        return merge_fills(_Folder(Names(held.body), tokenizers).block(held.body))

    return map_bodies(module, change)


class _Folder:
    def __init__(self, names: Names, tokenizers: Mapping[str, Encoder]) -> None:
        self._names = names
        self._tokenizers = tokenizers
        self._known: dict[Value, Json] = {}
        self._same: dict[Value, Value] = {}

    def block(self, block: Block) -> Block:
        ops: list[Op] = []
        self._ops(block.ops, ops)
        return Block(block.params, tuple(ops), self._of(block.yields))

    def _of(self, values: Sequence[Value]) -> tuple[Value, ...]:
        return tuple(self._same.get(value, value) for value in values)

    def _ops(self, ops: Sequence[Op], out: list[Op]) -> None:
        for op in ops:
            self._op(substitute(op, self._same), out)

    def _op(self, op: Op, out: list[Op]) -> None:
        match op:
            case Const():
                self._known[op.result] = json.loads(op.json)
            case Apply():
                op = self._apply(op)
            case Fill():
                op = replace(op, parts=tuple(map(self._part, op.parts)))
            case If() if op.condition in self._known:
                arm = op.then if self._known[op.condition] else op.orelse
                self._ops(arm.ops, out)
                self._same.update(zip(op.results, self._of(arm.yields), strict=True))
                return
            case Map() | Fold() if op.items in self._known:
                if self._unroll(op, out):
                    return
        if held := blocks(op):
            op = with_blocks(op, tuple(map(self.block, held)))
        out.append(op)

    def _apply(self, op: Apply) -> Op:
        if not all(arg in self._known for arg in op.args):
            return op
        attrs = dict(op.attrs)
        if op.function in OF_A_MODEL and attrs["model"] not in self._tokenizers:
            return op
        try:
            value = apply(
                op.function, [self._known[arg] for arg in op.args], attrs, self._tokenizers
            )
        except ScalarError:
            return op
        return self._const(op.result, value, op.span) or op

    def _const(self, result: Value, value: Json, span: Span | None) -> Op | None:
        """A constant, unless it is too large to be kept."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if len(text) > LARGEST:
            return None
        self._known[result] = value
        return Const(results=(result,), json=text, span=span)

    def _part(self, part: Part) -> Part:
        if isinstance(part, Value) and isinstance(self._known.get(part), str):
            return Text(self._known[part])
        return part

    # loops

    def _unroll(self, op: Map | Fold, out: list[Op]) -> bool:
        """Add what the iterations come to, if that is an improvement."""
        items = self._known[op.items]
        held = list(walk(op.body))
        if any(isinstance(inner, Call | Generate | Native) for inner in held):
            return False
        if (isinstance(op, Fold) and op.early) or len(items) * len(held) > LONGEST:
            return False
        ops: list[Op] = []
        rounds = self._rounds(op, items, ops)
        if isinstance(op, Fold):
            values = rounds[-1] if rounds else op.inits
            prompt = any(isinstance(value.type, Context) for value in op.results)
            if prompt or all(value in self._known for value in values):
                out += ops
                self._same.update(zip(op.results, values, strict=True))
                return True
            return False
        return self._lists(op, rounds, out)

    def _rounds(self, op: Map | Fold, items: Json, out: list[Op]) -> list[tuple[Value, ...]]:
        """The folded ops of every iteration; what each yields."""
        rounds: list[tuple[Value, ...]] = []
        carried = op.inits if isinstance(op, Fold) else ()
        for index, item in enumerate(items):
            first, second = op.body.params[:2]
            given = {first: self._names.like(first), second: self._names.fresh("i", INT)}
            for param, value in ((first, item), (second, index)):
                if const := self._const(given[param], value, op.span):
                    out.append(const)
            given |= zip(op.body.params[2:], carried, strict=True)
            copy = Copy(self._names, given)
            self._ops(copy.ops(op.body.ops), out)
            rounds.append(self._of(copy.of(op.body.yields)))
            if isinstance(op, Fold):
                carried = rounds[-1]
        return rounds

    def _lists(self, op: Map, rounds: list[tuple[Value, ...]], out: list[Op]) -> bool:
        """Constants for the lists of a map, if everything in them is known."""
        if not all(value in self._known for values in rounds for value in values):
            return False
        consts: list[Op] = []
        for at, result in enumerate(op.results):
            const = self._const(result, [self._known[values[at]] for values in rounds], op.span)
            if const is None:
                return False
            consts.append(const)
        out += consts
        return True
