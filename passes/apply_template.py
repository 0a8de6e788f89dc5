"""Messages become what the model's chat template writes around them.

    %c1 = context.message %c role user            %c2 = context.fill %c, ids[1] "<|im_start|>",
    %c2 = context.fill %c1, %q                        "user\\n", %q, ids[2] "<|im_end|>", "\\n", …
    %c3 = context.end %c2                    ==>
    %c4 = context.message %c3 role assistant
    %c5, %a = context.gen %c4                     %c5, %a = context.gen %c2

The template is rendered for each list of roles that a generation can be reached with
(`template.py`, `layout.py`). Where every list puts the same text before a message, that text is put
there: special tokens as ids, the rest as text that merges with the content. Contents that the
template trims are trimmed, constants now and values when they are known. A generation and what
follows it are no edge of a message: their tokens are fixed. A raw completion starts with BOS
exactly if the tokenizer adds one.

Where the text before a message depends on its place in a loop or on later messages, the chain
keeps its messages and each generation reads a `context.render` instead (remark W0502). Models
behind a chat API (no tokenizer) keep their messages.

Precondition: `lower-calls` has run. Raises `CompileError` for messages that the template refuses.
Linear, times the lists of roles of a chain.
"""

from dataclasses import replace

from parrotc.ir.names import Names
from parrotc.ir.ops import (
    Block,
    End,
    Fill,
    Flow,
    Generate,
    Ids,
    Message,
    Module,
    Op,
    Open,
    Part,
    Render,
    Value,
    blocks,
    substitute,
    walk,
    with_blocks,
)
from parrotc.ir.types import CONTEXT
from parrotc.passes.fills import merge_fills
from parrotc.passes.layout import Planner
from parrotc.passes.remark import Remark, Remarks
from parrotc.passes.rewrite import map_flows
from parrotc.passes.target import Target, Tokenizer
from parrotc.passes.template import Templates, special_parts
from parrotc.passes.trim import Trimmer


def apply_template(module: Module, target: Target, remarks: Remarks) -> Module:
    templates = {
        name: Templates(model.render) for name, model in target.models.items() if model.render
    }

    def change(flow: Flow) -> Block:
        body = merge_fills(flow.body)
        planner = Planner(body, target, templates)
        return merge_fills(_Applying(body, planner, target, remarks).block(body))

    return map_flows(module, change)


class _Applying:
    def __init__(self, body: Block, planner: Planner, target: Target, remarks: Remarks) -> None:
        self._layout = planner.plan()
        self._origins = planner.origins
        self._target = target
        self._remarks = remarks
        self._names = Names(body)
        self._same: dict[Value, Value] = {}
        self._parts: dict[tuple[str, str], tuple[Part, ...]] = {}  # of a model and a text
        self._rendered = {op.result for op in walk(body) if isinstance(op, Render)}
        self._begun = {  # opened contexts that already go on with ids
            op.context for op in walk(body) if isinstance(op, Fill) and _starts_with_ids(op.parts)
        }

    def block(self, block: Block) -> Block:
        ops: list[Op] = []
        for op in block.ops:
            op = substitute(op, self._same)
            if held := blocks(op):
                ops.append(with_blocks(op, tuple(map(self.block, held))))
            else:
                self._op(op, ops)
        yields = tuple(self._same.get(value, value) for value in block.yields)
        return Block(block.params, tuple(ops), yields)

    def _op(self, op: Op, out: list[Op]) -> None:
        match op:
            case Open() if op.result in self._layout.late:
                self._remark(op)
                out.append(op)
            case Open():
                self._open(op, out)
            case Message() | End() if self._is_laid_out(op.context):
                self._boundary(op, out)
            case Fill() if op.result in self._layout.trims and self._is_laid_out(op.context):
                trimmer = Trimmer(self._names, op.span)
                parts = trimmer.trim(op.parts, *self._layout.trims[op.result])
                out += trimmer.ops
                out.append(replace(op, parts=parts))
            case Generate() if self._is_late(op.context) and op.context not in self._rendered:
                context = self._names.fresh("c", CONTEXT)
                out.append(Render(results=(context,), context=op.context, span=op.span))
                out.append(replace(op, context=context))
            case _:
                out.append(op)

    def _open(self, op: Open, out: list[Op]) -> None:
        """BOS before a raw completion; and none before messages, as the template says it all."""
        parts = self._special_parts(self._layout.texts.get(op.result, ""), op.result)
        if op.prefix is None and op.result not in self._begun:
            parts = (*self._bos(op), *parts)
        if not parts:
            out.append(op)
            return
        opened = self._names.like(op.result)
        out.append(replace(op, results=(opened,)))
        out.append(Fill(results=op.results, context=opened, parts=parts, span=op.span))

    def _bos(self, op: Open) -> tuple[Part, ...]:
        tokenizer = self._tokenizer(op.result)
        if tokenizer is None or tokenizer.bos is None:
            return ()
        if op.result in self._layout.spoken:
            return (Ids((), ""),)
        shown = next((s for s, i in tokenizer.specials.items() if i == tokenizer.bos), "")
        return (Ids((tokenizer.bos,), shown),)

    def _boundary(self, op: Message | End, out: list[Op]) -> None:
        """Where a message begins or ends."""
        if parts := self._special_parts(self._layout.texts.get(op.result, ""), op.context):
            out.append(Fill(results=op.results, context=op.context, parts=parts, span=op.span))
        else:
            self._same[op.result] = op.context

    def _special_parts(self, text: str, context: Value) -> tuple[Part, ...]:
        if not text:
            return ()
        key = (self._origins[context.name].model, text)
        if key not in self._parts:
            tokenizer = self._tokenizer(context)
            assert tokenizer is not None
            self._parts[key] = special_parts(text, tokenizer)
        return self._parts[key]

    def _is_late(self, context: Value) -> bool:
        return self._origins[context.name].result in self._layout.late

    def _is_laid_out(self, context: Value) -> bool:
        return self._tokenizer(context) is not None and not self._is_late(context)

    def _tokenizer(self, context: Value) -> Tokenizer | None:
        model = self._target.models.get(self._origins[context.name].model)
        return model.tokenizer if model else None

    def _remark(self, op: Open) -> None:
        message = "the chat template is applied at each run, and shares nothing inside messages"
        why = self._layout.late[op.result]
        self._remarks.append(Remark("apply-template", f"{message}: {why}", op.span, "W0502"))


def _starts_with_ids(parts: tuple[Part, ...]) -> bool:
    return bool(parts) and isinstance(parts[0], Ids)
