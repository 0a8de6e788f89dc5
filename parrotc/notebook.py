"""How things look in a notebook: text, the picture of a graph, a prompt with its values.

Nothing here waits, opens a model or reaches for a network: pictures and prompts are those of the
reference model, and what is not there yet is shown by its name. All text is escaped.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from parrotc.ir.diagnostic import CompileError
from parrotc.ir.source import Source
from parrotc.ir.types import Json, Str, Type

if TYPE_CHECKING:  # a program that runs, and is not shown, needs no compiler
    from parrotc.ir.ops import Function, Module

LONGEST = 2000  # characters of a value
_PRE = '<pre style="white-space:pre-wrap;margin:0">'


class Rich:
    """What has an HTML form beside its text: `_html`, which never waits."""

    def _html(self) -> str:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return self._html()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What Jupyter asks for; it drops what it has no use for."""
        return {"text/plain": repr(self), "text/html": self._html()}


def table(title: str, rows: Mapping[str, str]) -> str:
    """A title and rows, whose values are HTML."""
    lines = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th>'
        f'<td style="text-align:left">{value}</td></tr>'
        for name, value in rows.items()
        if value
    )
    return f"<div><b>{escape(title)}</b><table>{lines}</table></div>"


def shown(value: object) -> str:
    """A value as it is, or as Python writes it; a long one is cut."""
    text = value if isinstance(value, str) else repr(value)
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return f"{_PRE}{escape(cut)}</pre>"


def picture_of_plan(text: str, flow: str) -> str:
    """The picture of a flow of a plan, from the flow-level IR that the plan holds."""
    from parrotc.ir.parser import parse_module

    return picture_of(lambda: parse_module(Source("plan.pir", text)), flow)


def picture_of(make: "Callable[[], Module]", flow: str) -> str:
    """The picture of a flow, as a drawing if Graphviz is there, or else as Mermaid text."""
    from parrotc.targets import targets
    from parrotc.viz.dot import as_dot
    from parrotc.viz.mermaid import as_mermaid
    from parrotc.viz.pictures import pictures
    from parrotc.viz.svg import NoGraphviz, as_svg

    try:
        module = _on_reference(make())
        drawn = pictures(module, flow, targets(module), ["O1"])
    except CompileError as error:
        return shown(str(error))
    try:
        svg = as_svg(as_dot(drawn))
        return svg[svg.index("<svg") :]
    except NoGraphviz:
        return shown(as_mermaid(drawn))


def prompt_of(module: "Module", function: "Function", values: Mapping[str, Json]) -> str:
    """The prompt of a semantic function with its values; a text that is missing is its name."""
    from parrotc.rendering import render
    from parrotc.targets import targets

    names = {value.name: value.type for value in function.body.params[1:]}
    given = {name: values.get(name, _stand_in(name, type_)) for name, type_ in names.items()}
    if any(value is None for value in given.values()):
        return ""
    on_reference = _on_reference(module)
    try:
        pieces = render(on_reference, function, given, targets(on_reference))
    except CompileError:
        return ""
    parts: Sequence[str] = [
        f"<b>{escape(piece.text)}</b>" if piece.is_special else escape(piece.text)
        for piece in pieces
    ]
    return f"{_PRE}{''.join(parts)}</pre>"


def _stand_in(name: str, type_: Type) -> Json:
    return f"‹{name}›" if isinstance(type_, Str) else None


def _on_reference(module: "Module") -> "Module":
    from parrotc.targets import REFERENCE, ModelOverrides, overridden

    return overridden(module, ModelOverrides(REFERENCE))
