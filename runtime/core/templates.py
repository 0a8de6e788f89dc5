"""Parrot's templates: text with `{{name}}` placeholders, each an input or an output of a call.

    parse("Say {{q}}: {{a}}", inputs={"q"}, outputs={"a"})  →  "Say ", Read("q"), ": ", Make("a")

The first place of an output is where it is generated; at later ones, as at those of inputs, a
value is read. Only the template is looked at: what values hold is text, whatever it looks like.
Braces around anything but a name are text too.
"""

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256

from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.source import Source, Span
from parrotc.runtime.core.errors import Invalid

CODE = "E0616"
SOURCE = "template"
FLOW, SITE = "call", "call"  # of the plan that is compiled of a template
_HOLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Read:
    """A value: of an input, or of an output that was made before."""

    name: str


@dataclass(frozen=True, slots=True)
class Make:
    """What the model continues with."""

    name: str


Piece = str | Read | Make


@dataclass(frozen=True, slots=True)
class Template:
    """`outputs` are in the order in which they are made, `inputs` in that of their first place."""

    source: Source
    pieces: tuple[Piece, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        made = set(self.outputs)
        read = (piece.name for piece in self.pieces if isinstance(piece, Read))
        return tuple(dict.fromkeys(name for name in read if name not in made))

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(piece.name for piece in self.pieces if isinstance(piece, Make))

    def digest(self, model: str) -> str:
        """Names what is compiled of it for a model: equal ones are compiled once."""
        parts = (model, *self.outputs, "", self.source.text)
        return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def parse(text: str, inputs: Collection[str], outputs: Collection[str]) -> Template:
    """Raises `Invalid`, with the place, for a template that its parameters do not fit."""
    source = Source(SOURCE, text)
    pieces: list[Piece] = []
    made: set[str] = set()
    at = 0
    for hole in _HOLE.finditer(text):
        if hole.start() > at:
            pieces.append(text[at : hole.start()])
        at, name = hole.end(), hole[1]
        span = Span(source, hole.start(), hole.end())
        if name in outputs and name not in made:
            if not pieces:
                raise _wrong(
                    "a template begins with text or an input, and this with an output", span
                )
            made.add(name)
            pieces.append(Make(name))
        elif name in inputs or name in made:
            pieces.append(Read(name))
        else:
            raise _unknown(name, [*inputs, *outputs], span)
    if at < len(text):
        pieces.append(text[at:])
    template = Template(source, tuple(pieces))
    for name in (*inputs, *outputs):
        if name not in (*template.inputs, *template.outputs):
            raise Invalid(f"the parameter `{name}` is nowhere in the template")
    return template


def _unknown(name: str, known: list[str], span: Span) -> Invalid:
    near = difflib.get_close_matches(name, known, n=1)
    help = f"did you mean `{near[0]}`?" if near else ""
    return _wrong(f"`{name}` is none of the parameters", span, help)


def _wrong(message: str, span: Span, help: str = "") -> Invalid:
    return Invalid(message, help, diagnostic=Diagnostic(CODE, message, span, help=help))
