"""`plan(flow)` in tests: what can be asked of a plan."""

from typing import TYPE_CHECKING

from parrotc.check import embed
from parrotc.check.arguments import arguments
from parrotc.check.naming import Place
from parrotc.check.program import FlowSymbol, PfuncSymbol
from parrotc.check.report import did_you_mean
from parrotc.check.rules import BROKEN
from parrotc.check.session import BrokenSymbol
from parrotc.ir.types import INT, STR, Field, ListOf, Optional, Record, Type
from parrotc.syntax import tree

if TYPE_CHECKING:
    from parrotc.check.exprs import Exprs

FIGURES = ("calls", "calls_max", "depth", "width", "tokens")

# Values of a test only. Their names, and the fields with a space, are none that an author can
# write. A figure lies between two numbers, the upper one not always known; `formula` is for people.
FIGURE = Record(
    "figure of a plan",
    (Field(" least", INT), Field(" most", Optional(INT)), Field(" formula", STR)),
)
PREFIX = Record("prefix of a plan", (Field("scope", STR), Field("tokens", FIGURE)))
_PREFIXES = ListOf(Record("", (Field(" function", STR), Field(" prefix", PREFIX))))
PLAN = Record(
    "plan of a flow", (*(Field(name, FIGURE) for name in FIGURES), Field(" prefixes", _PREFIXES))
)


def plan(exprs: "Exprs", node: tree.CallExpr) -> Type:
    """`plan(flow)`, or `plan(flow, doc=…)` with inputs of the flow."""
    if exprs.place is not Place.TEST:
        message = "`plan` stands only in a test"
        exprs.report.add("E0342", message, node.span, f"this is {exprs.place}")
        return BROKEN
    first = node.args[0] if node.args and node.args[0].name is None else None
    symbol = exprs.meaning(first.value) if first else None
    if isinstance(symbol, BrokenSymbol):
        return BROKEN
    if first is None or not isinstance(symbol, FlowSymbol):
        exprs.report.add("E0370", "`plan` takes a flow", node.span, help="`plan(name_of_a_flow)`")
        return BROKEN
    if len(node.args) > 1:
        arguments(exprs, symbol, node.args[1:], node)
    return PLAN


def prefix(exprs: "Exprs", node: tree.CallExpr) -> Type:
    """`plan(flow).prefix("f")`: the longest prefix that calls of a semantic function share."""
    name = embed.text_argument(exprs, node, "prefix", "a semantic function")
    if name is None:
        return BROKEN
    known = {
        other for other, decl in exprs.file.declared.items() if isinstance(decl, tree.PfuncDecl)
    }
    known |= {n for n, symbol in exprs.file.imported.items() if isinstance(symbol, PfuncSymbol)}
    if name not in known:
        message = f"no semantic function is called `{name}`"
        exprs.report.add("E0370", message, node.args[0].span, help=did_you_mean(name, known))
        return BROKEN
    symbol = exprs.session.lookup(exprs.file, name)
    if symbol is not None:
        exprs.session.names[node.args[0].value] = symbol
    return PREFIX
