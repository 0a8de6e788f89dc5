"""The tree as readable text, for `--emit ast` and for tests.

    FlowDecl(
      name="shout"
      params=(ParamDecl(name="text", type=NamedType(name="str")))
      outputs=(OutputDecl(type=NamedType(name="str")))
      body=(Return(value=Binary(op="+", left=text, right="!")))
    )

A node stands on one line where it fits. Names and literals stand for themselves, fields that are
empty are left out, and so are places unless asked for: then `@line:column` follows each node.
"""

import json
from dataclasses import fields

from parrotc.ir.source import Span
from parrotc.syntax.tree import Literal, Name, Node, Tree

_WIDTH = 100


def dump(tree: Tree, places: bool = False) -> str:
    """The items of a file, one after the other."""
    return "".join(f"{_value('', item, 0, places)}\n" for item in tree.items)


def _value(label: str, value: object, indent: int, places: bool) -> str:
    """A field's value after its `label`; all lines but the first are indented."""
    match value:
        case Name() | Literal():
            return f"{label}{_atom(value)}{_place(value, places)}"
        case Node():
            shown = [
                _value(f"{field.name}=", held, indent + 1, places)
                for field in fields(value)
                if not _is_left_out(held := getattr(value, field.name))
            ]
            return _wrap(
                f"{label}{type(value).__name__}(", shown, f"){_place(value, places)}", indent
            )
        case tuple():
            items = [_value("", item, indent + 1, places) for item in value]
            return _wrap(f"{label}(", items, ")", indent)
    return f"{label}{json.dumps(value, ensure_ascii=False)}"


def _atom(node: Name | Literal) -> str:
    match node:
        case Name():
            return node.id
        case Literal(value=bool() | None):
            return str(node.value)
    return json.dumps(node.value, ensure_ascii=False)


def _place(node: Node, places: bool) -> str:
    return "@{}:{}".format(*node.span.position()) if places else ""


def _is_left_out(value: object) -> bool:
    """Whether a field says nothing: a place, nothing held, False, an import without dots."""
    is_zero = isinstance(value, int) and not value
    return isinstance(value, Span) or value in (None, "", ()) or is_zero


def _wrap(opening: str, parts: list[str], closing: str, indent: int) -> str:
    """The parts on one line if they fit, or else one below the other."""
    line = f"{opening}{', '.join(parts)}{closing}"
    if len(line) + 2 * indent <= _WIDTH and "\n" not in line:
        return line
    lines = "".join(f"{'  ' * (indent + 1)}{part}\n" for part in parts)
    return f"{opening}\n{lines}{'  ' * indent}{closing}"
