"""Python expressions as expressions of the language, with the same meaning or a diagnostic.

A text in a flow is what Python says it is; an f-string is a text with holes. `f.with_(n=8)(x)` is
`f(x) with (n=8)`, and `", ".join(xs)` is the filter of that name.
"""

import ast
from typing import Protocol

from parrotc.ir.source import Span
from parrotc.python.places import Places
from parrotc.python.scope import Kind, ModuleScope
from parrotc.syntax import tree
from parrotc.syntax.numbers import is_too_large, too_large
from parrotc.syntax.problem import Problem
from parrotc.syntax.scan import MAX_DEPTH

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Mod: "%",
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
NATIVE = "move it into a function of its own, and decorate that with `@native`"
_OUTSIDE: dict[type[ast.expr], tuple[str, str]] = {
    ast.Lambda: ("a lambda", NATIVE),
    ast.NamedExpr: ("`:=`", "assign on a line of its own"),
    ast.Set: ("a set", "write a list: `[…]`"),
    ast.SetComp: ("a set comprehension", "write a list comprehension: `[…]`"),
    ast.DictComp: ("a dict comprehension", NATIVE),
    ast.Await: ("`await`", "leave it out: calls run as soon as what they need is there"),
    ast.Yield: ("`yield`", "return a list"),
    ast.YieldFrom: ("`yield from`", "return a list"),
    ast.Starred: ("`*`", "join lists with `+`"),
}


class ReadPolicies(Protocol):
    """How the arguments of `f.with_(…)` are read; see `policies.py`."""

    def __call__(self, exprs: "Exprs", keywords: list[ast.keyword]) -> tuple[tree.Arg, ...]: ...


