"""Semantic functions: a body becomes a region that carries one context from piece to piece.

The pieces of a message are joined by one newline. Which piece comes first may depend on values (a
`for` over an empty list), so the separator is known text where it can be, and otherwise a value
that the loop carries along: empty until something has been written.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from parrotc.check import program as checked
from parrotc.ir.names import Names
from parrotc.ir.ops import (
    Const,
    End,
    Fill,
    Fold,
    Function,
    Generate,
    Message,
    Op,
    Part,
    Text,
    Value,
)
from parrotc.ir.source import Span
from parrotc.ir.types import CONTEXT, STR
from parrotc.lower.exprs import Exprs
from parrotc.lower.flow import merge
from parrotc.lower.region import Region
from parrotc.syntax import tree

_CONTEXT, _SEPARATOR, _ANSWER = " c", " sep", " answer"  # names no author can write
_UNKNOWN = Value("?", STR)  # a separator that is known only when running


def lower_function(program: checked.Program, symbol: checked.PfuncSymbol) -> Function:
    region = Region(Names())
    context = region.names.fresh("c", CONTEXT)
    params = [region.names.fresh(info.name, info.type) for info in symbol.params]
    region.env = {info.name: value for info, value in zip(symbol.params, params, strict=True)}
    prompt = _Prompt(program)
    state = _State(region, context, "")
    prompt.pieces(symbol.decl.body, state)
    if symbol.decl in program.implicit_gens:
        prompt.answer(symbol, state)
    state.flush(symbol.decl.span)
    yields = [region.env[name or _ANSWER] for name, _ in symbol.outputs]
    names = tuple(name for name, _ in symbol.outputs)
    return Function(symbol.name, names, region.block([context, *params], yields), symbol.span)


@dataclass
class _State:
    """Where a prompt has got to: its context, unfilled text, and what joins the next piece."""

    region: Region
    context: Value
    separator: str | Value
    parts: list[Part] = field(default_factory=list)

    def text(self, text: str) -> None:
        if not text:
            return
        if self.parts and isinstance(self.parts[-1], Text):
            self.parts[-1] = Text(self.parts[-1].text + text)
        else:
            self.parts.append(Text(text))

    def value(self, value: Value) -> None:
        self.parts.append(value)

    def separate(self) -> None:
        if isinstance(self.separator, str):
            self.text(self.separator)
        else:
            self.value(self.separator)

    def step(self, op: Op) -> None:
        self.region.ops.append(op)
        self.context = op.results[0]

    def next(self) -> Value:
        return self.region.names.fresh("c", CONTEXT)

    def flush(self, span: Span) -> None:
        """Fill what has been gathered."""
        if self.parts:
            parts = tuple(self.parts)
            self.parts = []
            results = (self.next(),)
            self.step(Fill(results=results, context=self.context, parts=parts, span=span))

    def inner(self, context: Value, separator: str | Value) -> "_State":
        return _State(self.region.inner(), context, separator)


class _Prompt:
    def __init__(self, program: checked.Program) -> None:
        self._program = program
        self._exprs = Exprs(program)
        self._gens = 0

    def pieces(self, body: Sequence[tree.Piece], state: _State) -> None:
        for piece in body:
            match piece:
                case tree.TextPiece():
                    state.separate()
                    self._template(piece.template, state)
                    state.separator = "" if piece.template.joined else "\n"
                case tree.MessagePiece():
                    self._message(piece, state)
                case tree.IfPiece():
                    self._if(piece, state)
                case tree.ForPiece():
                    self._for(piece, state)

    def _template(self, template: tree.Template, state: _State) -> None:
        for part in template.parts:
            match part:
                case tree.TextPart():
                    state.text(part.text)
                case tree.Show():
                    state.value(self._exprs.show(part, state.region))
                case tree.Gen():
                    self._generate(self._program.gens[part], part.span, state)

    def _generate(self, info: checked.GenInfo, span: Span, state: _State) -> None:
        state.flush(span)
        value = state.region.names.fresh(info.name or "answer", info.type)
        sampling = dict(info.sampling)
        if isinstance(sampling.get("stop"), list):
            sampling["stop"] = tuple(sampling["stop"])
        op = Generate(
            results=(state.next(), value),
            context=state.context,
            site=str(self._gens),
            name=info.name,
            span=span,
            **sampling,
        )
        self._gens += 1
        state.step(op)
        state.region.env[info.name or _ANSWER] = value

    def _message(self, piece: tree.MessagePiece, state: _State) -> None:
        results = (state.next(),)
        state.step(
            Message(results=results, context=state.context, role=piece.role, span=piece.role_span)
        )
        state.separator = ""
        self.pieces(piece.body, state)
        state.flush(piece.span)
        state.step(End(results=(state.next(),), context=state.context, span=piece.span))
        state.separator = ""

    def answer(self, symbol: checked.PfuncSymbol, state: _State) -> None:
        """`assistant "{{gen}}"`, for a function that has messages and does not say it."""
        span = symbol.decl.name_span
        context = (state.next(),)
        state.step(Message(results=context, context=state.context, role="assistant", span=span))
        self._generate(self._program.implicit_gens[symbol.decl], span, state)
        state.step(End(results=(state.next(),), context=state.context, span=span))

    # control: the context, and the separator where it is not known, go through the region

    def _if(self, piece: tree.IfPiece, state: _State) -> None:
        state.flush(piece.span)
        test = self._exprs.lower(piece.condition, state.region)
        arms = [state.inner(state.context, state.separator) for _ in range(2)]
        for arm, body in zip(arms, (piece.then, piece.orelse), strict=True):
            self.pieces(body, arm)
            arm.flush(piece.span)
        same = arms[0].separator == arms[1].separator
        for arm in arms:
            arm.region.env[_CONTEXT] = arm.context
            if not same:
                arm.region.env[_SEPARATOR] = _held(arm.separator, arm.region, piece.span)
        merge(test, arms[0].region, arms[1].region, state.region, piece)
        env = state.region.env
        state.context = env.pop(_CONTEXT, state.context)
        state.separator = arms[0].separator if same else env.pop(_SEPARATOR)

    def _for(self, piece: tree.ForPiece, state: _State) -> None:
        state.flush(piece.span)
        items = self._exprs.lower(piece.items, state.region)
        after = _separator_after(piece.body, state.separator)
        inner = state.inner(state.context, state.separator)
        item, index = self._exprs.bind_item(piece.target, items.type, inner.region)
        inner.context = state.next()
        inits, params = [state.context], [inner.context]
        if after != state.separator:
            inits.append(_held(state.separator, state.region, piece.span))
            inner.separator = state.region.names.fresh("sep", STR)
            params.append(inner.separator)
        self.pieces(piece.body, inner)
        inner.flush(piece.span)
        yields = [inner.context]
        if len(params) == 2:
            yields.append(_held(inner.separator, inner.region, piece.span))
        results = tuple(state.region.names.fresh(p.name.split(".")[0], p.type) for p in params)
        op = Fold(
            results=results,
            items=items,
            inits=tuple(inits),
            body=inner.region.block([item, index, *params], yields),
            span=piece.span,
        )
        state.step(op)
        if len(results) == 2:
            state.separator = results[1]


def _held(separator: str | Value, region: Region, span: Span) -> Value:
    if isinstance(separator, Value):
        return separator
    text = json.dumps(separator)
    result = region.names.fresh("sep", STR)
    region.ops.append(Const(results=(result,), json=text, span=span))
    return result


def _separator_after(body: Sequence[tree.Piece], before: str | Value) -> str | Value:
    """What joins the piece after `body`, as far as it can be told without running it.

    A body whose last piece is plain text always ends the same way; anything else may not have
    written at all, and then the answer differs from every known text.
    """
    for piece in reversed(body):
        match piece:
            case tree.TextPiece():
                return "" if piece.template.joined else "\n"
            case tree.MessagePiece():
                return ""
            case tree.IfPiece():
                arms = (piece.then, piece.orelse)
                if any(_separator_after(arm, before) != before for arm in arms):
                    return _UNKNOWN
            case tree.ForPiece():
                if _separator_after(piece.body, before) != before:
                    return _UNKNOWN
    return before
