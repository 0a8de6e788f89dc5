"""Types as they are written, to types as they are meant: `list[Doc]`, `int(ge=1)`, `"a" | "b"`."""

import re
from collections.abc import Callable

from parrotc.check.consts import NotConstant, fold
from parrotc.check.program import TypeSymbol
from parrotc.check.report import did_you_mean, nearest
from parrotc.check.resolve import dotted_names, dotted_symbol
from parrotc.check.rules import BROKEN, describe
from parrotc.check.session import BrokenSymbol, File, Session
from parrotc.ir.types import (
    BOOL,
    FLOAT,
    INT,
    STR,
    Choice,
    Enum,
    Float,
    Int,
    Json,
    ListOf,
    Optional,
    Record,
    Scored,
    Str,
    Type,
)
from parrotc.syntax import tree

_SCALARS = {"str": STR, "int": INT, "float": FLOAT, "bool": BOOL}
_BUILT_IN = {*_SCALARS, "list", "scored"}
_ELSEWHERE = {  # names of types in other languages, and what to write here
    **dict.fromkeys(("string", "text", "String"), "write `str`"),
    **dict.fromkeys(("integer", "Int"), "write `int`"),
    **dict.fromkeys(("number", "double"), "write `float`"),
    **dict.fromkeys(("boolean", "Bool"), "write `bool`"),
    **dict.fromkeys(("List", "array", "tuple", "set"), "write `list[T]`"),
    **dict.fromkeys(("dict", "object", "Dict"), "declare a `class` with the fields"),
    "Optional": "write `T?`",
    "Literal": 'write `"a" | "b"`',
}


