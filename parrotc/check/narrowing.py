"""What a condition says about names that may be `None`: `if x != None` makes a `T?` a `T`."""

from parrotc.check.program import LocalSymbol
from parrotc.check.rules import attributes, without_none
from parrotc.check.scope import Scope
from parrotc.ir.types import NONE, Optional, Type
from parrotc.syntax import tree


def narrow(condition: tree.Expr, holds: bool, scope: Scope) -> Scope:
    """An inner scope in which the condition is known to hold, or not to hold.

    Values never change, so what is known of `doc.part` stays true until `doc` is bound again.
    """
    inner = scope.inner()
    learn(condition, holds, inner)
    return inner


def learn(condition: tree.Expr, holds: bool, scope: Scope) -> None:
    """As `narrow`, for the rest of `scope` itself."""
    match condition:
        case tree.Unary(op="not"):
            learn(condition.value, not holds, scope)
        case tree.Binary(op="and" | "or") if holds == (condition.op == "and"):
            # both sides hold, or both fail; otherwise nothing is known of either
            learn(condition.left, holds, scope)
            learn(condition.right, holds, scope)
        case tree.Binary(op="==" | "!="):
            _compared(condition, holds == (condition.op == "=="), scope)


def path(node: tree.Expr) -> str:
    """`doc.part` as text, for a name with fields; empty for anything else."""
    match node:
        case tree.Name():
            return node.id
        case tree.Attribute():
            base = path(node.value)
            return f"{base}.{node.attr}" if base else ""
    return ""


def type_of(node: tree.Expr, scope: Scope) -> Type | None:
    """The type of a name with fields, as far as it is known without looking elsewhere."""
    match node:
        case tree.Name():
            symbol = scope.lookup(node.id)
            return symbol.type if isinstance(symbol, LocalSymbol) else None
        case tree.Attribute():
            base = type_of(node.value, scope)
            declared = attributes(base).get(node.attr) if base is not None else None
            return scope.known_type(path(node)) or declared
    return None


def _compared(node: tree.Binary, equal: bool, scope: Scope) -> None:
    for value, other in ((node.left, node.right), (node.right, node.left)):
        type_ = type_of(value, scope) if _is_none(other) else None
        if isinstance(type_, Optional):
            scope.learn(path(value), NONE if equal else without_none(type_))


def _is_none(node: tree.Expr) -> bool:
    return isinstance(node, tree.Literal) and node.value is None
