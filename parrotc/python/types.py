"""Python annotations as the types of the language.

    list[str]   T | None   Literal["a", "b"]   Annotated[int, Field(ge=1, le=10)]   Scored[Topic]

What a name means (`Doc`, an enum) is for the checker; a name that stands for an annotation
(`Score = Annotated[…]`) is replaced by it.
"""

import ast
import builtins
import sys
from dataclasses import dataclass

from parrotc.ir.source import Span
from parrotc.python.exprs import Exprs
from parrotc.python.parsing import UNREADABLE, parsed_expression
from parrotc.python.scope import Kind
from parrotc.syntax import tree
from parrotc.syntax.problem import Problem

TYPES = {"str", "int", "float", "bool", "list", "scored"}
_PLAIN = {
    "typing.List": "list", "parrotc.Scored": "scored",
    "typing.Optional": "Optional", "typing.Union": "Union", "typing.Literal": "Literal",
    "typing.Annotated": "Annotated", "typing.Final": "Final", "typing.ClassVar": "ClassVar",
    "typing.Required": "Final",
}  # fmt: skip
_LIMITS = {"ge": "ge", "le": "le", "pattern": "regex", "regex": "regex", "max_length": "max_len"}
_LIMITERS = {
    "pydantic.Field", "pydantic.StringConstraints", "pydantic.types.StringConstraints",
}  # fmt: skip
_UNREAD = {"title", "examples", "alias", "repr", "frozen", "kw_only"}


@dataclass(frozen=True)
class Noted:
    """A type with what a class says beside it: a field's description and its default."""

    type: tree.TypeExpr
    doc: str = ""
    default: ast.expr | None = None


