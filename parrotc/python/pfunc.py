"""The body of a `@pfunc`: texts, messages, `if` and `for`, as the pieces of a `.pfn` prompt.

    @pfunc
    def merge(notes: list[str]) -> str:
        system("{{STYLE}}")                     # a message of one text
        with user:                              # a message of several pieces
            "Merge the notes below."
            for note in notes:
                "- {{note}}"
        assistant("{{gen max_tokens=300}}")

The body is read, never run. A docstring is a text like any other: the first piece.
"""

import ast
from collections.abc import Sequence

from parrotc.python.exprs import Exprs
from parrotc.python.texts import template
from parrotc.syntax import tree
from parrotc.syntax.problem import Problem
from parrotc.syntax.words import ROLES


class PfuncBody:
    """Translates pieces. Raises `Problem` at the first statement that is none."""

    def __init__(self, exprs: Exprs) -> None:
        self._exprs = exprs
        self._places = exprs.places

    def pieces(self, body: Sequence[ast.stmt]) -> tuple[tree.Piece, ...]:
        return tuple(self._piece(node) for node in body)

    def _piece(self, node: ast.stmt) -> tree.Piece:
        with self._places.inside(node):
            return self._read(node)

    def _read(self, node: ast.stmt) -> tree.Piece:
        span = self._places.span(node)
        match node:
            case ast.Expr(value=ast.Constant(value=value)) if value is ...:
                return tree.PassPiece(span=span)
            case ast.Expr(value=ast.Call() as call) if self._role(call.func):
                if call.keywords:
                    raise self._places.problem(
                        call.keywords[0], "E0122", "a message holds texts, one after the other"
                    )
                body = tuple(self._text(arg) for arg in call.args)
                return self._message(node, call.func, body)
            case ast.Expr(value=ast.Constant() | ast.JoinedStr() as text):
                return self._text(text)
            case ast.With(items=[ast.withitem(context_expr=role, optional_vars=None)]) if (
                self._role(role)
            ):
                return self._message(node, role, self.pieces(node.body))
            case ast.If(test=test):
                return tree.IfPiece(
                    span=span,
                    condition=self._exprs.expr(test),
                    then=self.pieces(node.body),
                    orelse=self.pieces(node.orelse),
                )
            case ast.For(orelse=[]):
                return tree.ForPiece(
                    span=span,
                    target=self._exprs.target(node.target),
                    items=self._exprs.expr(node.iter),
                    body=self.pieces(node.body),
                )
            case ast.Pass():
                return tree.PassPiece(span=span)
        raise self._outside(node)

    def _outside(self, node: ast.stmt) -> Problem:
        match node:
            case ast.Return():
                note, help_ = "what comes back is what the model writes at `{{gen}}`", ""
            case ast.Expr(value=ast.Call()):
                note, help_ = "", "the messages are system, user, assistant and tool, of `parrotc`"
            case _:
                note = "a prompt is text: what it needs is computed before, and passed in"
                help_ = "compute it in the flow that calls this, and add a parameter"
        return self._places.problem(
            self._places.head(node),
            "E0121",
            "this statement stands outside of what a prompt can say",
            note=note,
            help=help_,
        )

    def _role(self, node: ast.expr) -> str:
        name = self._exprs.scope.from_parrotc(node)
        return name if name in ROLES else ""

    def _text(self, node: ast.expr) -> tree.TextPiece:
        text = template(self._places, node)
        return tree.TextPiece(span=text.span, template=text)

    def _message(
        self, node: ast.stmt, role: ast.expr, body: tuple[tree.Piece, ...]
    ) -> tree.MessagePiece:
        return tree.MessagePiece(
            span=self._places.span(node),
            role=self._role(role),
            role_span=self._places.span(role),
            body=body,
        )