class TypeReader:
    """Reads the types of one file. `variables` are names that stand for any type, if any may."""

    def __init__(
        self, session: Session, file: File, variables: Callable[[str], Type | None] | None = None
    ) -> None:
        self._session = session
        self._report = session.report
        self._file = file
        self._variables = variables

    def read(self, node: tree.TypeExpr) -> Type:
        """The type, or `BROKEN` after reporting why it is none."""
        match node:
            case tree.LiteralType():
                return Choice((node.value,))
            case tree.UnionType():
                return self._union(node)
            case tree.OptionalType():
                return self._optional(self.read(node.item))
            case tree.NoneTypeExpr():
                return self._bad(
                    node, "`None` alone is no type", "write `T?` for a value that may be missing"
                )
        return self._named(node)

    def _optional(self, item: Type) -> Type:
        return item if item == BROKEN or isinstance(item, Optional) else Optional(item)

    def _union(self, node: tree.UnionType) -> Type:
        """Texts make a choice; `T | None` is `T?`; anything else has no JSON form to ask for."""
        some = [option for option in node.options if not isinstance(option, tree.NoneTypeExpr)]
        texts = [option.value for option in some if isinstance(option, tree.LiteralType)]
        if len(texts) == len(some) and some:
            type_: Type = self._choice(node, texts)
        elif len(some) == 1:
            type_ = self.read(some[0])
        else:
            return self._bad(
                node,
                "a union joins texts, or one type and `None`",
                'write `"a" | "b"`, `T?`, or a class with optional fields',
            )
        return type_ if len(some) == len(node.options) else self._optional(type_)

    def _choice(self, node: tree.UnionType, texts: list[str]) -> Type:
        twice = next((text for text in texts if texts.count(text) > 1), None)
        if twice is not None:
            return self._bad(node, f'the option "{twice}" is written twice')
        return Choice(tuple(texts))

    # named types

    def _named(self, node: tree.NamedType) -> Type:
        match node.name:
            case "list":
                return self._list(node)
            case "scored":
                return self._scored(node)
            case "str" | "int" | "float" | "bool":
                return self._scalar(node)
        variable = self._variables(node.name) if self._variables else None
        symbol = dotted_symbol(self._session, self._file, node.name)
        if symbol is None and variable is not None:
            return variable
        if node.params or node.args:
            return self._bad(node, f"`{node.name}` takes no parameters")
        match symbol:
            case TypeSymbol():
                return symbol.type
            case BrokenSymbol():
                return BROKEN
            case None:
                return self._unknown(node)
        return self._bad(
            node, f"`{node.name}` is no type", "types are declared by `class` and `enum`"
        )

    def _unknown(self, node: tree.NamedType) -> Type:
        known = self._file.names() | _BUILT_IN | {*dotted_names(self._file)}
        near = node.name if node.name in _ELSEWHERE else nearest(node.name, known | {*_ELSEWHERE})
        help_ = _ELSEWHERE.get(near or "", f"did you mean `{near}`?" if near else "")
        self._report.add("E0306", f"no type is called `{node.name}`", node.span, help=help_)
        return BROKEN

    def _list(self, node: tree.NamedType) -> Type:
        if len(node.params) != 1:
            return self._bad(node, "a list has one type of item", "write `list[str]`")
        item, limits = self.read(node.params[0]), self._limits(node)
        if item == BROKEN or limits is None:
            return BROKEN
        return ListOf(item, **limits)

    def _scored(self, node: tree.NamedType) -> Type:
        if len(node.params) != 1 or node.args:
            return self._bad(node, "`scored` takes one choice", "write `scored[Topic]`")
        item = self.read(node.params[0])
        if item == BROKEN:
            return BROKEN
        if not isinstance(item, Enum | Choice):
            return self._bad(
                node,
                f"`scored` takes a choice, and `{describe(item)}` is none",
                'a choice is an `enum`, or `"a" | "b"`',
            )
        return Scored(item)

    # limits

    def _scalar(self, node: tree.NamedType) -> Type:
        if node.params:
            return self._bad(node, f"`{node.name}` takes no type parameters")
        limits = self._limits(node)
        if limits is None:
            return BROKEN
        match node.name:
            case "int":
                return Int(**limits)
            case "float":
                return Float(**limits)
            case "str":
                return Str(**limits)
        return BOOL

    def _limits(self, node: tree.NamedType) -> dict[str, Json] | None:
        """The limits by name, or None after reporting what is wrong with one."""
        allowed = _LIMITS[node.name]
        limits: dict[str, Json] = {}
        for arg in node.args:
            if arg.name not in allowed:
                self._unknown_limit(node, arg)
                return None
            try:
                value = fold(self._session, arg.value)
            except NotConstant:
                self._bad(arg, f"`{arg.name}` is not known when compiling", "write a literal")
                return None
            wanted = allowed[arg.name]
            if isinstance(value, bool) or not isinstance(value, wanted):
                kind = "a text" if wanted is str else "a number"
                self._bad(arg, f"`{arg.name}` of `{node.name}` is {kind}")
                return None
            limits[arg.name] = value
        return limits if self._are_possible(node, limits) else None

    def _unknown_limit(self, node: tree.NamedType, arg: tree.Arg) -> Type:
        allowed = _LIMITS[node.name]
        if not allowed:
            return self._bad(arg, f"`{node.name}` has no limits")
        if arg.name is None:
            listed = " and ".join(f"`{name}=`" for name in allowed)
            return self._bad(arg, f"the limits of `{node.name}` are written by name: {listed}")
        help_ = did_you_mean(arg.name, allowed)
        return self._bad(arg, f"`{node.name}` has no limit called `{arg.name}`", help_)

    def _are_possible(self, node: tree.NamedType, limits: dict[str, Json]) -> bool:
        low, high = limits.get("ge"), limits.get("le")
        if low is not None and high is not None and low > high:
            self._bad(node, f"no number is at least {low} and at most {high}")
            return False
        if limits.get("max_len", 1) < 1:
            self._bad(node, "`max_len` must be at least 1")
            return False
        try:
            re.compile(limits.get("regex", ""))
        except re.error as error:
            self._bad(node, f"the regular expression is broken: {error}")
            return False
        return True

    def _bad(self, node: tree.Node, message: str, help_: str = "") -> Type:
        self._report.add("E0307", message, node.span, help=help_)
        return BROKEN


_LIMITS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "str": {"regex": str, "max_len": int},
    "int": {"ge": int, "le": int},
    "float": {"ge": (int, float), "le": (int, float)},
    "bool": {},
    "list": {"max_len": int},
}


def generatable(type_: Type) -> str:
    """Why a model cannot generate a value of the type; empty if it can."""
    match type_:
        case ListOf(item=Scored()) | Optional(item=Scored()):
            return "a choice has a score only where it is an output of its own"
        case ListOf(item=item) | Optional(item=item):
            return generatable(item)
        case Record(fields=fields):
            for field in fields:
                if isinstance(field.type, Scored):
                    return "a choice has a score only where it is an output of its own"
                if why := generatable(field.type):
                    return why
    return ""
