"""A tree as the text of a Python file that says the same, for tests of the Python front end.

Raises `NoPython` for what Python has no way to write: a text that ends in a `\\`, a filter in a
flow, tests. The text is only read, never run, so declarations need no order.
"""

import keyword
from collections.abc import Sequence

from parrotc.syntax import tree

HEAD = (
    "from typing import Annotated, Literal, NamedTuple, Optional, Union\n"
    "from enum import Enum\nfrom dataclasses import dataclass\nfrom pydantic import Field\n"
    "from parrotc import Scored, assistant, embed, env, flow, model, native, pfunc, system, tool\n"
    "from parrotc import user as user\n"
)
_LIMITS = {"regex": "pattern", "max_len": "max_length"}
_OURS = {"Annotated", "Literal", "NamedTuple", "Optional", "Union", "Enum", "Field", "Scored"} | {
    "assistant", "embed", "env", "flow", "model", "native", "pfunc", "system", "tool", "user",
    "dataclass",
}  # fmt: skip
_NAMED = {"model", "deadline", "retry"}


class NoPython(Exception):
    """Python cannot say this."""


def in_python(held: tree.Tree) -> str:
    """The text of a file with the declarations of a tree, those of tests left out."""
    names = {item.name for item in held.items if isinstance(item, tree.Decl)}
    used = {
        node.id for item in held.items for node in tree.walk(item) if isinstance(node, tree.Name)
    }
    if (names | used - {"embed", "env"}) & (_OURS | {*keyword.kwlist}):
        raise NoPython("a name that means something here")
    items = [item for item in held.items if not isinstance(item, tree.TestDecl)]
    return HEAD + "\n".join(map(_item, items))


def _item(node: tree.Import | tree.Decl) -> str:
    match node:
        case tree.Import():
            return _import(node)
        case tree.ConstDecl(name=name, type=type_, value=value):
            return f"{name}{_typed(type_)} = {_expr(value)}\n"
        case tree.ModelDecl(name=name, value=tree.CallExpr(function=tree.Name(id=kind)) as call):
            given = [_policy(a.name, a.value) if a.name else _expr(a.value) for a in call.args]
            return f"{name} = model.{kind}({', '.join(given)})\n"
        case tree.EnumDecl(name=name, members=members):
            rows = [f"    {m.name} = {m.doc!r}\n" for m in members]
            return f"class {name}(Enum):\n{''.join(rows)}"
        case tree.ClassDecl(name=name, fields=fields):
            return f"@dataclass\nclass {name}:\n{''.join(map(_field, fields))}"
        case tree.ExternDecl():
            notes = [_native(decorator) for decorator in node.decorators]
            args = ", ".join([repr(node.target), *notes])
            head = f"def {node.name}({_params(node.params)}) -> {_type(node.result)}: ...\n"
            return f"@native({args})\n{head}"
        case tree.PfuncDecl(body=body):
            return _function("pfunc", node, "".join(_piece(piece, 1) for piece in body))
        case tree.FlowDecl(body=body):
            return _function("flow", node, "".join(_stmt(stmt, 1) for stmt in body))
    raise NoPython(type(node).__name__)


def _import(node: tree.Import) -> str:
    module = "parrotc.stdlib." + node.module[4:] if node.module.startswith("std.") else node.module
    if not node.names:
        return f"import {module}{f' as {node.alias}' if node.alias else ''}\n"
    names = [f"{n.name} as {n.alias}" if n.alias else n.name for n in node.names]
    return f"from {'.' * node.level}{module} import {', '.join(names)}\n"


def _function(kind: str, node: tree.PfuncDecl | tree.FlowDecl, body: str) -> str:
    given = ", ".join(_decorator(decorator) for decorator in node.decorators)
    outputs = ""
    if node.outputs[0].name:
        result = f"_{node.name}_outputs"
        rows = [f"    {one.name}: {_type(one.type)}\n" for one in node.outputs]
        outputs = f"class {result}(NamedTuple):\n{''.join(rows)}"
    else:
        result = _type(node.outputs[0].type)
    head = f"def {node.name}({_params(node.params)}) -> {result}:\n"
    return f"{outputs}@{kind}{f'({given})' if given else ''}\n{head}{body}"


def _params(params: Sequence[tree.ParamDecl]) -> str:
    if any(isinstance(p.default, tree.ListExpr | tree.RecordExpr) for p in params):
        raise NoPython("a mutable default")
    return ", ".join(
        f"{p.name}{_typed(p.type)}{'' if p.default is None else f' = {_expr(p.default)}'}"
        for p in params
    )


