"""What a condition says about names that may be `None`: `if x != None` makes a `T?` a `T`."""

from dataclasses import replace

from parrotc.check.program import LocalSymbol
from parrotc.check.rules import without_none
from parrotc.check.scope import Scope
from parrotc.ir.types import NONE, Optional, Type
from parrotc.syntax import tree


def narrow(condition: tree.Expr, holds: bool, scope: Scope) -> Scope:
    """An inner scope in which the condition is known to hold, or not to hold."""
    inner = scope.inner()
    for name, type_ in _known(condition, holds, scope):
        symbol = scope.lookup(name)
        if isinstance(symbol, LocalSymbol):
            inner.bind(replace(symbol, type=type_))
    return inner


def _known(condition: tree.Expr, holds: bool, scope: Scope) -> list[tuple[str, Type]]:
    match condition:
        case tree.Unary(op="not"):
            return _known(condition.value, not holds, scope)
        case tree.Binary(op="and" | "or") if holds == (condition.op == "and"):
            # both sides hold, or both fail; otherwise nothing is known of either
            left = _known(condition.left, holds, scope)
            return left + _known(condition.right, holds, scope)
        case tree.Binary(op="==" | "!="):
            return _compared(condition, holds == (condition.op == "=="), scope)
    return []


def _compared(node: tree.Binary, equal: bool, scope: Scope) -> list[tuple[str, Type]]:
    for name, other in ((node.left, node.right), (node.right, node.left)):
        if not isinstance(name, tree.Name) or not _is_none(other):
            continue
        symbol = scope.lookup(name.id)
        if isinstance(symbol, LocalSymbol) and isinstance(symbol.type, Optional):
            return [(name.id, NONE if equal else without_none(symbol.type))]
    return []


def _is_none(node: tree.Expr) -> bool:
    return isinstance(node, tree.Literal) and node.value is None
