"""The body of a `@flow`: Python statements as the statements of a `.pfn` flow.

The subset is closed: assignments, `for` over a list (a fold), `if`, `match`, `return`, and
`if done: break`. What else Python has is told apart by name, with what to write instead.
"""

import ast
from collections.abc import Sequence

from parrotc.python.exprs import NATIVE, Exprs
from parrotc.python.types import Types
from parrotc.syntax import tree
from parrotc.syntax.problem import Problem

_RECOVER = "tolerate the failure of one call with `f.with_(on_error=None)(x)`"
_BOUNDED = "loop over a `range`, and leave it with `if done: break`"

_OUTSIDE: dict[type[ast.stmt], tuple[str, str]] = {
    ast.While: ("a `while` loop", _BOUNDED),
    ast.Try: ("`try`", _RECOVER),
    ast.TryStar: ("`try`", _RECOVER),
    ast.With: ("`with`", NATIVE),
    ast.AsyncWith: ("`async with`", NATIVE),
    ast.AsyncFor: ("`async for`", "write `for`: calls that can run together do so anyway"),
    ast.FunctionDef: ("a function inside a flow", "move it to the top of the file"),
    ast.AsyncFunctionDef: ("a function inside a flow", "move it to the top of the file"),
    ast.ClassDef: ("a class inside a flow", "move it to the top of the file"),
    ast.Import: ("an import inside a flow", "move it to the top of the file"),
    ast.ImportFrom: ("an import inside a flow", "move it to the top of the file"),
    ast.Raise: ("`raise`", "a flow fails when a call does; " + NATIVE),
    ast.Delete: ("`del`", "leave it out: a name costs nothing"),
    ast.Global: ("`global`", "pass the value as a parameter, and return the new one"),
    ast.Nonlocal: ("`nonlocal`", "pass the value as a parameter, and return the new one"),
    ast.Continue: ("`continue`", "put what follows into an `if`"),
}


class FlowBody:
    """Translates statements. Raises `Problem` at the first one outside of the subset."""

    def __init__(self, exprs: Exprs, types: Types) -> None:
        self._exprs = exprs
        self._types = types
        self._places = exprs.places

    def suite(self, body: Sequence[ast.stmt]) -> tuple[tree.Stmt, ...]:
        return tuple(self._statement(node) for node in body)

    def _statement(self, node: ast.stmt) -> tree.Stmt:
        with self._places.inside(node):
            return self._read(node)

    def _read(self, node: ast.stmt) -> tree.Stmt:
        span, expr = self._places.span(node), self._exprs.expr
        match node:
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                return self._assign(node)
            case ast.Return(value=ast.expr() as value):
                return tree.Return(span=span, value=expr(value))
            case ast.Return():
                raise self._places.problem(
                    node, "E0121", "this `return` gives nothing", help="return the flow's result"
                )
            case ast.Expr(value=value):
                return tree.ExprStmt(span=span, value=expr(value))
            case ast.Pass():
                return tree.Pass(span=span)
            case ast.Break():
                return tree.Break(span=span, condition=None)
            case ast.Assert(test=test, msg=message):
                said = None if message is None else expr(message)
                return tree.Assert(span=span, condition=expr(test), message=said)
            case ast.If(test=test, body=[ast.Break()], orelse=[]):
                return tree.Break(span=span, condition=expr(test))
            case ast.If():
                return tree.IfStmt(
                    span=span,
                    condition=expr(node.test),
                    then=self.suite(node.body),
                    orelse=self.suite(node.orelse),
                )
            case ast.For():
                return self._for(node)
            case ast.Match():
                cases = tuple(self._case(case) for case in node.cases)
                return tree.Match(span=span, subject=expr(node.subject), cases=cases)
        raise self._outside(node)

    def _outside(self, node: ast.stmt) -> Problem:
        what, help_ = _OUTSIDE.get(type(node), ("this statement", NATIVE))
        return self._places.problem(
            self._places.head(node),
            "E0121",
            f"{what} stands outside of what a flow can say",
            note="a flow is compiled: what runs, and how often at most, is known beforehand",
            help=help_,
        )

    def _assign(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> tree.Assign:
        span, type_ = self._places.span(node), None
        match node:
            case ast.Assign(targets=[target], value=given):
                value = self._exprs.expr(given)
            case ast.AnnAssign(target=target, annotation=annotation, value=ast.expr() as given):
                type_, value = self._types.read(annotation), self._exprs.expr(given)
            case ast.AugAssign(target=target, value=given):
                value = self._exprs.expr(
                    ast.copy_location(ast.BinOp(left=target, op=node.op, right=given), node)
                )
            case _:
                raise self._places.problem(
                    node,
                    "E0121",
                    "this assigns no value, or to several targets",
                    help="assign to one name, or to `a, b`, on each line",
                )
        return tree.Assign(span=span, target=self._exprs.target(target), type=type_, value=value)

    def _for(self, node: ast.For) -> tree.ForStmt:
        if node.orelse:
            raise self._places.problem(
                node.orelse[0],
                "E0121",
                "`else` of a loop stands outside of what a flow can say",
                help="carry a flag through the loop, and test it afterwards",
            )
        return tree.ForStmt(
            span=self._places.span(node),
            target=self._exprs.target(node.target),
            items=self._exprs.expr(node.iter),
            body=self.suite(node.body),
        )

    # match

    def _case(self, node: ast.match_case) -> tree.Case:
        if node.guard is not None:
            raise self._places.problem(
                node.guard,
                "E0121",
                "a guard of a `case` stands outside of what a flow can say",
                help="test it with an `if` inside the case",
            )
        first = self._places.span(node.pattern)
        span = first.to(self._places.span(node.body[-1]))
        patterns = self._patterns(node.pattern)
        return tree.Case(span=span, patterns=patterns, body=self.suite(node.body))

    def _patterns(self, node: ast.pattern) -> tuple[tree.Expr, ...]:
        """The values of a pattern; none for `_`."""
        match node:
            case ast.MatchAs(pattern=None, name=None):
                return ()
            case ast.MatchOr(patterns=options):
                return tuple(value for option in options for value in self._patterns(option))
            case ast.MatchValue(value=value):
                return (self._exprs.expr(value),)
            case ast.MatchSingleton(value=constant):
                return (tree.Literal(span=self._places.span(node), value=constant),)
        raise self._places.problem(
            node,
            "E0121",
            "this pattern stands outside of what a flow can say",
            help="match literals, members (`Topic.TECH`), `|` between them, and `_`",
        )