def _field(node: tree.FieldDecl) -> str:
    type_ = _type(node.type)
    noted = f"Annotated[{type_}, {node.doc!r}]" if node.doc else type_
    return (
        f"    {node.name}: {noted}{'' if node.default is None else f' = {_expr(node.default)}'}\n"
    )


def _decorator(node: tree.Decorator) -> str:
    match node:
        case tree.Decorator(name="latency" | "throughput" as name, args=args):
            limits = [_policy(arg.name, arg.value) for arg in args]
            return ", ".join([f'criteria="{name}"', *limits])
        case tree.Decorator(name="cache", args=[tree.Arg(name="ttl", value=value)]):
            return _policy("cache", value)
        case tree.Decorator(name=name, args=[tree.Arg(name=None, value=value)]) if name in _NAMED:
            return _policy(name, value)
    raise NoPython(node.name)


def _native(node: tree.Decorator) -> str:
    if node.name == "timeout":
        return _policy("timeout", node.args[0].value)
    return f"{node.name}=True"


def _policy(name: str | None, value: tree.Expr) -> str:
    return (
        f"{name}={value.seconds!r}"
        if isinstance(value, tree.Duration)
        else f"{name}={_expr(value)}"
    )


# --- types ---


def _typed(node: tree.TypeExpr | None) -> str:
    return "" if node is None else f": {_type(node)}"


def _type(node: tree.TypeExpr) -> str:
    match node:
        case tree.LiteralType(value=value):
            return f"Literal[{value!r}]"
        case tree.NoneTypeExpr():
            return "None"
        case tree.OptionalType(item=item):
            return f"Optional[{_type(item)}]"
        case tree.UnionType(options=options):
            return f"Union[{', '.join(map(_type, options))}]"
        case tree.NamedType(name=name, params=params, args=args):
            shown = "Scored" if name == "scored" else name
            shown += f"[{', '.join(map(_type, params))}]" if params else ""
            if not args:
                return shown
            limits = [f"{_LIMITS.get(a.name or '', a.name)}={_expr(a.value)}" for a in args]
            return f"Annotated[{shown}, Field({', '.join(limits)})]"


# --- prompts ---


def _piece(node: tree.Piece, depth: int) -> str:
    pad = "    " * depth

    def inner(body: Sequence[tree.Piece]) -> str:
        return "".join(_piece(piece, depth + 1) for piece in body)

    match node:
        case tree.TextPiece(template=template):
            return f"{pad}{_text(template)}\n"
        case tree.MessagePiece(role=role, body=body):
            return f"{pad}with {role}:\n{inner(body)}"
        case tree.IfPiece(condition=condition, then=then, orelse=orelse):
            other = f"{pad}else:\n{inner(orelse)}" if orelse else ""
            return f"{pad}if {_expr(condition)}:\n{inner(then)}{other}"
        case tree.ForPiece(target=target, items=items, body=body):
            return f"{pad}for {_target(target)} in {_expr(items)}:\n{inner(body)}"
        case tree.PassPiece():
            return f"{pad}pass\n"


def _text(node: tree.Template) -> str:
    """A literal for each part: the texts as Python writes them, the holes as they are written."""
    if node.joined:
        raise NoPython("a text that ends in a backslash")
    parts = []
    for part in node.parts:
        if isinstance(part, tree.TextPart):
            parts.append(repr(part.text).replace("{{", "\\\\{{"))
        elif "\n" in part.span.text() or "'''" in part.span.text():
            raise NoPython("a hole of several lines")
        else:
            parts.append(f"'''{part.span.text()}'''")
    return f"({' '.join(parts)})" if parts else '""'


# --- flows ---


