"""From Lark's parse tree to the bodies of semantic functions and of flows."""

from collections.abc import Callable
from typing import cast

from lark import Token
from lark import Tree as Parsed

from parrotc.syntax import tree
from parrotc.syntax.build_expr import ExprBuilder, N, Part


class BodyBuilder(ExprBuilder):
    """Adds pieces (what a `pfunc` holds) and statements (what a `flow` or `test` holds)."""

    # --- pieces ---

    def body(self, part: Part) -> tuple[tree.Piece, ...]:
        assert isinstance(part, Parsed)
        return cast(tuple[tree.Piece, ...], self.nodes(part.children))

    def text_piece(self, part: Parsed[Token]) -> tree.TextPiece:
        text, join = part.children
        template = self.template(text, joined=join is not None)
        return tree.TextPiece(span=self.span(part), template=template)

    def message_line(self, part: Parsed[Token]) -> tree.MessagePiece:
        role, text = part.children
        template = self.template(text)
        piece = tree.TextPiece(span=template.span, template=template)
        return tree.MessagePiece(
            span=self.span(part), role=str(role), role_span=self.span(role), body=(piece,)
        )

    def message_block(self, part: Parsed[Token]) -> tree.MessagePiece:
        role, pieces = part.children
        return tree.MessagePiece(
            span=self.span(part), role=str(role), role_span=self.span(role), body=self.body(pieces)
        )

    def if_piece(self, part: Parsed[Token]) -> tree.IfPiece:
        condition, then, orelse = part.children
        return tree.IfPiece(
            span=self.span(part),
            condition=self.expr(condition),
            then=self.body(then),
            orelse=self._orelse(orelse, tree.IfPiece, self.body),
        )

    elif_piece = if_piece

    def for_piece(self, part: Parsed[Token]) -> tree.ForPiece:
        target, items, pieces = part.children
        return tree.ForPiece(
            span=self.span(part),
            target=self.target(target),
            items=self.expr(items),
            body=self.body(pieces),
        )

    def pass_piece(self, part: Parsed[Token]) -> tree.PassPiece:
        return tree.PassPiece(span=self.span(part))

    # --- statements ---

    def suite(self, part: Part) -> tuple[tree.Stmt, ...]:
        assert isinstance(part, Parsed)
        return cast(tuple[tree.Stmt, ...], self.nodes(part.children))

    def assign(self, part: Parsed[Token]) -> tree.Assign:
        target, type_, value = part.children
        return tree.Assign(
            span=self.span(part),
            target=self._assigned(target),
            type=None if type_ is None else self.type_expr(type_),
            value=self.expr(value),
        )

    def _assigned(self, part: Part) -> tree.Target:
        """The left side of `=`, parsed as an expression: one name, or several with commas."""
        value = self.expr(part)
        names = value.items if isinstance(value, tree.TupleExpr) else (value,)
        kept = tuple(name for name in names if isinstance(name, tree.Name))
        if not kept or len(kept) < len(names):
            raise self.problem(
                part,
                "E0113",
                "only a name can be assigned to",
                note="values never change once they are made; a name can be bound again",
            )
        return tree.Target(span=value.span, names=kept)

    def expr_stmt(self, part: Parsed[Token]) -> tree.ExprStmt:
        return tree.ExprStmt(span=self.span(part), value=self.expr(part.children[0]))

    def return_stmt(self, part: Parsed[Token]) -> tree.Return:
        return tree.Return(span=self.span(part), value=self.expr(part.children[0]))

    def break_stmt(self, part: Parsed[Token]) -> tree.Break:
        condition = part.children[0]
        value = None if condition is None else self.expr(condition)
        return tree.Break(span=self.span(part), condition=value)

    def assert_stmt(self, part: Parsed[Token]) -> tree.Assert:
        condition, message = part.children
        return tree.Assert(
            span=self.span(part),
            condition=self.expr(condition),
            message=None if message is None else self.expr(message),
        )

    def mock_stmt(self, part: Parsed[Token]) -> tree.Mock:
        function, each, value = part.children
        return tree.Mock(
            span=self.span(part),
            function=self.ident(function),
            each=each is not None,
            value=self.expr(value),
        )

    def pass_stmt(self, part: Parsed[Token]) -> tree.Pass:
        return tree.Pass(span=self.span(part))

    def if_stmt(self, part: Parsed[Token]) -> tree.IfStmt:
        condition, then, orelse = part.children
        return tree.IfStmt(
            span=self.span(part),
            condition=self.expr(condition),
            then=self.suite(then),
            orelse=self._orelse(orelse, tree.IfStmt, self.suite),
        )

    elif_stmt = if_stmt

    def _orelse(
        self, part: Part, again: type[N], block: Callable[[Part], tuple[N, ...]]
    ) -> tuple[N, ...]:
        """What stands after an `if`: another one for `elif`, else the block of its `else`."""
        if part is None:
            return ()
        assert isinstance(part, Parsed)
        if part.data in ("elif_piece", "elif_stmt"):
            return self.build((part,), again)
        return block(part.children[0])

    def for_stmt(self, part: Parsed[Token]) -> tree.ForStmt:
        target, items, suite = part.children
        return tree.ForStmt(
            span=self.span(part),
            target=self.target(target),
            items=self.expr(items),
            body=self.suite(suite),
        )

    def match_stmt(self, part: Parsed[Token]) -> tree.Match:
        subject, *cases = part.children
        return tree.Match(
            span=self.span(part), subject=self.expr(subject), cases=self.build(cases, tree.Case)
        )

    def case(self, part: Parsed[Token]) -> tree.Case:
        *patterns, suite = part.children
        built = self.exprs(patterns)
        if any(isinstance(pattern, tree.Name) and pattern.id == "_" for pattern in built):
            if len(built) > 1:
                raise self.problem(part.children[0], "E0111", "`_` already matches everything")
            built = ()
        return tree.Case(span=self.span(part), patterns=built, body=self.suite(suite))

    def member(self, part: Parsed[Token]) -> tree.Name | tree.Attribute:
        """`_`, `TECH` or `Topic.TECH` in a `case`."""
        dotted = part.children[0]
        assert isinstance(dotted, Parsed)
        first, *rest = [token for token in dotted.children if token != "."]
        value: tree.Name | tree.Attribute = self.ident(first)
        for token in rest:
            value = tree.Attribute(
                span=value.span.to(self.span(token)),
                value=value,
                attr=str(token),
                attr_span=self.span(token),
            )
        return value
