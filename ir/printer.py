"""The text form of a module, which `ir/parser.py` reads back exactly (all but spans).

One op a line: what it assigns, its name, its operands, its fields in words, its types after `:`,
and in braces what passes noted about it. A context needs no type: it is what context ops give.

    flow @ask(%q: str) -> str {criteria = "latency"} {
      %c0 = context.open @local
      %c1 = context.fill %c0, ids[1, 9690] "<|im_start|>user\\n", %q {tokens = 31}
      %c2, %answer = context.gen %c1 site "ask.0/0" (max_tokens = 160, stop = ["\\n"]) : str
      context.free %c2
      return %answer
    }

A name that is not plain is written as a JSON text: `%"my value"`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields

from parrotc.ir.ops import (
    Apply,
    Attempt,
    Attrs,
    Block,
    Call,
    Const,
    End,
    EnvRef,
    Fill,
    Flow,
    Fold,
    Free,
    Function,
    Generate,
    Ids,
    If,
    Map,
    Message,
    Model,
    Module,
    Native,
    NativeDecl,
    Op,
    Open,
    Param,
    Part,
    Prefix,
    Render,
    Text,
    Value,
)
from parrotc.ir.types import Enum, Json, Record, quote

PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.$/-]*")

SAMPLING = tuple(f.name for f in fields(Generate))[
    [f.name for f in fields(Generate)].index("max_tokens") :
]
_DEFAULTS = {f.name: f.default for f in fields(Generate) if f.name in SAMPLING}


def print_module(module: Module) -> str:
    """The whole module, in declaration order, ending in a newline."""
    sections: list[list[str]] = [
        [_type_decl(declared) for declared in module.types],
        [_model(model) for model in module.models],
        [_native(native) for native in module.natives],
        [_prefix(prefix) for prefix in module.prefixes],
        *(list(_function(function)) for function in module.functions),
        *(list(_flow(flow)) for flow in module.flows),
    ]
    lines = [f"module {_name('@', module.name)} {{"]
    for section in filter(None, sections):
        if len(lines) > 1:
            lines.append("")
        lines += [f"  {line}" for line in section]
    return "\n".join([*lines, "}", ""])


def print_flow(flow: Flow) -> str:
    return "\n".join(_flow(flow)) + "\n"


def print_op(op: Op) -> str:
    """An op as it stands in a flow, with its regions, without a newline at the end."""
    return "\n".join(_op(op, ""))


# --- names and data ---


def _name(sign: str, name: str) -> str:
    return f"{sign}{name}" if PLAIN.fullmatch(name) else f"{sign}{quote(name)}"


def _value(value: Value) -> str:
    return _name("%", value.name)


def _values(values: Iterable[Value]) -> str:
    return ", ".join(map(_value, values))


def _typed(value: Value) -> str:
    return f"{_value(value)}: {value.type}"


def _param(param: Param) -> str:
    default = f" = {_json(param.default)}" if param.has_default else ""
    return _typed(param.value) + default


def _json(data: Json) -> str:
    return json.dumps(data, ensure_ascii=False)


def _word(name: str) -> str:
    return name if PLAIN.fullmatch(name) else quote(name)


def _entries(entries: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{_word(name)} = {text}" for name, text in entries)


def _attrs(opening: str, attrs: Attrs, closing: str) -> str:
    """The attributes between brackets, or nothing at all if there are none."""
    if not attrs:
        return ""
    return opening + _entries((name, _json(data)) for name, data in attrs) + closing


def _notes(notes: Attrs) -> str:
    return _attrs(" {", notes, "}")


# --- declarations ---


def _type_decl(declared: Enum | Record) -> str:
    if isinstance(declared, Enum):
        members = (m.name + (f" {quote(m.doc)}" if m.doc else "") for m in declared.members)
        return f"enum {_name('@', declared.name)} {{{', '.join(members)}}}"
    parts = []
    for field in declared.fields:
        default = f" = {_json(field.default)}" if field.has_default else ""
        doc = f" {quote(field.doc)}" if field.doc else ""
        parts.append(f"{field.name}: {field.type}{default}{doc}")
    return f"record {_name('@', declared.name)} {{{', '.join(parts)}}}"


def _model(model: Model) -> str:
    options = _entries(
        (name, f"env {quote(held.name)}" if isinstance(held, EnvRef) else _json(held))
        for name, held in model.options
    )
    head = f"model {_name('@', model.name)} = {_word(model.kind)} {quote(model.target)}"
    return head + (f" {{{options}}}" if options else "")


def _native(native: NativeDecl) -> str:
    params = ", ".join(map(_param, native.params))
    return (
        f"native {_name('@', native.name)}({params}) -> {native.result} = {quote(native.target)} "
        f"{native.effect} timeout {native.timeout!r}"
    )


def _prefix(prefix: Prefix) -> str:
    after = f" after {_name('@', prefix.parent)}" if prefix.parent is not None else ""
    return (
        f"prefix {_name('@', prefix.name)} on {_name('@', prefix.model)}{after} = "
        f"{_ids(prefix.ids, prefix.text)}{_notes(prefix.notes)}"
    )


def _function(function: Function) -> Iterator[str]:
    params = ", ".join(map(_typed, function.body.params))
    outputs = ", ".join(map(_word, function.outputs))
    yield f"function {_name('@', function.name)}({params}) -> ({outputs}) {{"
    yield from _block(function.body, "  ")
    yield "}"


def _flow(flow: Flow) -> Iterator[str]:
    params = ", ".join(map(_param, flow.params))
    result = ", ".join(str(value.type) for value in flow.body.yields)
    yield f"flow {_name('@', flow.name)}({params}) -> {result}{_notes(flow.notes)} {{"
    yield from _block(flow.body, "  ", "return")
    yield "}"


# --- ops ---


def _block(block: Block, margin: str, last: str = "yield") -> Iterator[str]:
    for op in block.ops:
        yield from _op(op, margin)
    yield f"{margin}{last} {_values(block.yields)}".rstrip()


def _op(op: Op, margin: str) -> Iterator[str]:
    assigns = f"{_values(op.results)} = " if op.results else ""
    types = ", ".join(str(value.type) for value in _typed_results(op))
    head = f"{margin}{assigns}{_body(op)}{' : ' + types if types else ''}{_notes(op.notes)}"
    match op:
        case Map() | Fold() | Attempt():
            yield head + " {"
            yield from _block(op.body, margin + "  ")
            yield margin + "}"
        case If():
            yield head + " {"
            yield from _block(op.then, margin + "  ")
            yield margin + "} else {"
            yield from _block(op.orelse, margin + "  ")
            yield margin + "}"
        case _:
            yield head


def _typed_results(op: Op) -> tuple[Value, ...]:
    """The results whose types are written: those that the op's name does not tell."""
    match op:
        case Generate():
            return op.results[1:]
        case Open() | Message() | End() | Fill() | Render():
            return ()
    return op.results