def _stmt(node: tree.Stmt, depth: int) -> str:
    pad = "    " * depth

    def inner(body: Sequence[tree.Stmt]) -> str:
        return "".join(_stmt(stmt, depth + 1) for stmt in body)

    match node:
        case tree.Assign(target=target, type=type_, value=value):
            return f"{pad}{_target(target)}{_typed(type_)} = {_expr(value)}\n"
        case tree.Return(value=value):
            return f"{pad}return {_expr(value)}\n"
        case tree.Break(condition=None):
            return f"{pad}break\n"
        case tree.Break(condition=condition) if condition is not None:
            return f"{pad}if {_expr(condition)}:\n{pad}    break\n"
        case tree.Pass():
            return f"{pad}pass\n"
        case tree.ExprStmt(value=value):
            return f"{pad}{_expr(value)}\n"
        case tree.IfStmt(condition=condition, then=then, orelse=orelse):
            if not orelse and all(isinstance(s, tree.Break) for s in then):
                raise NoPython("a `break` inside an `if`")
            other = f"{pad}else:\n{inner(orelse)}" if orelse else ""
            return f"{pad}if {_expr(condition)}:\n{inner(then)}{other}"
        case tree.ForStmt(target=target, items=items, body=body):
            return f"{pad}for {_target(target)} in {_expr(items)}:\n{inner(body)}"
        case tree.Match(subject=subject, cases=cases):
            rows = [
                f"{pad}    case {' | '.join(map(_pattern, case.patterns)) or '_'}:\n"
                + "".join(_stmt(stmt, depth + 2) for stmt in case.body)
                for case in cases
            ]
            return f"{pad}match {_expr(subject)}:\n{''.join(rows)}"
    raise NoPython(type(node).__name__)


def _pattern(node: tree.Expr) -> str:
    if isinstance(node, tree.Name):
        raise NoPython("a member without its enum")
    return _expr(node)


def _target(node: tree.Target) -> str:
    return ", ".join(name.id for name in node.names)


def _expr(node: tree.Expr) -> str:
    """An expression in as many brackets as it takes."""
    match node:
        case tree.Name(id=name):
            return name
        case tree.Literal(value=str() as text) if "{{" in text:
            raise NoPython("braces in a text of a flow")
        case tree.Literal(value=value):
            return repr(value)
        case tree.Template(parts=parts):
            return f"f'''{''.join(map(_part, parts))}'''"
        case tree.CallExpr(function=function, args=args):
            return f"{_expr(function)}({_args(args)})"
        case tree.With(call=tree.CallExpr(function=function, args=args), policies=policies):
            given = ", ".join(_policy(arg.name, arg.value) for arg in policies)
            return f"{_expr(function)}.with_({given})({_args(args)})"
        case tree.Attribute(value=tree.Name(id=name), attr=attr):
            return f"{name}.{attr}"
        case tree.Attribute(value=value, attr=attr):
            return f"({_expr(value)}).{attr}"
        case tree.Index(value=value, index=index):
            return f"({_expr(value)})[{_expr(index)}]"
        case tree.Slice(value=value, start=start, stop=stop):
            ends = ["" if end is None else _expr(end) for end in (start, stop)]
            return f"({_expr(value)})[{':'.join(ends)}]"
        case tree.Unary(op=op, value=value):
            return f"({op} {_expr(value)})"
        case tree.Binary(op=op, left=left, right=right):
            return f"({_expr(left)} {op} {_expr(right)})"
        case tree.Conditional(condition=condition, then=then, orelse=orelse):
            return f"({_expr(then)} if {_expr(condition)} else {_expr(orelse)})"
        case tree.ListExpr(items=items):
            return f"[{', '.join(map(_expr, items))}]"
        case tree.TupleExpr(items=items):
            return f"({''.join(f'{_expr(item)}, ' for item in items)})"
        case tree.RecordExpr(fields=fields):
            return f"{{{', '.join(f'{f.name!r}: {_expr(f.value)}' for f in fields)}}}"
        case tree.Comprehension(value=value, loops=loops):
            return f"[{_expr(value)}{''.join(map(_loop, loops))}]"
    raise NoPython(type(node).__name__)


def _args(args: Sequence[tree.Arg]) -> str:
    return ", ".join(f"{a.name}={_expr(a.value)}" if a.name else _expr(a.value) for a in args)


def _loop(node: tree.Loop) -> str:
    test = f" if {_expr(node.condition)}" if node.condition else ""
    return f" for {_target(node.target)} in {_expr(node.items)}{test}"


def _part(node: tree.TextPart | tree.Show | tree.Gen) -> str:
    if isinstance(node, tree.TextPart):
        return repr(node.text)[1:-1].replace("{", "{{").replace("}", "}}").replace("'", "\\'")
    if isinstance(node, tree.Gen) or node.filters or any(c in _expr(node.value) for c in "'\"\\"):
        raise NoPython("a filter, or quotes inside a text")
    return f"{{{_expr(node.value)}}}"
