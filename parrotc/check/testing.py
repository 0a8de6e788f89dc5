"""Test blocks: mocks, assertions and plans are checked here; `parrotc.testing` runs them."""

from parrotc.check.exprs import Exprs
from parrotc.check.naming import Place
from parrotc.check.program import ExternSymbol, FlowSymbol, PfuncSymbol
from parrotc.check.session import BrokenSymbol, File, Session
from parrotc.check.statements import Statements
from parrotc.ir.types import STR, ListOf, Record, Type
from parrotc.syntax import tree


def check_test(session: Session, file: File, decl: tree.TestDecl) -> None:
    _Test(Exprs(session, file, Place.TEST)).block(decl.body)


class _Test(Statements):
    def special(self, node: tree.Return | tree.Mock | tree.Assert, last: bool) -> None:
        match node:
            case tree.Return():
                self.misplaced(node, "`return` stands only in a flow")
            case tree.Assert():
                self.exprs.condition(node.condition)
                if node.message is not None:
                    self.exprs.expect(node.message, STR, "the message of an assertion")
            case tree.Mock():
                self._mock(node)

    def _mock(self, node: tree.Mock) -> None:
        """`mock f -> value`, or `mock f -> each [first, second]` for successive calls."""
        symbol = self.exprs.meaning(node.function)
        name = node.function.id
        if not isinstance(symbol, PfuncSymbol | ExternSymbol | FlowSymbol):
            if not isinstance(symbol, BrokenSymbol):
                message = f"`{name}` cannot be mocked: it is no function of the program"
                self.report.add("E0370", message, node.function.span)
            self.exprs.expr(node.value)
            return
        if isinstance(symbol, ExternSymbol) and symbol.type_params:
            message = f"`{name}` is a function for each type it is used with, and cannot be mocked"
            self.report.add("E0370", message, node.function.span)
            self.exprs.expr(node.value)
            return
        wanted: Type = symbol.result
        # an output that a test does not read need not be made up
        self.exprs.partial_records = isinstance(wanted, Record) and not wanted.name
        if node.each:
            self.exprs.expect(node.value, ListOf(wanted), f"the values of `{name}`")
        else:
            several = isinstance(node.value, tree.ListExpr) and not isinstance(wanted, ListOf)
            help_ = f"`mock {name} -> each […]` gives one value a call" if several else ""
            self.exprs.expect(node.value, wanted, f"the value of `{name}`", help=help_)
        self.exprs.partial_records = False
