"""The tree of a program: what the author wrote, in the author's order, with the place of each part.

`.pfn` text and Python `@pfunc`/`@flow` functions both become this tree; one checker and one
lowering read it. Nodes are frozen and compare by identity, so side tables (the checker's types and
names) use them as keys.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from parrotc.ir.source import Source, Span


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    span: Span


# --- expressions ---


@dataclass(frozen=True, eq=False, kw_only=True)
class Name(Node):
    id: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Literal(Node):
    """An int, float, bool, None or plain text (no holes)."""

    value: int | float | bool | str | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Duration(Node):
    """`300ms`, `2s`, `5m`, `1h`."""

    seconds: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Template(Node):
    """Text with holes: texts and holes in order. Escapes and margins are already resolved.

    `joined` is true when the piece ends in `\\`, so that no newline follows it.
    """

    parts: tuple["TextPart | Show | Gen", ...]
    joined: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class TextPart(Node):
    text: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Show(Node):
    """`{{expr | filter | …}}`."""

    value: "Expr"
    filters: tuple["Filter", ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Filter(Node):
    name: str
    args: tuple["Arg", ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Gen(Node):
    """`{{gen name: T, max_tokens=…}}`."""

    name: str | None
    type: "TypeExpr | None"
    args: tuple["Arg", ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Arg(Node):
    """An argument; `name` is None for a positional one. Also a keyword of `with (…)`."""

    name: str | None
    value: "Expr"


@dataclass(frozen=True, eq=False, kw_only=True)
class CallExpr(Node):
    function: "Expr"
    args: tuple[Arg, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class With(Node):
    """`f(x) with (n=8, model=large)`."""

    call: "Expr"
    policies: tuple[Arg, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Attribute(Node):
    value: "Expr"
    attr: str
    attr_span: Span


@dataclass(frozen=True, eq=False, kw_only=True)
class Index(Node):
    value: "Expr"
    index: "Expr"


@dataclass(frozen=True, eq=False, kw_only=True)
class Slice(Node):
    value: "Expr"
    start: "Expr | None"
    stop: "Expr | None"


@dataclass(frozen=True, eq=False, kw_only=True)
class Unary(Node):
    op: str  # "-" or "not"
    value: "Expr"


@dataclass(frozen=True, eq=False, kw_only=True)
class Binary(Node):
    op: str  # + - * / % == != < <= > >= in "not in" and or
    left: "Expr"
    right: "Expr"


@dataclass(frozen=True, eq=False, kw_only=True)
class Conditional(Node):
    """`a if c else b`."""

    condition: "Expr"
    then: "Expr"
    orelse: "Expr"


@dataclass(frozen=True, eq=False, kw_only=True)
class ListExpr(Node):
    items: tuple["Expr", ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class TupleExpr(Node):
    items: tuple["Expr", ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class RecordExpr(Node):
    """`{name: value, …}`, or in Python `Doc(name=value, …)`, which says the type."""

    fields: tuple[Arg, ...]
    type: "TypeExpr | None" = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Loop(Node):
    """One `for target in items [if condition]` of a comprehension."""

    target: "Target"
    items: "Expr"
    condition: "Expr | None"


@dataclass(frozen=True, eq=False, kw_only=True)
class Comprehension(Node):
    value: "Expr"
    loops: tuple[Loop, ...]


Expr = (
    Name | Literal | Duration | Template | CallExpr | With | Attribute | Index | Slice | Unary
    | Binary | Conditional | ListExpr | TupleExpr | RecordExpr | Comprehension
)  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Target(Node):
    """One name, or several that take a tuple apart."""

    names: tuple[Name, ...]


# --- types ---


@dataclass(frozen=True, eq=False, kw_only=True)
class NamedType(Node):
    """`str`, `list[T]`, `int(ge=1)`, `scored[E]`, `pkg.Doc`."""

    name: str
    params: tuple["TypeExpr", ...] = ()
    args: tuple[Arg, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class LiteralType(Node):
    value: str


@dataclass(frozen=True, eq=False, kw_only=True)
class NoneTypeExpr(Node):
    pass


@dataclass(frozen=True, eq=False, kw_only=True)
class OptionalType(Node):
    item: "TypeExpr"


@dataclass(frozen=True, eq=False, kw_only=True)
class UnionType(Node):
    options: tuple["TypeExpr", ...]


TypeExpr = NamedType | LiteralType | NoneTypeExpr | OptionalType | UnionType


# --- bodies of semantic functions ---


@dataclass(frozen=True, eq=False, kw_only=True)
class TextPiece(Node):
    template: Template


@dataclass(frozen=True, eq=False, kw_only=True)
class MessagePiece(Node):
    role: str
    role_span: Span
    body: tuple["Piece", ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class IfPiece(Node):
    condition: Expr
    then: tuple["Piece", ...]
    orelse: tuple["Piece", ...]  # an `elif` is an IfPiece alone in here


@dataclass(frozen=True, eq=False, kw_only=True)
class ForPiece(Node):
    target: Target
    items: Expr
    body: tuple["Piece", ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class PassPiece(Node):
    pass


Piece = TextPiece | MessagePiece | IfPiece | ForPiece | PassPiece


# --- statements of flows and tests ---


@dataclass(frozen=True, eq=False, kw_only=True)
class Assign(Node):
    target: Target
    type: TypeExpr | None
    value: Expr


@dataclass(frozen=True, eq=False, kw_only=True)
class Return(Node):
    value: Expr


@dataclass(frozen=True, eq=False, kw_only=True)
class Break(Node):
    condition: Expr | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Pass(Node):
    pass


@dataclass(frozen=True, eq=False, kw_only=True)
class Assert(Node):
    condition: Expr
    message: Expr | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Mock(Node):
    function: Name
    each: bool
    value: Expr


@dataclass(frozen=True, eq=False, kw_only=True)
class ExprStmt(Node):
    value: Expr


@dataclass(frozen=True, eq=False, kw_only=True)
class IfStmt(Node):
    condition: Expr
    then: tuple["Stmt", ...]
    orelse: tuple["Stmt", ...]  # an `elif` is an IfStmt alone in here


@dataclass(frozen=True, eq=False, kw_only=True)
class ForStmt(Node):
    target: Target
    items: Expr
    body: tuple["Stmt", ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Case(Node):
    """Patterns are literals, member names (`Topic.TECH`) or, for `_`, none at all."""

    patterns: tuple[Expr, ...]
    body: tuple["Stmt", ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Match(Node):
    subject: Expr
    cases: tuple[Case, ...]


Stmt = Assign | Return | Break | Pass | Assert | Mock | ExprStmt | IfStmt | ForStmt | Match


# --- declarations ---


@dataclass(frozen=True, eq=False, kw_only=True)
class Decorator(Node):
    name: str
    args: tuple[Arg, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Decl(Node):
    """`name` is what the declaration binds; `name_span` is where it says so."""

    name: str
    name_span: Span
    decorators: tuple[Decorator, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class ImportedName(Node):
    name: str
    alias: str | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Import(Node):
    """`from module import a, b as c`, or (`names` empty) `import module [as alias]`.

    `level` counts the leading dots of a relative import.
    """

    module: str
    level: int
    names: tuple[ImportedName, ...]
    alias: str | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class ConstDecl(Decl):
    type: TypeExpr | None
    value: Expr


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelDecl(Decl):
    value: Expr  # a call: builtin("…"), openai("…", …)


@dataclass(frozen=True, eq=False, kw_only=True)
class EnumMember(Node):
    name: str
    doc: str


@dataclass(frozen=True, eq=False, kw_only=True)
class EnumDecl(Decl):
    members: tuple[EnumMember, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class FieldDecl(Node):
    name: str
    type: TypeExpr
    default: Expr | None
    doc: str


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassDecl(Decl):
    fields: tuple[FieldDecl, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class ParamDecl(Node):
    name: str
    type: TypeExpr
    default: Expr | None


@dataclass(frozen=True, eq=False, kw_only=True)
class OutputDecl(Node):
    """One output of a signature; `name` is empty for the single unnamed one."""

    name: str
    type: TypeExpr


@dataclass(frozen=True, eq=False, kw_only=True)
class PfuncDecl(Decl):
    params: tuple[ParamDecl, ...]
    outputs: tuple[OutputDecl, ...]
    body: tuple[Piece, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class ExternDecl(Decl):
    params: tuple[ParamDecl, ...]
    result: TypeExpr
    target: str


@dataclass(frozen=True, eq=False, kw_only=True)
class FlowDecl(Decl):
    params: tuple[ParamDecl, ...]
    outputs: tuple[OutputDecl, ...]
    body: tuple[Stmt, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class TestDecl(Decl):
    """`name` is the title."""

    __test__ = False  # not a class for pytest to collect
    body: tuple[Stmt, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Tree:
    """A file: its imports and declarations in source order.

    `lost` are names that a Python file declares with mistakes: they have no declaration here.
    """

    source: Source
    items: tuple[Import | Decl, ...]
    lost: frozenset[str] = frozenset()


def children(node: Any) -> "list[Node]":
    """The nodes directly inside a node, in field order."""
    out: list[Node] = []
    for held in vars(node).values():
        if isinstance(held, Node):
            out.append(held)
        elif isinstance(held, tuple):
            out.extend(item for item in held if isinstance(item, Node))
    return out


def walk(node: Node) -> Iterator[Node]:
    """A node and all that is in it, outer before inner, in order."""
    stack = [node]
    while stack:
        at = stack.pop()
        yield at
        stack.extend(reversed(children(at)))