def _body(op: Op) -> str:
    """The op without its results, types, notes and regions."""
    match op:
        case Const():
            return f"const {op.json}"
        case Apply():
            return f"apply {_word(op.function)}{_attrs('[', op.attrs, ']')}({_values(op.args)})"
        case Native():
            return f"native {_name('@', op.native)}({_values(op.args)}) {op.effect}"
        case Call():
            count = f" count {_value(op.count)}" if op.count is not None else ""
            handed = f" handed [{', '.join(map(str, op.handed))}]" if op.handed else ""
            return (
                f"call {_name('@', op.function)}({_values(op.args)}) on {_name('@', op.model)} "
                f"site {quote(op.site)}{count}{handed}"
            )
        case Map():
            return f"map {_params(op.body)} in {_value(op.items)}"
        case Fold():
            inits = f" from {_values(op.inits)}" if op.inits else ""
            early = " early" if op.early else ""
            return f"fold {_params(op.body)} in {_value(op.items)}{inits}{early}"
        case If():
            return f"if {_value(op.condition)}"
        case Attempt():
            return f"attempt retries {op.retries}{' tolerant' if op.tolerant else ''}"
        case Open():
            prefix = f" prefix {_name('@', op.prefix)}" if op.prefix is not None else ""
            return f"context.open {_name('@', op.model)}{prefix}"
        case Message():
            return f"context.message {_value(op.context)} {quote(op.role)}"
        case End():
            return f"context.end {_value(op.context)}"
        case Fill():
            return ", ".join([f"context.fill {_value(op.context)}", *map(_part, op.parts)])
        case Generate():
            return _generate(op)
        case Render():
            return f"context.render {_value(op.context)}"
        case Free():
            return f"context.free {_value(op.context)}"
    raise TypeError(f"not an op: {op!r}")


def _params(block: Block) -> str:
    return f"({', '.join(map(_typed, block.params))})"


def _part(part: Part) -> str:
    match part:
        case Text(text=text):
            return quote(text)
        case Ids(ids=ids, text=text):
            return _ids(ids, text)
        case Value():
            return _value(part)


def _ids(ids: tuple[int, ...], text: str) -> str:
    return f"ids[{', '.join(map(str, ids))}] {quote(text)}"


def _generate(op: Generate) -> str:
    """Only the fields that are not the default are written."""
    given = [(n, getattr(op, n)) for n in SAMPLING if getattr(op, n) != _DEFAULTS[n]]
    sampling = _entries((name, _json(held)) for name, held in given)
    name = f" name {quote(op.name)}" if op.name else ""
    return (
        f"context.gen {_value(op.context)} site {quote(op.site)}{name}"
        f"{' (' + sampling + ')' if sampling else ''}"
    )
