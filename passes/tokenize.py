"""Constants become token ids, once and for all runs.

    %c1 = context.fill %c, ids[1] "<|im_start|>", "user\\nSum up: ", %v, ids[2] "<|im_end|>", "\\n"
        ==>
    %c1 = context.fill %c, ids[1, 4093, 198, 11] "<|im_start|>user\\nSum", " up: ", %v,
        ids[2, 198] "<|im_end|>\\n"

A prompt is tokenised segment by segment between hard boundaries (special tokens, generations), so
a constant may become ids only where nothing unknown stands before it in its segment: the context
is *fresh* there. Before a hard boundary all of it becomes ids; before a value only those tokens
that no continuation can change (`Tokenizer.stable_prefix`), and the rest is held back as text. What
follows a value up to the next boundary stays text, and so does what follows a generation, since a
stop text may have cut its last token.

Whether a context is fresh is a forward data-flow property over regions: a value that a fold carries
is fresh when what enters and what each iteration yields is. Models without a tokenizer keep text.

Precondition: `apply-template` has run. Linear, but for folds, whose bodies are looked at twice.
"""

from collections.abc import Iterator
from dataclasses import replace

from parrotc.ir.ops import (
    Block,
    Fill,
    Flow,
    Fold,
    Generate,
    Ids,
    If,
    Module,
    Op,
    Open,
    Part,
    Text,
    blocks,
    operands,
    walk,
    with_blocks,
)
from parrotc.passes.chains import carried, origins
from parrotc.passes.fills import joined
from parrotc.passes.remark import Remarks
from parrotc.passes.rewrite import map_flows
from parrotc.passes.target import Target, Tokenizer

UNKNOWN = "\ufffd"  # what bytes that are no character decode to


def tokenize(module: Module, target: Target, remarks: Remarks) -> Module:
    def change(flow: Flow) -> Block:
        return _Tokenizing(flow.body, target).block(flow.body)

    return map_flows(module, change)


class _Tokenizing:
    def __init__(self, body: Block, target: Target) -> None:
        self._origins = origins(body)
        self._target = target
        self._fresh = _fresh(body)
        self._closed = _closed(body)

    def block(self, block: Block) -> Block:
        return replace(block, ops=tuple(map(self._op, block.ops)))

    def _op(self, op: Op) -> Op:
        if held := blocks(op):
            return with_blocks(op, tuple(map(self.block, held)))
        if not isinstance(op, Fill):
            return op
        model = self._target.models.get(self._origins[op.context.name].model)
        if model is None or model.tokenizer is None:
            return op
        fresh = op.context.name in self._fresh
        closed = op.result.name in self._closed
        return replace(op, parts=joined(_encoded(op.parts, fresh, closed, model.tokenizer)))


def _encoded(
    parts: tuple[Part, ...], fresh: bool, closed: bool, tokenizer: Tokenizer
) -> Iterator[Part]:
    """The parts with constants as ids; `closed`: a hard boundary follows the last one."""
    parts = joined(parts)
    for at, part in enumerate(parts):
        if isinstance(part, Text) and fresh:
            last = at + 1 == len(parts)
            ends = closed if last else isinstance(parts[at + 1], Ids)
            yield from _constant(part.text, ends, tokenizer)
        else:
            yield part
        fresh = isinstance(part, Ids)


def _constant(text: str, ends: bool, tokenizer: Tokenizer) -> Iterator[Part]:
    """A text at the start of a segment, which is all of the segment if it `ends` there."""
    if ends:
        yield Ids(tuple(tokenizer.encode(text)), text)
        return
    ids = tokenizer.stable_prefix(text)
    shown = tokenizer.decode(ids)
    if ids and text.startswith(shown) and not shown.endswith(UNKNOWN):
        yield Ids(tuple(ids), shown)
        yield Text(text[len(shown) :])
    else:  # nothing is certain, or the last id ends inside a character: the rest is no text
        yield Text(text)


def _fresh(body: Block) -> set[str]:
    """The contexts at a hard boundary with no text pending, whatever path led to them."""
    fresh: set[str] = set()

    def visit(block: Block) -> None:
        for op in block.ops:
            match op:
                case Open():
                    fresh.add(op.result.name)
                case Fill():
                    last = op.parts[-1] if op.parts else None
                    if isinstance(last, Ids) or (last is None and op.context.name in fresh):
                        fresh.add(op.result.name)
                case Fold():
                    fold(op)
                case If():
                    visit(op.then)
                    visit(op.orelse)
                    for result, *arms in zip(
                        op.results, op.then.yields, op.orelse.yields, strict=True
                    ):
                        if all(value.name in fresh for value in arms):
                            fresh.add(result.name)
                case _:
                    for inner in blocks(op):
                        visit(inner)

    def fold(op: Fold) -> None:
        """Assume that carried contexts stay fresh; where that proves wrong, look again."""
        assumed = {param.name for init, param, _, _ in carried(op) if init.name in fresh}
        while True:
            fresh.update(assumed)
            visit(op.body)
            wrong = {
                param.name
                for _, param, last, _ in carried(op)
                if param.name in assumed and last.name not in fresh
            }
            if not wrong:
                break
            assumed -= wrong
            fresh.difference_update(wrong, _made(op.body))
        for init, _, last, result in carried(op):
            if init.name in fresh and last.name in fresh:
                fresh.add(result.name)

    visit(body)
    return fresh


def _made(block: Block) -> set[str]:
    return {value.name for op in walk(block) for value in op.results}


def _closed(body: Block) -> set[str]:
    """The contexts that every reader continues with a hard boundary.

    A region that carries or yields a context may continue it in any way.
    """
    read: set[str] = set()
    open_: set[str] = set()

    def visit(block: Block) -> None:
        for op in block.ops:
            names = [value.name for value in operands(op)]
            read.update(names)
            if not _bounds(op):
                open_.update(names)
            for inner in blocks(op):
                visit(inner)
        open_.update(value.name for value in block.yields)

    visit(body)
    return read - open_


def _bounds(op: Op) -> bool:
    """Whether an op starts with a hard boundary after the context it reads."""
    match op:
        case Generate():
            return True
        case Fill():
            return bool(op.parts) and isinstance(op.parts[0], Ids)
    return False
