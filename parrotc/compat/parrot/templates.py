"""From a template with parameters to what a graph can call: a flow of one call of one function.

The template is parsed once, by the parser that a core uses, and becomes a function of the IR. From
there on it goes where every program goes.
"""

import ast
import inspect
import linecache
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from parrotc.compat.parrot.parameters import Parameter
from parrotc.compat.parrot.transforms import Conversation, Formatter
from parrotc.eager.library import Callee, Library
from parrotc.ir.diagnostic import CompileError, Diagnostic
from parrotc.ir.names import Names
from parrotc.ir.ops import Call, Flow, Function, Map, Model, Module, Param, Value
from parrotc.ir.source import Source, Span
from parrotc.ir.types import INT, Field, ListOf, Record, Type
from parrotc.lower.module import DEFAULT_MODEL
from parrotc.lower.region import Region
from parrotc.lower.template import Piece, Speak, template_function
from parrotc.python.parsing import UNREADABLE, parsed
from parrotc.python.places import Places
from parrotc.runtime.core.errors import Invalid
from parrotc.runtime.core.templates import Make, Read, parse

_HOLE = re.compile(r"\{\{\s*[A-Za-z_]\w*\s*\}\}")


@dataclass(frozen=True)
class Written:
    """A template as a user wrote it: the text to parse, and where in a file it stands, if it does.

    `span` is the name of the function, `text_span` the literal that the template comes from.
    """

    name: str
    text: str
    span: Span | None = None
    text_span: Span | None = None

    @classmethod
    def of(cls, function: Callable[..., Any], formatter: Formatter | None) -> "Written":
        """The docstring of a function: formatted as asked, or else dedented and nothing more.

        Raises `CompileError` for a function that has none.
        """
        name, span, text_span = function.__name__, *places_of(function)
        if function.__doc__ is None:
            raise CompileError(
                [
                    Diagnostic(
                        "E0616",
                        f"the semantic function `{name}` has no template",
                        span,
                        help="write it as the docstring of the function",
                    )
                ]
            )
        text = function.__doc__
        text = formatter.transform(text) if formatter else inspect.cleandoc(text)
        return cls(name, text, span, text_span)

    def place(self, span: Span | None) -> Span | None:
        """Where in the user's file a placeholder of the template stands: the one of that number."""
        if span is None or self.text_span is None:
            return span or self.span
        number = len(_HOLE.findall(self.text, 0, span.start))
        held = self.text_span
        holes = list(_HOLE.finditer(held.source.text, held.start, held.end))
        if number >= len(holes):
            return self.span
        return Span(held.source, holes[number].start(), holes[number].end())


def pieces_of(
    written: Written, params: Sequence[Parameter], conversation: Conversation | None
) -> tuple[Piece, ...]:
    """The pieces of a template. Raises `CompileError` where its parameters do not fit it."""
    inputs = [param.name for param in params if not param.is_output]
    outputs = [param.name for param in params if param.is_output]
    try:
        parsed_ = parse(written.text, inputs, outputs)
    except Invalid as wrong:
        found = wrong.diagnostic or Diagnostic("E0616", wrong.message, help=wrong.help)
        span = written.place(found.span)
        raise CompileError([replace(found, span=span)]) from None
    return tuple(conversation.pieces(parsed_.pieces)) if conversation else parsed_.pieces


def template_of(pieces: Sequence[Piece]) -> str:
    """The pieces as a template again, for a core. Messages have no place in one."""
    parts: list[str] = []
    for piece in pieces:
        match piece:
            case str():
                parts.append(piece)
            case Read() | Make():
                parts.append("{{" + piece.name + "}}")
            case Speak():
                raise AssertionError("messages have no place in a template of a core")
    return "".join(parts)


def callee_of(
    written: Written,
    pieces: Sequence[Piece],
    params: Sequence[Parameter],
    *,
    model: Model = DEFAULT_MODEL,
    is_whole: bool = False,
) -> Callee:
    """What a graph captures when the function is called."""
    outputs = [param for param in params if param.is_output]
    function = template_function(
        written.name,
        pieces,
        [param.name for param in params if not param.is_output],
        [param.name for param in outputs],
        draws={param.name: param.config.draw for param in outputs},
        is_whole=is_whole,
        span=written.span,
    )
    count = max((param.config.n for param in outputs), default=1)
    module = Module(written.name, models=(model,), functions=(function,))
    flow = _alone(function, model, None if count == 1 else count)
    asked = [param.config for param in outputs if not param.config.is_in_plan]
    library = Library(
        replace(module, flows=(flow,)),
        Path.cwd(),
        sources=(written.span.source,) if written.span else (),
    )
    if not asked:
        return Callee(library, flow)
    order = [piece.name for piece in pieces if isinstance(piece, Make)]
    configs = {param.name: param.config for param in outputs}
    samplings = {str(site): configs[name].sampling for site, name in enumerate(order)}
    return Callee(library, flow, samplings)


def _alone(function: Function, model: Model, count: int | None) -> Flow:
    """A flow of one call. With `count`, each output is a list of so many."""
    region = Region(Names())
    params = [region.names.like(value) for value in function.body.params[1:]]
    one = function.result_type()
    draws = None if count is None else region.const(count, INT, function.span, "n")
    result = region.names.fresh("result", one if count is None else ListOf(one))
    region.ops.append(
        Call(
            results=(result,),
            function=function.name,
            args=tuple(params),
            model=model.name,
            site=function.name,
            count=draws,
            span=function.span,
        )
    )
    if count is not None and isinstance(one, Record):
        result = _columns(region, result, one)
    return Flow(
        function.name, tuple(map(Param, params)), region.block(params, [result]), span=function.span
    )


def _columns(region: Region, rows: Value, row: Record) -> Value:
    """A list of records as a record of lists."""
    columns: list[Value] = []
    for field in row.fields:
        inner = region.inner()
        item, index = region.names.fresh("row", row), region.names.fresh("i", INT)
        value = inner.apply("get", [item], field.type, None, attrs=(("field", field.name),))
        column = region.names.fresh(field.name, ListOf(field.type))
        body = inner.block([item, index], [value])
        region.ops.append(Map(results=(column,), items=rows, body=body))
        columns.append(column)
    names = tuple(field.name for field in row.fields)
    pairs = zip(names, columns, strict=True)
    type_: Type = Record("", tuple(Field(name, column.type) for name, column in pairs))
    return region.apply("record", columns, type_, None, attrs=(("names", names),))


def places_of(function: Callable[..., Any]) -> tuple[Span | None, Span | None]:
    """Where the name and the docstring of a function stand, as far as its file can be read."""
    code = function.__code__
    text = "".join(linecache.getlines(code.co_filename, function.__globals__))
    try:
        nodes = [
            node
            for node in ast.walk(parsed(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == function.__name__
        ]
    except UNREADABLE:
        return None, None
    node = min(nodes, key=lambda node: abs(node.lineno - code.co_firstlineno), default=None)
    if node is None:
        return None, None
    places = Places(Source(code.co_filename, text))
    first = node.body[0]
    return places.name(node), places.span(first)
