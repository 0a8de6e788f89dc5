"""Expressions: each becomes the ops that compute it, in evaluation order.

`and`, `or` and `a if c else b` become `If`, so that only the taken side runs. A comprehension is
a `Map`; with a condition or several loops its body yields lists, which are then flattened.
"""

from collections.abc import Mapping

from parrotc.check import program as checked
from parrotc.ir.ops import Map, Value
from parrotc.ir.source import Span
from parrotc.ir.types import (
    BOOL,
    INT,
    NONE,
    STR,
    Enum,
    ListOf,
    Nothing,
    Optional,
    Record,
    Type,
)
from parrotc.lower.calls import NOTHING_MOCKED, Calls, Inline, Sites, StandIn
from parrotc.lower.region import Region
from parrotc.syntax import tree

_OPERATORS = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod", "==": "eq", "!=": "ne",
    "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "in": "in", "not in": "not_in",
}  # fmt: skip


class Exprs:
    """Lowers expressions of one flow or semantic function into the region it is given."""

    def __init__(
        self,
        program: checked.Program,
        sites: Sites | None = None,
        policy: checked.Policy | None = None,
        inline: Inline | None = None,
        stand_ins: Mapping[str, StandIn] = NOTHING_MOCKED,
    ) -> None:
        self.program = program
        policy = policy or checked.Policy()
        self._calls = Calls(program, self.lower, sites, policy, inline, stand_ins)

    def type_of(self, node: tree.Expr) -> Type:
        return self.program.types[node]

    def lower(self, node: tree.Expr, region: Region, hint: str = "v") -> Value:
        match node:
            case tree.Literal():
                return region.const(node.value, self.type_of(node), node.span, hint)
            case tree.Name():
                return self._name(node, region, hint)
            case tree.Template():
                return self._template(node, region, hint)
            case tree.CallExpr():
                return self._calls.lower(node, node, checked.Policy(), region, hint)
            case tree.With():
                return self._calls.lower(node, node.call, self.program.policies[node], region, hint)
            case tree.Attribute():
                return self._attribute(node, region, hint)
            case tree.Index():
                args = [self.lower(node.value, region), self.lower(node.index, region)]
                return region.apply("index", args, self.type_of(node), node.span, hint)
            case tree.Slice():
                return self._slice(node, region, hint)
            case tree.Unary():
                name = "neg" if node.op == "-" else "not"
                value = self.lower(node.value, region)
                return region.apply(name, [value], self.type_of(node), node.span, hint)
            case tree.Binary():
                return self._binary(node, region, hint)
            case tree.Conditional():
                return self._either(node, node.condition, node.then, node.orelse, region, hint)
            case tree.ListExpr():
                args = [self.lower(item, region) for item in node.items]
                return region.apply("list", args, self.type_of(node), node.span, hint)
            case tree.TupleExpr():
                args = [self.lower(item, region) for item in node.items]
                names = [str(i) for i in range(len(args))]
                return self._record(names, args, self.type_of(node), region, node.span, hint)
            case tree.RecordExpr():
                return self._record_expr(node, region, hint)
            case tree.Comprehension():
                return self._comprehension(node, node.loops, region, hint)
        raise TypeError(f"no expression: {type(node).__name__}")

    # names and attributes

    def _name(self, node: tree.Name, region: Region, hint: str) -> Value:
        if node.id in region.env:
            return self._known(region.env[node.id], node, region, hint)
        return self._meaning(self.program.names[node], node, region, hint)

    def _known(self, value: Value, node: tree.Name, region: Region, hint: str) -> Value:
        """The value as what a condition has shown it to be: `None`, or not `None`."""
        type_ = self.type_of(node)
        if not isinstance(value.type, Optional | Nothing) or isinstance(type_, Optional):
            return value
        if type_ == NONE:
            return region.const(None, NONE, node.span, hint)
        return region.apply("present", [value], type_, node.span, hint)

    def _meaning(self, symbol: checked.Symbol, node: tree.Expr, region: Region, hint: str) -> Value:
        match symbol:
            case checked.ConstSymbol():
                return region.const(symbol.value, symbol.type, node.span, hint)
            case checked.TypeSymbol(type=Enum() as enum):  # an enum iterates over its members
                members = [member.name for member in enum.members]
                return region.const(members, ListOf(enum), node.span, hint)
        raise TypeError(f"`{symbol.name}` is no value")

    def _attribute(self, node: tree.Attribute, region: Region, hint: str) -> Value:
        symbol = self.program.names.get(node)
        if symbol is not None:
            return self._meaning(symbol, node, region, hint)
        value = self.lower(node.value, region)
        match value.type:
            case Enum() as enum:
                if node.attr == "name":
                    return value
                docs = tuple((member.name, member.doc) for member in enum.members)
                return region.apply("doc", [value], STR, node.span, hint, (("docs", docs),))
        return region.apply(
            "get", [value], self.type_of(node), node.span, hint, (("field", node.attr),)
        )

    # data

    def _template(self, node: tree.Template, region: Region, hint: str) -> Value:
        texts, args = [""], []
        for part in node.parts:
            match part:
                case tree.TextPart():
                    texts[-1] += part.text
                case tree.Show():
                    args.append(self.show(part, region))
                    texts.append("")
        if not args:
            return region.const(texts[0], self.type_of(node), node.span, hint)
        return region.apply("format", args, STR, node.span, hint, (("texts", tuple(texts)),))

    def show(self, node: tree.Show, region: Region) -> Value:
        """The text that a `{{expr | filter}}` hole reads."""
        value = self.lower(node.value, region)
        for filter_ in node.filters:
            value = self._filter(filter_, value, region)
        return region.shown(value, node.span)

    def _filter(self, node: tree.Filter, value: Value, region: Region) -> Value:
        symbol = self.program.names.get(node)
        if isinstance(symbol, checked.ExternSymbol):
            args = self._calls.arguments(symbol.params, node.args, region, node.span, first=value)
            return self._calls.native(symbol, args, symbol.result, region, node.span, "v")
        given = [arg for arg in node.args if arg.name != "model"]
        args = [value, *(self.lower(arg.value, region) for arg in given)]
        attrs = (("model", self._tokens_of(node)),) if node.name == "truncate" else ()
        return region.apply(node.name, args, STR, node.span, attrs=attrs)

    def _tokens_of(self, node: tree.Filter) -> str:
        """The model whose tokens `truncate` counts; empty for that of the consuming call."""
        for arg in node.args:
            if arg.name == "model":
                return self.program.names[arg.value].name
        return ""

    def _slice(self, node: tree.Slice, region: Region, hint: str) -> Value:
        args = [self.lower(node.value, region)]
        for end in (node.start, node.stop):
            if end is None:
                args.append(region.const(None, Optional(INT), node.span))
            else:
                args.append(self.lower(end, region))
        return region.apply("slice", args, self.type_of(node), node.span, hint)

    def _record_expr(self, node: tree.RecordExpr, region: Region, hint: str) -> Value:
        type_ = self.type_of(node)
        given = {f.name or "": self.lower(f.value, region) for f in node.fields}
        if isinstance(type_, Record):
            for wanted in type_.fields:
                if wanted.name not in given and wanted.has_default:  # else left out of a mock
                    given[wanted.name] = region.const(wanted.default, wanted.type, node.span)
        return self._record(list(given), list(given.values()), type_, region, node.span, hint)

    def _record(
        self,
        names: list[str],
        args: list[Value],
        type_: Type,
        region: Region,
        span: Span,
        hint: str,
    ) -> Value:
        return region.apply("record", args, type_, span, hint, (("names", tuple(names)),))

    # operators

    def _binary(self, node: tree.Binary, region: Region, hint: str) -> Value:
        if node.op == "and":
            return self._either(node, node.left, node.right, False, region, hint)
        if node.op == "or":
            return self._either(node, node.left, True, node.right, region, hint)
        args = [self.lower(node.left, region), self.lower(node.right, region)]
        return region.apply(_OPERATORS[node.op], args, self.type_of(node), node.span, hint)

    def _either(
        self,
        node: tree.Expr,
        condition: tree.Expr,
        then: tree.Expr | bool,
        orelse: tree.Expr | bool,
        region: Region,
        hint: str,
    ) -> Value:
        test = self.lower(condition, region)
        arms = []
        for side in (then, orelse):
            inner = region.inner()
            if isinstance(side, bool):
                value = inner.const(side, BOOL, node.span)
            else:
                value = self.lower(side, inner)
            arms.append((inner, [value]))
        (result,) = region.choose(test, arms[0], arms[1], [hint], node.span)
        return result

    # comprehensions

    def _comprehension(
        self, node: tree.Comprehension, loops: tuple[tree.Loop, ...], region: Region, hint: str
    ) -> Value:
        """The list of `node.value` over the given loops, the first one outermost."""
        loop, rest = loops[0], loops[1:]
        items = self.lower(loop.items, region)
        inner = region.inner()
        params = self.bind_item(loop.target, items.type, inner)
        result_type = self.type_of(node)
        if not rest and loop.condition is None:
            value = self.lower(node.value, inner)
            return self._map(items, params, inner, value, result_type, region, node.span, hint)
        if loop.condition is None:
            value = self._comprehension(node, rest, inner, "v")
        else:
            value = self._filtered(node, loop.condition, rest, inner)
        nested = self._map(items, params, inner, value, ListOf(result_type), region, node.span, "v")
        return region.apply("flatten", [nested], result_type, node.span, hint)

    def _filtered(
        self,
        node: tree.Comprehension,
        condition: tree.Expr,
        rest: tuple[tree.Loop, ...],
        region: Region,
    ) -> Value:
        """What one iteration adds: a list, empty where the condition is false."""
        test = self.lower(condition, region)
        type_ = self.type_of(node)
        keep, drop = region.inner(), region.inner()
        if rest:
            kept = self._comprehension(node, rest, keep, "v")
        else:
            kept = keep.apply("list", [self.lower(node.value, keep)], type_, node.span)
        empty = drop.const([], type_, node.span)
        (value,) = region.choose(test, (keep, [kept]), (drop, [empty]), ["v"], node.span)
        return value

    def _map(
        self,
        items: Value,
        params: tuple[Value, Value],
        inner: Region,
        value: Value,
        type_: Type,
        region: Region,
        span: Span,
        hint: str,
    ) -> Value:
        result = region.names.fresh(hint, type_)
        op = Map(results=(result,), items=items, body=inner.block(params, [value]), span=span)
        region.ops.append(op)
        return result

    def bind_item(self, target: tree.Target, items: Type, region: Region) -> tuple[Value, Value]:
        """The item and index parameters of a loop body, with the target's names bound."""
        item_type = items.item if isinstance(items, ListOf) else STR
        first = target.names[0]
        single = len(target.names) == 1
        item = region.names.fresh(first.id if single else "item", item_type)
        index = region.names.fresh("i", INT)
        if single:
            region.env[first.id] = item
        else:
            self.take_apart(target, item, region)
        return item, index

    def take_apart(self, target: tree.Target, value: Value, region: Region) -> None:
        """Bind `a, b = value`."""
        fields = value.type.fields if isinstance(value.type, Record) else ()
        for field, name in zip(fields, target.names, strict=True):
            region.env[name.id] = region.apply(
                "get", [value], field.type, name.span, name.id, (("field", field.name),)
            )
