"""Python classes as the types of a program: nobody declares a type twice.

    an `Enum`                                              a choice among its members
    a dataclass, a pydantic model, a `TypedDict`           a record
    a `NamedTuple`                                         the outputs of what returns it

The value of an enum's member, if it is a text, says to the model what the member means.
"""

import ast

from parrotc.python.parsing import called
from parrotc.python.places import Places
from parrotc.python.scope import ModuleScope
from parrotc.python.types import Noted, Types
from parrotc.syntax import tree

_ENUMS = {"enum.Enum", "enum.StrEnum"}
_RECORDS = {"pydantic.BaseModel", "typing.TypedDict", "typing_extensions.TypedDict"}
_DATACLASS = {"dataclasses.dataclass", "pydantic.dataclasses.dataclass"}
_FIELDS = {"pydantic.Field", "dataclasses.field"}


class Classes:
    """Reads the classes of one file."""

    def __init__(self, places: Places, types: Types, scope: ModuleScope) -> None:
        self._places = places
        self._types = types
        self._scope = scope
        self._origin = scope.origin

    def declaration(self, node: ast.ClassDef) -> tree.EnumDecl | tree.ClassDecl:
        """The type that a class stands for. Raises `Problem` when it stands for none."""
        bases = {self._origin(base) for base in node.bases}
        if bases & _ENUMS:
            return self._enum(node)
        if bases & _RECORDS or (not node.bases and self._is_dataclass(node)):
            return self._record(node)
        if self._scope.is_named_tuple(node):
            raise self._places.problem(
                self._places.name(node),
                "E0128",
                f"the `NamedTuple` `{node.name}` is no type of a value",
                note="it lists the outputs of a function or a flow: only what returns may name it",
                help="make it a dataclass",
            )
        raise self._places.problem(
            self._places.name(node),
            "E0128",
            f"the class `{node.name}` is no type of the language",
            note="an `Enum`, a dataclass, a pydantic model or a `TypedDict` is one",
            help="derive it from one of these, and from nothing else",
        )

    def outputs(self, node: ast.ClassDef) -> tuple[tree.OutputDecl, ...] | None:
        """The outputs that a `NamedTuple` lists; None for any other class."""
        if not self._scope.is_named_tuple(node):
            return None
        return tuple(
            tree.OutputDecl(
                span=self._places.span(field), name=_name(field), type=self._noted(field).type
            )
            for field in self._fields(node)
        )

    def _is_dataclass(self, node: ast.ClassDef) -> bool:
        return any(self._origin(called(one)) in _DATACLASS for one in node.decorator_list)

    # enums

    def _enum(self, node: ast.ClassDef) -> tree.EnumDecl:
        members = []
        for inner in node.body:
            match inner:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if name[0] != "_":
                    members.append(
                        tree.EnumMember(span=self._places.span(inner), name=name, doc=_doc(value))
                    )
        return tree.EnumDecl(
            span=self._places.span(node),
            name=node.name,
            name_span=self._places.name(node),
            members=tuple(members),
        )

    # records

    def _record(self, node: ast.ClassDef) -> tree.ClassDecl:
        fields = tuple(self._field(field) for field in self._fields(node))
        return tree.ClassDecl(
            span=self._places.span(node),
            name=node.name,
            name_span=self._places.name(node),
            fields=fields,
        )

    def _fields(self, node: ast.ClassDef) -> list[ast.AnnAssign]:
        return [
            inner
            for inner in node.body
            if isinstance(inner, ast.AnnAssign)
            and isinstance(inner.target, ast.Name)
            and not self._types.is_class_variable(inner.annotation)
        ]

    def _noted(self, node: ast.AnnAssign) -> Noted:
        noted = self._types.noted(node.annotation)
        match node.value:
            case None:
                return noted
            case ast.Call(func=func) if self._origin(func) in _FIELDS:
                return self._types.limited(noted, node.value)
        return Noted(noted.type, noted.doc, node.value)

    def _field(self, node: ast.AnnAssign) -> tree.FieldDecl:
        noted = self._noted(node)
        default = None if noted.default is None else self._types.constant(noted.default, node)
        return tree.FieldDecl(
            span=self._places.span(node),
            name=_name(node),
            type=noted.type,
            default=default,
            doc=noted.doc,
        )


def _name(field: ast.AnnAssign) -> str:
    assert isinstance(field.target, ast.Name)
    return field.target.id


def _doc(value: ast.expr) -> str:
    """What the value of a member says: a text, or nothing (`auto()`, a number)."""
    text = value.value if isinstance(value, ast.Constant) else ""
    return text if isinstance(text, str) else ""