class Exprs:
    """Translates the expressions of one file. Raises `Problem` for what is outside of it."""

    def __init__(self, places: Places, scope: ModuleScope, read_policies: ReadPolicies) -> None:
        self.places = places
        self.scope = scope
        self._read_policies = read_policies

    def expr(self, node: ast.expr) -> tree.Expr:
        with self.places.inside(node):
            return self._expr(node)

    def exprs(self, nodes: list[ast.expr]) -> tuple[tree.Expr, ...]:
        return tuple(self.expr(node) for node in nodes)

    def outside(self, node: ast.expr, what: str, help: str = "") -> Problem:
        return self.places.problem(
            node, "E0126", f"{what} stands outside of what a flow can say", help=help
        )

    def _expr(self, node: ast.expr) -> tree.Expr:
        span = self.places.span(node)
        if isinstance(node, ast.Name | ast.Attribute):
            known = self.scope.from_parrotc(node)
            if known in ("embed", "env"):  # by whatever name the file knows it
                return tree.Name(span=span, id=known)
        match node:
            case ast.Name(id=name):
                return tree.Name(span=span, id=name)
            case ast.Constant():
                return self._constant(node)
            case ast.JoinedStr():
                return self._template(node)
            case ast.Call():
                return self._call(node)
            case ast.Attribute(value=value, attr=attr):
                place = Span(span.source, span.end - len(attr), span.end)
                return tree.Attribute(span=span, value=self.expr(value), attr=attr, attr_span=place)
            case ast.Subscript():
                return self._subscript(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                name = _BINARY[type(op)]
                return tree.Binary(span=span, op=name, left=self.expr(left), right=self.expr(right))
            case ast.BoolOp(op=op, values=values):
                return self._joined("and" if isinstance(op, ast.And) else "or", values)
            case ast.Compare():
                return self._compare(node)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return tree.Conditional(
                    span=span,
                    condition=self.expr(test),
                    then=self.expr(body),
                    orelse=self.expr(orelse),
                )
            case ast.List(elts=items):
                return tree.ListExpr(span=span, items=self.exprs(items))
            case ast.Tuple(elts=items):
                return tree.TupleExpr(span=span, items=self.exprs(items))
            case ast.Dict():
                return self._record(node)
            case ast.ListComp() | ast.GeneratorExp():
                return self._comprehension(node)
        what, help_ = _OUTSIDE.get(type(node), ("this operator", NATIVE))
        raise self.outside(node, what, help_)

    # values

    def _constant(self, node: ast.Constant) -> tree.Literal:
        value, span = node.value, self.places.span(node)
        if isinstance(value, bool | None):
            return tree.Literal(span=span, value=value)
        if isinstance(value, str):
            if "{{" in span.text():
                raise self.places.problem(
                    node,
                    "E0126",
                    "a text of a flow has no holes: `{{` would be two braces",
                    help='write an f-string, `f"… {name} …"`, or add up texts',
                )
            self.places.check_text(node, value)
            return tree.Literal(span=span, value=value)
        if isinstance(value, int | float):
            if is_too_large(value):
                raise too_large(span)
            return tree.Literal(span=span, value=value)
        kinds = {bytes: "a value of bytes", complex: "a complex number"}
        raise self.outside(node, kinds.get(type(value), "`...`"))

    def _template(self, node: ast.JoinedStr) -> tree.Template:
        parts: list[tree.TextPart | tree.Show | tree.Gen] = []
        for value in node.values:
            span = self.places.span(value)
            match value:
                case ast.Constant(value=str() as text):
                    parts.append(tree.TextPart(span=span, text=text))
                case ast.FormattedValue(value=shown, conversion=-1, format_spec=None):
                    parts.append(tree.Show(span=span, value=self.expr(shown)))
                case _:
                    help_ = "`round(x, 2)` rounds; a `@native` function formats as you like"
                    raise self.outside(node, "the format of a value in an f-string", help_)
        return tree.Template(span=self.places.span(node), parts=tuple(parts))

    def _record(self, node: ast.Dict) -> tree.RecordExpr:
        fields = []
        for key, value in zip(node.keys, node.values, strict=True):
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                help_ = 'write the names of the fields: `{"id": …, "text": …}`'
                raise self.outside(key or value, "a key that is no literal text", help_)
            span = self.places.span(key).to(self.places.span(value))
            fields.append(tree.Arg(span=span, name=key.value, value=self.expr(value)))
        return tree.RecordExpr(span=self.places.span(node), fields=tuple(fields))

    # operators

    def _unary(self, node: ast.UnaryOp) -> tree.Expr:
        span, value = self.places.span(node), self.expr(node.operand)
        match node.op:
            case ast.Not():
                return tree.Unary(span=span, op="not", value=value)
            case ast.USub() if _is_number(value):
                return tree.Literal(span=span, value=-value.value)  # type: ignore[union-attr,operator]
            case ast.USub():
                return tree.Unary(span=span, op="-", value=value)
        raise self.outside(node, "this operator", NATIVE)

    def _joined(self, op: str, values: list[ast.expr]) -> tree.Expr:
        """`a and b and c` is `(a and b) and c`."""
        if len(values) > MAX_DEPTH:
            raise self.outside(values[0], f"more than {MAX_DEPTH} parts", "use `any` or `all`")
        first, *rest = self.exprs(values)
        for value in rest:
            first = tree.Binary(span=first.span.to(value.span), op=op, left=first, right=value)
        return first

    def _compare(self, node: ast.Compare) -> tree.Binary:
        if len(node.ops) > 1:
            raise self.outside(node, "a chain of comparisons", "write `a < b and b < c`")
        op, right = node.ops[0], node.comparators[0]
        if isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                raise self.outside(node, "`is`", "write `==`: only values count")
            name = "==" if isinstance(op, ast.Is) else "!="
        else:
            name = _COMPARE[type(op)]
        return tree.Binary(
            span=self.places.span(node), op=name, left=self.expr(node.left), right=self.expr(right)
        )

    def _subscript(self, node: ast.Subscript) -> tree.Index | tree.Slice:
        span, value = self.places.span(node), self.expr(node.value)
        if not isinstance(node.slice, ast.Slice):
            return tree.Index(span=span, value=value, index=self.expr(node.slice))
        if node.slice.step is not None:
            raise self.outside(node, "a slice with a step", NATIVE)
        start, stop = node.slice.lower, node.slice.upper
        return tree.Slice(
            span=span,
            value=value,
            start=None if start is None else self.expr(start),
            stop=None if stop is None else self.expr(stop),
        )

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp) -> tree.Comprehension:
        loops = []
        for loop in node.generators:
            target = self.target(loop.target)
            items = self.expr(loop.iter)
            condition = self._joined("and", loop.ifs) if loop.ifs else None
            span = target.span.to((condition or items).span)
            loops.append(tree.Loop(span=span, target=target, items=items, condition=condition))
        return tree.Comprehension(
            span=self.places.span(node), value=self.expr(node.elt), loops=tuple(loops)
        )

    def target(self, node: ast.expr) -> tree.Target:
        """What an assignment or a loop binds: one name, or several that take a tuple apart."""
        names = node.elts if isinstance(node, ast.Tuple | ast.List) else [node]
        kept = []
        for name in names:
            if not isinstance(name, ast.Name):
                raise self.places.problem(
                    name,
                    "E0113",
                    "only a name can be assigned to",
                    note="values never change once they are made; a name can be bound again",
                )
            kept.append(tree.Name(span=self.places.span(name), id=name.id))
        return tree.Target(span=self.places.span(node), names=tuple(kept))

    # calls

    def _call(self, node: ast.Call) -> tree.Expr:
        span = self.places.span(node)
        match node.func:
            case ast.Call(func=ast.Attribute(value=function, attr="with_")) as policies:
                call = tree.CallExpr(span=span, function=self.expr(function), args=self.args(node))
                if policies.args:
                    raise self.places.problem(
                        policies.args[0], "E0117", "a policy has no name", help="write `n=8`"
                    )
                given = self._read_policies(self, policies.keywords)
                return tree.With(span=span, call=call, policies=given)
            case ast.Attribute(attr="with_"):
                raise self.outside(
                    node, "`with_` without a call", "call what it gives: `f.with_(n=8)(x)`"
                )
            case ast.Attribute(value=ast.Constant(value=str()) as separator, attr="join"):
                return self._join(node, separator)
            case ast.Name(id=name) as func if self._is_class(name):
                type_ = None if self.scope.is_named_tuple(self.scope.bindings[name].node) else name
                return self._made(node, func, type_)
            case ast.Name() | ast.Attribute() as func if name := self._imported_class(func):
                return self._made(node, func, name)
        return tree.CallExpr(span=span, function=self.expr(node.func), args=self.args(node))

    def _join(self, node: ast.Call, separator: ast.Constant) -> tree.Template:
        if len(node.args) != 1 or node.keywords:
            raise self.outside(node, "this call of `join`", "it takes one list of texts")
        span = self.places.span(node)
        by = tree.Arg(span=self.places.span(separator), name=None, value=self._constant(separator))
        joining = tree.Filter(span=span, name="join", args=(by,))
        shown = tree.Show(span=span, value=self.expr(node.args[0]), filters=(joining,))
        return tree.Template(span=span, parts=(shown,))

    def _is_class(self, name: str) -> bool:
        found = self.scope.bindings.get(name)
        return found is not None and found.kind is Kind.CLASS

    def _imported_class(self, func: ast.Name | ast.Attribute) -> str:
        """The name of what another file declares, if it is written as those of classes are."""
        base = func.value if isinstance(func, ast.Attribute) else func
        found = self.scope.bindings.get(base.id) if isinstance(base, ast.Name) else None
        name = ast.unparse(func)
        is_class = name.rpartition(".")[2][0].isupper()
        return name if is_class and found is not None and found.kind is Kind.IMPORT else ""

    def _made(
        self, node: ast.Call, func: ast.Name | ast.Attribute, type_: str | None
    ) -> tree.RecordExpr:
        """`File(path=p)` makes a record: its fields are given by name."""
        if node.args:
            raise self.outside(node.args[0], "a field without a name", "write `path=…`")
        named = None
        if type_ is not None:
            named = tree.NamedType(span=self.places.span(func), name=type_)
        return tree.RecordExpr(span=self.places.span(node), fields=self.args(node), type=named)

    def args(self, node: ast.Call) -> tuple[tree.Arg, ...]:
        named = (self._keyword(keyword) for keyword in node.keywords)
        return (*self.positional(node.args), *named)

    def positional(self, args: list[ast.expr]) -> tuple[tree.Arg, ...]:
        return tuple(
            tree.Arg(span=self.places.span(arg), name=None, value=self.expr(arg)) for arg in args
        )

    def _keyword(self, keyword: ast.keyword) -> tree.Arg:
        if keyword.arg is None:
            raise self.outside(keyword.value, "`**`", "name each argument")
        return tree.Arg(
            span=self.places.span(keyword), name=keyword.arg, value=self.expr(keyword.value)
        )


def _is_number(node: tree.Expr) -> bool:
    value = node.value if isinstance(node, tree.Literal) else None
    return isinstance(value, int | float) and not isinstance(value, bool)