class Types:
    """Reads annotations. Raises `Problem` for what stands for no type of the language."""

    def __init__(self, exprs: Exprs) -> None:
        self._exprs = exprs
        self._places = exprs.places
        self._scope = exprs.scope
        self._fixed: Span | None = None  # inside an annotation in quotes: the place of all of it
        self._aliases: list[str] = []  # being replaced, outermost first

    def read(self, node: ast.expr) -> tree.TypeExpr:
        return self.noted(node).type

    def noted(self, node: ast.expr) -> Noted:
        with self._places.inside(node):
            return self._noted(node)

    def _noted(self, node: ast.expr) -> Noted:
        match node:
            case ast.Constant(value=None):
                return Noted(tree.NoneTypeExpr(span=self._span(node)))
            case ast.Constant(value=str()):
                return self._quoted(node, str(node.value))
            case ast.BinOp(op=ast.BitOr()):
                return Noted(self._union(node, _options(node)))
            case ast.Name() | ast.Attribute():
                return self._named(node)
            case ast.Subscript(value=value, slice=inner):
                params = inner.elts if isinstance(inner, ast.Tuple) else [inner]
                return self._generic(node, value, params)
        raise self._bad(node, "this annotation is no type of the language")

    def constant(self, node: ast.expr, field: ast.AnnAssign) -> tree.Expr:
        """The default of a field."""
        if not self._scope.is_constant(node):
            raise self._places.problem(
                field,
                "E0127",
                "the default of this field is computed when the file runs",
                note="a program is compiled from the text of its file, without running it",
                help="give it no default",
            )
        return self._exprs.expr(node)

    def is_class_variable(self, node: ast.expr) -> bool:
        """Whether an annotation says `ClassVar`: such a name is no field."""
        value = node.value if isinstance(node, ast.Subscript) else node
        return self._name(value) == "ClassVar"

    # names

    def _name(self, node: ast.expr) -> str:
        """The dotted name as the language knows it: `list` for `typing.List`."""
        known = _PLAIN.get(self._scope.origin(node).replace("typing_extensions", "typing"))
        return known or _dotted(node)

    def _known(self, node: ast.expr) -> str:
        """The name of a type that the language has, or that the program may declare."""
        name = self._name(node)
        module = self._scope.origin(node).split(".")[0]
        is_python = hasattr(builtins, name) or module in sys.stdlib_module_names
        if not name or (is_python and name not in TYPES):
            shown = f"`{name}`" if name else "this annotation"
            raise self._bad(node, f"{shown} is no type of the language")
        return name

    def _named(self, node: ast.Name | ast.Attribute) -> Noted:
        alias = self._alias(node)
        if alias is not None:
            return alias
        name = self._known(node)
        return Noted(tree.NamedType(span=self._span(node), name=name))

    def _alias(self, node: ast.expr) -> Noted | None:
        """What a name at the top of the file was assigned, if that is an annotation."""
        found = self._scope.bindings.get(node.id) if isinstance(node, ast.Name) else None
        if found is None or found.kind is not Kind.VALUE or not isinstance(node, ast.Name):
            return None
        if found.value is not None and self._scope.is_type_variable(found.value):
            return None
        if node.id in self._aliases:
            raise self._bad(node, f"`{node.id}` stands for itself")
        assert found.value is not None
        self._aliases.append(node.id)
        noted = self.noted(found.value)
        self._aliases.pop()
        return noted

    def _quoted(self, node: ast.expr, text: str) -> Noted:
        """An annotation in quotes, which names what is defined further down."""
        try:
            inner = parsed_expression(text)
        except UNREADABLE:
            raise self._bad(node, "this annotation is no Python") from None
        outer, self._fixed = self._fixed, self._fixed or self._places.span(node)
        noted = self.noted(inner)
        self._fixed = outer
        return noted

    # what takes parameters

    def _generic(self, node: ast.Subscript, value: ast.expr, params: list[ast.expr]) -> Noted:
        match self._name(value):
            case "Annotated":
                return self._annotated(params[0], params[1:])
            case "Final" | "ClassVar":
                return self.noted(params[0])
            case "Optional":
                return Noted(tree.OptionalType(span=self._span(node), item=self.read(params[0])))
            case "Union":
                return Noted(self._union(node, params))
            case "Literal":
                return Noted(self._literal(node, params))
            case "tuple" | "Tuple":
                raise self._bad(
                    node,
                    "several outputs have names, and those of a tuple have none",
                    help="declare a `NamedTuple` with a field for each, and return that",
                )
        name, read = self._known(value), tuple(self.read(param) for param in params)
        return Noted(tree.NamedType(span=self._span(node), name=name, params=read))

    def _union(self, node: ast.expr, options: list[ast.expr]) -> tree.UnionType:
        read: list[tree.TypeExpr] = []
        for option in options:
            type_ = self.read(option)
            read += type_.options if isinstance(type_, tree.UnionType) else (type_,)
        return tree.UnionType(span=self._span(node), options=tuple(read))

    def _literal(self, node: ast.expr, params: list[ast.expr]) -> tree.TypeExpr:
        options: list[tree.TypeExpr] = []
        for param in params:
            match param:
                case ast.Constant(value=str() as value):
                    options.append(tree.LiteralType(span=self._span(param), value=value))
                case ast.Constant(value=None):
                    options.append(tree.NoneTypeExpr(span=self._span(param)))
                case _:
                    raise self._bad(param, "the options of a choice are texts")
        if len(options) == 1:
            return options[0]
        return tree.UnionType(span=self._span(node), options=tuple(options))

    def _annotated(self, base: ast.expr, notes: list[ast.expr]) -> Noted:
        noted = self.noted(base)
        for note in notes:
            match note:
                case ast.Constant(value=str() as doc):
                    noted = Noted(noted.type, doc, noted.default)
                case ast.Call(func=func) if self._scope.origin(func) in _LIMITERS:
                    noted = self.limited(noted, note)
                case _:
                    raise self._bad(
                        note,
                        "this says nothing that the language knows about a type",
                        help="write a text that describes it, or `Field(ge=…, le=…, pattern=…)`",
                    )
        return noted

    def limited(self, noted: Noted, field: ast.Call) -> Noted:
        """A type with the limits, the description and the default that a `Field(…)` gives."""
        type_, doc, default = noted.type, noted.doc, noted.default
        if field.args:
            default = field.args[0]
        for keyword in field.keywords:
            match keyword.arg:
                case "description" if isinstance(keyword.value, ast.Constant):
                    doc = str(keyword.value.value)
                case "default":
                    default = keyword.value
                case "default_factory" if _dotted(keyword.value) == "list":
                    default = ast.copy_location(ast.List(elts=[]), keyword.value)
                case str() as name if name in _LIMITS:
                    type_ = self._with_limit(type_, keyword, _LIMITS[name])
                case name if name not in _UNREAD:
                    raise self._places.problem(
                        self._fixed or keyword,
                        "E0128",
                        f"`{name}` of a field means nothing here",
                        note="what a model can be held to: "
                        "ge, le, pattern, max_length, description, default",
                    )
        if isinstance(default, ast.Constant) and default.value is ...:
            default = None
        return Noted(type_, doc, default)

    def _with_limit(self, type_: tree.TypeExpr, keyword: ast.keyword, name: str) -> tree.NamedType:
        if not isinstance(type_, tree.NamedType):
            raise self._places.problem(
                self._fixed or keyword,
                "E0128",
                f"`{keyword.arg}` limits a text, a number or a list",
                help="put it inside: `Annotated[int, Field(ge=1)] | None`",
            )
        arg = tree.Arg(
            span=self._fixed or self._places.span(keyword),
            name=name,
            value=self._exprs.expr(keyword.value),
        )
        return tree.NamedType(
            span=type_.span, name=type_.name, params=type_.params, args=(*type_.args, arg)
        )

    # places

    def _span(self, node: ast.expr) -> Span:
        return self._fixed or self._places.span(node)

    def _bad(self, node: ast.expr, message: str, help: str = "") -> Problem:
        note = "there are str, int, float, bool, list[T], T | None, Literal, enums and dataclasses"
        return self._places.problem(
            self._fixed or node, "E0128", message, note="" if help else note, help=help
        )


def _options(node: ast.expr) -> list[ast.expr]:
    """The parts of `a | b | c`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_options(node.left), *_options(node.right)]
    return [node]


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            base = _dotted(value)
            return f"{base}.{attr}" if base else ""
    return ""
