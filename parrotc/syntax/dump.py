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
    return "".join(f"{_node(item, 0, places)}\n" for item in tree.items)


def _node(node: Node, indent: int, places: bool) -> str:
    place = "@{}:{}".format(*node.span.position()) if places else ""
    match node:
        case Name():
            return node.id + place
        case Literal(value=bool() | None):
            return str(node.value) + place
        case Literal():
            return json.dumps(node.value, ensure_ascii=False) + place
    held = {field.name: getattr(node, field.name) for field in fields(node)}
    shown = [
        f"{name}={_value(value, indent + 1, places)}"
        for name, value in held.items()
        if not isinstance(value, Span) and value not in (None, "", (), False)
    ]
    return _wrap(f"{type(node).__name__}(", shown, f"){place}", indent)


def _value(value: object, indent: int, places: bool) -> str:
    if isinstance(value, Node):
        return _node(value, indent, places)
    if isinstance(value, tuple):
        return _wrap("(", [_value(item, indent + 1, places) for item in value], ")", indent)
    return json.dumps(value, ensure_ascii=False)


def _wrap(opening: str, parts: list[str], closing: str, indent: int) -> str:
    """The parts on one line if they fit, or else one below the other."""
    line = f"{opening}{', '.join(parts)}{closing}"
    if len(line) + 2 * indent <= _WIDTH and "\n" not in line:
        return line
    lines = "".join(f"{'  ' * (indent + 1)}{part}\n" for part in parts)
    return f"{opening}\n{lines}{'  ' * indent}{closing}"
