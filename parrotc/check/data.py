"""Lists, records, tuples, their parts, and comprehensions."""

from typing import TYPE_CHECKING

from parrotc.check import rules
from parrotc.check.narrowing import narrow
from parrotc.check.report import did_you_mean
from parrotc.check.rules import BROKEN, EMPTY_LIST, a
from parrotc.check.typeexprs import TypeReader
from parrotc.ir.types import FLOAT, INT, NONE, STR, Field, ListOf, Record, Scored, Type
from parrotc.syntax import tree

if TYPE_CHECKING:
    from parrotc.check.exprs import Exprs


def list_(exprs: "Exprs", node: tree.ListExpr, hint: Type | None) -> Type:
    if isinstance(hint, ListOf) and hint != EMPTY_LIST:
        for item in node.items:
            exprs.expect(item, hint.item, "an item")
        return hint
    if not node.items:
        return EMPTY_LIST
    joined = exprs.expr(node.items[0])
    for item in node.items[1:]:
        type_ = exprs.expr(item, joined)
        both = rules.join(joined, type_)
        if both is None:
            message = f"a list holds one type of item: {a(joined)} comes before {a(type_)}"
            exprs.report.add("E0318", message, item.span, f"this is {a(type_)}")
            return BROKEN
        joined = both
    if joined == NONE:
        exprs.report.add("E0318", "nothing says what this list holds besides `None`", node.span)
        return BROKEN
    return ListOf(joined)


def tuple_(exprs: "Exprs", node: tree.TupleExpr, hint: Type | None) -> Type:
    if isinstance(hint, Scored) and len(node.items) == 2:  # in a mock: ("OTHER", 0.4)
        exprs.expect(node.items[0], hint.item, "the value of a scored choice")
        exprs.expect(node.items[1], FLOAT, "the probability of a scored choice")
        return hint
    wanted: list[Type | None] = [None] * len(node.items)
    if isinstance(hint, Record) and rules.is_tuple(hint) and len(hint.fields) == len(node.items):
        wanted = [field.type for field in hint.fields]
    types = [exprs.expr(item, want) for item, want in zip(node.items, wanted, strict=True)]
    return rules.tuple_of(*types)


def record(exprs: "Exprs", node: tree.RecordExpr, hint: Type | None) -> Type:
    """A record literal: by the fields of the class that is wanted, or of its own kind."""
    if node.type is not None:
        hint = TypeReader(exprs.session, exprs.file).read(node.type)
    if not isinstance(hint, Record):
        fields = [Field(given.name or "", exprs.expr(given.value)) for given in node.fields]
        _duplicates(exprs, node)
        return Record("", tuple(fields)) if hint != BROKEN else BROKEN
    if hint == BROKEN:
        for given in node.fields:
            exprs.expr(given.value)
        return BROKEN
    name = f"`{hint.name}`" if hint.name else "this record"
    for given in node.fields:
        field = hint.field(given.name or "")
        if field is None:
            help_ = did_you_mean(given.name or "", [field.name for field in hint.fields])
            message = f"{name} has no field `{given.name}`"
            exprs.report.add("E0317", message, given.span, help=help_)
            exprs.expr(given.value)
        else:
            exprs.expect(given.value, field.type, f"`{field.name}` of {name}")
    _duplicates(exprs, node)
    _missing(exprs, node, hint, name)
    return hint


def _duplicates(exprs: "Exprs", node: tree.RecordExpr) -> None:
    seen: set[str | None] = set()
    for given in node.fields:
        if given.name in seen:
            exprs.report.add("E0317", f"the field `{given.name}` is given twice", given.span)
        seen.add(given.name)


def _missing(exprs: "Exprs", node: tree.RecordExpr, wanted: Record, name: str) -> None:
    given = {field.name for field in node.fields}
    absent = [f.name for f in wanted.fields if f.name not in given and not f.has_default]
    if exprs.partial_records and not wanted.name:
        return
    # a misspelt field is one mistake, not an unknown and a missing one
    unknown = any(wanted.field(field.name or "") is None for field in node.fields)
    if absent and not unknown:
        listed = ", ".join(f"`{field}`" for field in absent)
        exprs.report.add("E0317", f"{name} needs {listed}", node.span)


def index(exprs: "Exprs", node: tree.Index) -> Type:
    held = exprs.expr(node.value)
    exprs.expect(node.index, INT, "an index")
    if isinstance(held, ListOf):
        return exprs.item_of(node.value, held)
    if rules.is_text(held):
        return STR
    if held != BROKEN:
        help_ = "take it apart: `a, b = …`" if rules.is_tuple(held) else ""
        message = f"{a(held)} cannot be indexed"
        exprs.report.add("E0315", message, node.value.span, help=help_)
    return BROKEN


def slice_(exprs: "Exprs", node: tree.Slice) -> Type:
    held = exprs.expr(node.value)
    for end in (node.start, node.stop):
        if end is not None:
            exprs.expect(end, INT, "the end of a slice")
    if isinstance(held, ListOf) or held == BROKEN:
        return held
    if rules.is_text(held):
        return STR
    exprs.report.add("E0315", f"{a(held)} cannot be sliced", node.value.span)
    return BROKEN


def comprehension(exprs: "Exprs", node: tree.Comprehension, hint: Type | None) -> Type:
    wanted = hint.item if isinstance(hint, ListOf) and hint != EMPTY_LIST else None
    outer = exprs.scope
    scope = outer.inner()
    for loop in node.loops:
        with exprs.inside(scope):
            item = exprs.items_of(loop.items)
            scope = scope.inner()
        with exprs.inside(scope):
            exprs.unpack(loop.target, item)
            if loop.condition is not None:
                exprs.condition(loop.condition)
                scope = narrow(loop.condition, True, scope)
    with exprs.inside(scope):
        return ListOf(exprs.expr(node.value, wanted))
