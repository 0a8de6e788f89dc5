"""Operators: which types each takes, and what it gives."""

from typing import TYPE_CHECKING

from parrotc.check import rules
from parrotc.check.narrowing import narrow
from parrotc.check.plans import FIGURE
from parrotc.check.rules import BROKEN, a, is_number, is_text
from parrotc.ir.diagnostic import Label
from parrotc.ir.types import BOOL, FLOAT, INT, STR, Choice, Enum, Int, ListOf, Scored, Type
from parrotc.syntax import tree

if TYPE_CHECKING:
    from parrotc.check.exprs import Exprs

COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def unary(exprs: "Exprs", node: tree.Unary) -> Type:
    if node.op == "not":
        exprs.expect(node.value, BOOL, "what `not` is applied to")
        return BOOL
    type_ = exprs.expr(node.value)
    if not is_number(type_) and type_ != BROKEN:
        message = f"`-` needs a number, not {a(type_)}"
        exprs.report.add("E0312", message, node.span)
        return BROKEN
    return INT if isinstance(type_, Int) else type_


def binary(exprs: "Exprs", node: tree.Binary) -> Type:
    if node.op in ("and", "or"):
        exprs.condition(node.left)
        with exprs.inside(narrow(node.left, node.op == "and", exprs.scope)):
            exprs.condition(node.right)
        return BOOL
    left, right = _sides(exprs, node)
    if BROKEN in (left, right):
        return BROKEN if node.op in ("+", "-", "*", "/", "%") else BOOL
    result = _result(node.op, left, right)
    if result is not None:
        return result
    _mismatch(exprs, node, left, right)
    return BROKEN if node.op in ("+", "-", "*", "/", "%") else BOOL


def _sides(exprs: "Exprs", node: tree.Binary) -> tuple[Type, Type]:
    """The types of both sides. A text that is compared with a choice names one of its options."""
    if isinstance(node.left, tree.Literal) and node.op in ("==", "!="):
        right = exprs.expr(node.right)
        return exprs.expr(node.left, right), right
    left = exprs.expr(node.left)
    if node.op in ("==", "!="):
        return left, exprs.expr(node.right, left)
    if node.op in ("in", "not in"):
        return left, exprs.expr(node.right, ListOf(left))
    if node.op == "+" and isinstance(left, ListOf):
        return left, exprs.expr(node.right)
    return left, exprs.expr(node.right)


def _result(op: str, left: Type, right: Type) -> Type | None:
    if FIGURE in (left, right):  # what a figure is may depend on inputs: it is compared, no more
        are_counts = all(side == FIGURE or is_number(side) for side in (left, right))
        return BOOL if are_counts and op in COMPARISONS else None
    match op:
        case "==" | "!=":
            return BOOL if rules.comparable(left, right) else None
        case "<" | "<=" | ">" | ">=":
            ordered = (is_number(left) and is_number(right)) or (is_text(left) and is_text(right))
            return BOOL if ordered else None
        case "in" | "not in":
            return BOOL if _contains(right, left) else None
        case "+":
            return _sum(left, right)
        case "*":
            return _product(left, right)
    return _arithmetic(op, left, right)


def _contains(whole: Type, part: Type) -> bool:
    if isinstance(whole, ListOf):
        return whole == rules.EMPTY_LIST or rules.comparable(part, whole.item)
    return is_text(whole) and is_text(part)


def _sum(left: Type, right: Type) -> Type | None:
    if is_text(left) and is_text(right):
        return STR
    if isinstance(left, ListOf) and isinstance(right, ListOf):
        return rules.join(left, right)
    return _arithmetic("+", left, right)


def _product(left: Type, right: Type) -> Type | None:
    for one, other in ((left, right), (right, left)):
        if isinstance(other, Int) and (is_text(one) or isinstance(one, ListOf)):
            return STR if is_text(one) else one
    return _arithmetic("*", left, right)


def _arithmetic(op: str, left: Type, right: Type) -> Type | None:
    if not (is_number(left) and is_number(right)):
        return None
    both_int = isinstance(left, Int) and isinstance(right, Int)
    return INT if both_int and op != "/" else FLOAT


def _mismatch(exprs: "Exprs", node: tree.Binary, left: Type, right: Type) -> None:
    verbs = {"in": "look for", "not in": "look for", "==": "compare", "!=": "compare"}
    link = "in" if "in" in node.op else "with"
    if node.op in verbs:
        message = f"`{node.op}` cannot {verbs[node.op]} {a(left)} {link} {a(right)}"
    else:
        message = f"`{node.op}` does not take {a(left)} and {a(right)}"
    labels = [Label(node.right.span, f"this is {a(right)}")]
    exprs.report.add(
        "E0312", message, node.left.span, f"this is {a(left)}", labels=labels,
        help=_help(node, left, right),
    )  # fmt: skip


def _help(node: tree.Binary, left: Type, right: Type) -> str:
    for side, type_, other in ((node.left, left, right), (node.right, right, left)):
        text = side.span.text()
        inner = rules.without_none(type_)
        if inner != type_ and _result(node.op, *_swapped(side is node.left, inner, other)):
            return f"handle `None` first: `{text} if {text} != None else …`"
        if node.op == "+" and is_text(other) and rules.is_shown(type_):
            return f"`str({text})`"
        if node.op == "+" and isinstance(other, ListOf) and rules.assignable(type_, other.item):
            return f"`[{text}]`"
        if isinstance(type_, Scored):
            return f"`{text}.value` is the choice, `{text}.p` its probability"
        if isinstance(type_, Enum) and isinstance(other, Choice) is False and is_text(other):
            return f"`{text}.name`"
    return ""


def _swapped(is_left: bool, one: Type, other: Type) -> tuple[Type, Type]:
    return (one, other) if is_left else (other, one)
