"""What calls could share if a hole stood further back in its prompt (W0501).

    system "Today is {{day}}. …3,000 tokens…"     the tokens after the hole are filled for each call

Prompts share what they begin with, so a value that differs from call to call ends what can be
shared. Where much that is constant follows before the next such value, moving the hole behind it
would let all calls share that too. Only said: nobody but the author may reorder a prompt.

Looks at the flow-level module, where it is known which arguments change from call to call. Tokens
are estimated by characters, because checking loads no tokenizer.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from parrotc.check.loader import is_standard
from parrotc.check.program import PfuncSymbol, Program
from parrotc.ir.analyses import by_characters
from parrotc.ir.diagnostic import Diagnostic, Label
from parrotc.ir.ops import (
    Apply,
    Block,
    Call,
    Const,
    Effect,
    Fill,
    Flow,
    Fold,
    Function,
    Generate,
    Map,
    Message,
    Module,
    Native,
    Op,
    Text,
    Value,
    blocks,
    operands,
    walk,
)
from parrotc.ir.source import Span
from parrotc.syntax import tree

WORTH_MOVING = 100  # tokens


def layout(program: Program, module: Module) -> tuple[Diagnostic, ...]:
    """A finding for each semantic function of which one hole could move, at most one each.

    `module` is what `program` was lowered to. The standard library is not linted.
    """
    varying = _varying(module)
    effects = {native.name: native.effect for native in module.natives}
    symbols = [*program.exports.values(), *program.names.values()]
    decls = {symbol.name: symbol.decl for symbol in symbols if isinstance(symbol, PfuncSymbol)}
    found = []
    for function in module.functions:
        decl = decls[function.name]
        if function.name in varying and not is_standard(decl.span.source):
            pieces = _Pieces(function, decl, varying[function.name], effects)
            found += list(_finding(decl.name, list(pieces.pieces())))
    return tuple(found)


# which parameters differ between calls


def _varying(module: Module) -> dict[str, set[int]]:
    """For each semantic function that is called: which of its arguments change from call to call.

    In a loop those that the loop changes. Outside of loops a call runs once in each run: then what
    depends on the inputs changes. What several places give differs unless it is one constant.
    """
    given: dict[str, list[list[str | None]]] = {}
    found: dict[str, set[int]] = {}
    for flow in module.flows:
        for call, changing, constants in _calls(flow):
            row = [constants.get(arg) for arg in call.args]
            given.setdefault(call.function, []).append(row)
            changed = {n for n, arg in enumerate(call.args) if arg in changing}
            found.setdefault(call.function, set()).update(changed)
    for name, rows in given.items():
        for at, column in enumerate(zip(*rows, strict=True)):
            if len(rows) > 1 and (None in column or len(set(column)) > 1):
                found[name].add(at)
    return found


def _calls(flow: Flow) -> Iterator[tuple[Call, set[Value], dict[Value, str]]]:
    """Every call, with the values that change from one run of it to the next, and the constants."""
    constants: dict[Value, str] = {}

    def visit(block: Block, changing: set[Value]) -> Iterator[tuple[Call, set[Value]]]:
        for op in block.ops:
            if isinstance(op, Const):
                constants[op.result] = op.json
            elif isinstance(op, Call):
                yield op, changing
            elif isinstance(op, Map | Fold):
                yield from visit(op.body, _changed(op.body, set(op.body.params)))
            else:
                for held in blocks(op):
                    yield from visit(held, changing)

    body = flow.body
    for call, changing in visit(body, _changed(body, set(body.params))):
        yield call, changing, constants


def _changed(body: Block, params: set[Value]) -> set[Value]:
    """The values in a body that depend on its parameters, or on what a model or a native gives."""
    changed = set(params)
    for op in walk(body):
        reads = {*operands(op), *(v for held in blocks(op) for v in held.yields)}
        if isinstance(op, Call | Native) or reads & changed:
            changed.update(op.results)
            changed.update(param for held in blocks(op) for param in held.params)
    return changed


# what a prompt is made of, up to the first generation


@dataclass(frozen=True, slots=True)
class _Piece:
    """A constant of so many tokens, or a hole whose value changes from call to call."""

    span: Span | None
    tokens: int = 0
    is_hole: bool = False


class _Pieces:
    def __init__(
        self,
        function: Function,
        decl: tree.PfuncDecl,
        varying: set[int],
        effects: dict[str, Effect],
    ) -> None:
        self._function = function
        self._effects = effects
        nodes = list(tree.walk(decl))
        self._texts = [node for node in nodes if isinstance(node, tree.TextPart)]
        self._shows: dict[str, Span] = {}
        for node in nodes:
            if isinstance(node, tree.Show) and isinstance(node.value, tree.Name):
                self._shows.setdefault(node.value.id, node.span)
        params = function.body.params[1:]
        self._changed = {param for n, param in enumerate(params) if n in varying}
        self._constants: dict[Value, str] = {}
        self._spans: dict[Value, Span | None] = {}  # where values are computed

    def pieces(self) -> Iterator[_Piece]:
        for op in self._function.body.ops:
            self._spans.update(dict.fromkeys(op.results, op.span))
            match op:
                case Generate():
                    return
                case Const():
                    held = json.loads(op.json)
                    self._constants[op.result] = held if isinstance(held, str) else op.json
                case Fill():
                    yield from self._fill(op)
                case Message():
                    pass
                case _:
                    yield from self._other(op)
                    if any(isinstance(inner, Generate) for b in blocks(op) for inner in walk(b)):
                        return

    def _fill(self, op: Fill) -> Iterator[_Piece]:
        for part in op.parts:
            if isinstance(part, Text):
                yield _Piece(self._text_span(part.text), by_characters(part.text))
            elif isinstance(part, Value) and part in self._constants:
                span = self._spans.get(part, op.span)
                yield _Piece(span, by_characters(self._constants[part]))
            elif isinstance(part, Value) and part in self._changed:
                span = self._shows.get(part.name) or self._spans.get(part, op.span)
                yield _Piece(span, is_hole=True)

    def _other(self, op: Op) -> Iterator[_Piece]:
        """Anything else may change a value, and a loop or an `if` also what is read."""
        inner = [one for held in blocks(op) for one in walk(held)]
        reads = {*operands(op), *(value for one in inner for value in operands(one))}
        is_changed = bool(reads & self._changed) or any(map(self._is_native, [op, *inner]))
        if is_changed:
            self._changed.update(op.results)
        elif isinstance(op, Apply) and op.function == "show" and op.args[0] in self._constants:
            self._constants[op.result] = self._constants[op.args[0]]
        if is_changed and any(isinstance(one, Fill) for one in inner):
            yield _Piece(op.span, is_hole=True)

    def _text_span(self, text: str) -> Span | None:
        """The longest line of a text, as the author wrote it."""
        written = [part.span for part in self._texts if part.text in text]
        longest = max(written, key=lambda span: span.end - span.start, default=None)
        if longest is None:
            return None
        line = max(longest.text().splitlines(), key=len).strip()
        start = longest.start + longest.text().index(line)
        return Span(longest.source, start, start + len(line))

    def _is_native(self, op: Op) -> bool:
        return isinstance(op, Native) and self._effects[op.native] is not Effect.PURE


# what to say


def _finding(name: str, pieces: list[_Piece]) -> Iterator[Diagnostic]:
    """The first hole that holds back enough: from it to the next one."""
    holes = [at for at, piece in enumerate(pieces) if piece.is_hole]
    for at, following in zip(holes, [*holes, len(pieces)][1:], strict=True):
        behind = pieces[at + 1 : following]
        lost = sum(piece.tokens for piece in behind)
        if lost >= WORTH_MOVING:
            before = sum(piece.tokens for piece in pieces[:at])
            yield _warning(name, pieces[at], behind, before, lost)
            return


def _warning(name: str, hole: _Piece, behind: list[_Piece], before: int, lost: int) -> Diagnostic:
    longest = max(behind, key=lambda piece: piece.tokens)
    labels: tuple[Label, ...] = ()
    if longest.span and longest.span != hole.span:
        labels = (Label(longest.span, f"about {longest.tokens:,} of them are here"),)
    return Diagnostic(
        "W0501",
        f"a value that changes from call to call comes before about {lost:,} constant tokens",
        hole.span,
        f"sharing stops after about {before:,} tokens",
        labels=labels,
        notes=(
            f"behind them it would let every call of `{name}` share a prefix of about "
            f"{before + lost:,} tokens",
        ),
        help="move the value behind the constant text, or into a later message",
    )
