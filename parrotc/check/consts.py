"""Values that are known when compiling: constants, defaults, options, limits.

An expression is constant if it is made of literals, other constants, members of enums, operators
and built-in functions. It is folded after it has been typed, by the same functions that run later
(`ir/scalar.py`), so a constant cannot differ from the value it replaces.
"""

from collections.abc import Iterator

from parrotc.check.builtins import SPECIAL
from parrotc.check.program import BuiltinSymbol, ConstSymbol, TypeSymbol
from parrotc.check.session import BrokenSymbol, Session
from parrotc.ir.scalar import ScalarError, apply
from parrotc.ir.types import Enum, Json, Record
from parrotc.syntax import tree

OPERATORS = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod", "==": "eq", "!=": "ne",
    "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "in": "in", "not in": "not_in",
}  # fmt: skip

_MOST_STEPS = 100_000  # of one constant: what takes longer belongs in a native function


class NotConstant(Exception):
    """`node` is only known at run time. `why` is empty for what is already reported."""

    def __init__(self, node: tree.Node, why: str) -> None:
        super().__init__(why)
        self.node = node
        self.why = why


def fold(session: Session, node: tree.Expr) -> Json:
    """The value of a typed expression. Raises `NotConstant` where it has none yet."""
    return _Folder(session, node).value(node)


class _Folder:
    def __init__(self, session: Session, whole: tree.Expr) -> None:
        self._session = session
        self._whole = whole
        self._env: dict[str, Json] = {}
        self._steps = 0

    def value(self, node: tree.Expr) -> Json:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise NotConstant(self._whole, f"takes more than {_MOST_STEPS:,} steps to compute")
        if node in self._session.folded:
            return self._session.folded[node]
        match node:
            case tree.Literal():
                return node.value
            case tree.Name() if node.id in self._env:
                return self._env[node.id]
            case tree.Name() | tree.Attribute():
                return self._reference(node)
            case tree.Template():
                return self._template(node)
            case tree.Binary(op="and" | "or"):
                left = self.value(node.left)
                return self.value(node.right) if left == (node.op == "and") else left
            case tree.Binary():
                return self._apply(node, OPERATORS[node.op], [node.left, node.right])
            case tree.Unary():
                return self._apply(node, "neg" if node.op == "-" else "not", [node.value])
            case tree.Conditional():
                return self.value(node.then if self.value(node.condition) else node.orelse)
            case tree.ListExpr():
                return [self.value(item) for item in node.items]
            case tree.TupleExpr():
                return {str(i): self.value(item) for i, item in enumerate(node.items)}
            case tree.RecordExpr():
                return self._record(node)
            case tree.Index():
                return self._apply(node, "index", [node.value, node.index])
            case tree.Slice():
                ends = [None if end is None else self.value(end) for end in (node.start, node.stop)]
                return self._run(node, "slice", [self.value(node.value), *ends])
            case tree.CallExpr():
                return self._call(node)
            case tree.Comprehension():
                return list(self._items(node, node.loops))
        raise NotConstant(node, "is only known when the program runs")

    def _reference(self, node: tree.Name | tree.Attribute) -> Json:
        match self._session.names.get(node):
            case ConstSymbol() as symbol:
                return symbol.value
            case TypeSymbol(type=Enum() as enum):
                return [member.name for member in enum.members]
            case BrokenSymbol():
                raise NotConstant(node, "")
            case None if isinstance(node, tree.Attribute):
                return self._attribute(node)
        raise NotConstant(node, "is only known when the program runs")

    def _attribute(self, node: tree.Attribute) -> Json:
        held = self._session.types.get(node.value)
        if isinstance(held, Enum):
            name = self.value(node.value)
            docs = {member.name: member.doc for member in held.members}
            return name if node.attr == "name" else docs[name]
        return self._run(node, "get", [self.value(node.value)], {"field": node.attr})

    def _record(self, node: tree.RecordExpr) -> Json:
        """Fields in the order of the class; those that are not given have their default."""
        given = {field.name or "": self.value(field.value) for field in node.fields}
        type_ = self._session.types.get(node)
        if not isinstance(type_, Record):
            return given
        return {f.name: given.get(f.name, f.default) for f in type_.fields}

    def _template(self, node: tree.Template) -> str:
        out = []
        for part in node.parts:
            match part:
                case tree.TextPart():
                    out.append(part.text)
                case tree.Show():
                    out.append(self._show(part))
                case tree.Gen():
                    raise NotConstant(part, "is generated by a model")
        return "".join(out)

    def _show(self, node: tree.Show) -> str:
        value = self.value(node.value)
        for filter_ in node.filters:
            if not isinstance(self._session.names.get(filter_), BuiltinSymbol):
                raise NotConstant(filter_, "runs a native function")
            if filter_.name == "truncate":
                raise NotConstant(filter_, "counts the tokens of a model")
            args = [value, *(self.value(arg.value) for arg in filter_.args)]
            value = self._run(filter_, filter_.name, args)
        return str(self._run(node, "show", [value]))

    def _call(self, node: tree.CallExpr) -> Json:
        symbol = self._session.names.get(node.function)
        given = [arg.value for arg in node.args]
        if isinstance(symbol, BuiltinSymbol) and symbol.name not in SPECIAL:
            return self._apply(node, symbol.name, given)
        if symbol is None and isinstance(node.function, tree.Attribute):  # a method
            return self._apply(node, node.function.attr, [node.function.value, *given])
        raise NotConstant(node, "is only known when the program runs")

    def _items(self, node: tree.Comprehension, loops: tuple[tree.Loop, ...]) -> Iterator[Json]:
        if not loops:
            yield self.value(node.value)
            return
        loop, outer = loops[0], dict(self._env)
        for item in self.value(loop.items):
            names = [name.id for name in loop.target.names]
            held = [item] if len(names) == 1 else list(item.values())
            self._env.update(zip(names, held, strict=True))
            if loop.condition is None or self.value(loop.condition):
                yield from self._items(node, loops[1:])
        self._env = outer

    def _apply(self, node: tree.Expr, function: str, args: list[tree.Expr]) -> Json:
        return self._run(node, function, [self.value(arg) for arg in args])

    def _run(
        self, node: tree.Node, function: str, args: list[Json], attrs: dict[str, Json] | None = None
    ) -> Json:
        try:
            return apply(function, args, attrs or {}, {})
        except ScalarError as error:
            raise NotConstant(node, f"has no value: {error}") from None
