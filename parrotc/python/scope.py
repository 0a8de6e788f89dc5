"""What the names at the top of a Python file stand for, as far as its text says.

Nothing is imported or run: a name is a function, a class, a value assigned once, an import, or
something that only running the file would tell.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from parrotc.check.builtins import FUNCTIONS, METHODS
from parrotc.ir.source import Span
from parrotc.python.places import Places

_CONSTANT = (
    ast.Constant, ast.Name, ast.Attribute, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare,
    ast.IfExp, ast.List, ast.Tuple, ast.Dict, ast.Subscript, ast.Slice, ast.JoinedStr,
    ast.FormattedValue, ast.ListComp, ast.comprehension, ast.expr_context, ast.operator,
    ast.unaryop, ast.boolop, ast.cmpop, ast.Call, ast.keyword,
)  # fmt: skip
_MUTATING = {
    "append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse", "update",
    "setdefault", "popitem", "add", "discard",
}  # fmt: skip


class Kind(Enum):
    FUNCTION = auto()
    CLASS = auto()
    VALUE = auto()  # assigned once
    IMPORT = auto()
    CHANGING = auto()  # assigned again, changed in place, or bound by a statement that runs


@dataclass(frozen=True)
class Binding:
    """One name. `value` is what it is assigned; an import has a module and, unless it is one of a
    whole module, the `name` of what is imported from it."""

    kind: Kind
    node: ast.stmt
    span: Span
    value: ast.expr | None = None
    annotation: ast.expr | None = None
    module: str = ""
    level: int = 0
    name: str = ""


class ModuleScope:
    """The bindings of one file, and where a dotted name comes from."""

    def __init__(self, places: Places, body: Sequence[ast.stmt]) -> None:
        self._places = places
        self.bindings: dict[str, Binding] = {}
        for statement in body:
            self._statement(statement)
        for name, node in _changes(body):
            if name in self.bindings and self.bindings[name].kind is Kind.VALUE:
                self.bindings[name] = Binding(Kind.CHANGING, node, places.head(node))

    def origin(self, node: ast.expr) -> str:
        """`typing.Literal` for a name that was imported as that; empty for anything else."""
        match node:
            case ast.Name():
                found = self.bindings.get(node.id)
                if found is None or found.kind is not Kind.IMPORT or found.level:
                    return ""
                return f"{found.module}.{found.name}" if found.name else found.module
            case ast.Attribute():
                base = self.origin(node.value)
                return f"{base}.{node.attr}" if base else ""
        return ""

    def from_parrotc(self, node: ast.expr) -> str:
        """`pfunc` for what is `parrotc.pfunc`, by whatever name the file knows it."""
        module, _, name = self.origin(node).rpartition(".")
        return name if module == "parrotc" else ""

    def is_named_tuple(self, node: ast.stmt) -> bool:
        bases = node.bases if isinstance(node, ast.ClassDef) else []
        return any(self.origin(base) == "typing.NamedTuple" for base in bases)

    def is_type_variable(self, value: ast.expr) -> bool:
        return isinstance(value, ast.Call) and self.origin(value.func) == "typing.TypeVar"

    def is_constant(self, value: ast.expr) -> bool:
        """Whether an expression says its value to whoever reads it, running nothing of the file."""
        for node in ast.walk(value):
            if not isinstance(node, _CONSTANT):
                return False
            if isinstance(node, ast.Call) and self.from_parrotc(node.func) != "embed":
                match node.func:
                    case ast.Name(id=name) if name in FUNCTIONS:
                        pass
                    case ast.Attribute(attr=attr) if attr in {*METHODS, "join"}:
                        pass
                    case _:
                        return False
        return True

    def _bind(self, name: str, binding: Binding) -> None:
        if name in self.bindings:
            binding = Binding(Kind.CHANGING, binding.node, binding.span)
        self.bindings[name] = binding

    def _statement(self, node: ast.stmt) -> None:
        span = self._places.head(node)
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._bind(node.name, Binding(Kind.FUNCTION, node, self._places.name(node)))
            case ast.ClassDef():
                self._bind(node.name, Binding(Kind.CLASS, node, self._places.name(node)))
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._bind(name, Binding(Kind.VALUE, node, span, value))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self._bind(name, Binding(Kind.VALUE, node, span, value, node.annotation))
            case ast.Import():
                for alias in node.names:
                    module = alias.name if alias.asname else alias.name.split(".")[0]
                    bound = Binding(Kind.IMPORT, node, self._places.span(alias), module=module)
                    self.bindings.setdefault(alias.asname or module, bound)
            case ast.ImportFrom():
                for alias in node.names:
                    at = self._places.span(alias)
                    bound = Binding(
                        Kind.IMPORT, node, at,
                        module=node.module or "", level=node.level, name=alias.name,
                    )  # fmt: skip
                    self._bind(alias.asname or alias.name, bound)
            case ast.If(test=test) if self.origin(test) == "typing.TYPE_CHECKING":
                for inner in node.body:
                    self._statement(inner)
            case _:
                for name in _stored(node):
                    self._bind(name, Binding(Kind.CHANGING, node, span))


def _stored(node: ast.AST) -> Iterator[str]:
    """The names that a statement binds, but not those of functions and classes inside it."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
            return
        case ast.Name(ctx=ast.Store() | ast.Del()):
            yield node.id
        case ast.alias():
            yield node.asname or node.name.split(".")[0]
        case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return
    for child in ast.iter_child_nodes(node):
        yield from _stored(child)


def _changes(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Names whose values some statement of the file changes in place, and that statement."""
    statements = [n for top in body for n in ast.walk(top) if isinstance(n, ast.stmt)]
    for node in statements:
        match node:
            case ast.Global():
                yield from ((name, node) for name in node.names)
            case ast.Expr(
                value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr))
            ) if attr in _MUTATING:
                yield name, node
            case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=name))]):
                yield name, node
            case ast.AugAssign(target=ast.Subscript(value=ast.Name(id=name))):
                yield name, node
