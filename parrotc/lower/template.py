"""A template's pieces as a semantic function.

    "Say ", Read("q"), ": ", Make("a")   ==>   function @f(%c: context, %q: str) -> (a)
                                                 %c.1 = context.fill %c, "Say ", %q, ": "
                                                 %c.2, %a = context.gen %c.1 site "0" name "a" : str

Whoever has a template may put `Speak` between its pieces: then it is messages, for the model's own
chat template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from parrotc.ir.names import Names
from parrotc.ir.ops import Block, End, Fill, Function, Generate, Message, Op, Part, Text, Value
from parrotc.ir.source import Span
from parrotc.ir.types import CONTEXT, STR
from parrotc.runtime.core import templates
from parrotc.runtime.core.templates import Make, Read
from parrotc.runtime.engines.protocol import Sampling

_DEFAULT = Sampling()


@dataclass(frozen=True, slots=True)
class Speak:
    """What follows is a message of this role."""

    role: str


Piece = templates.Piece | Speak


@dataclass(frozen=True, slots=True)
class Draw:
    """How an output is drawn. A `seed` makes it the same draw in every run."""

    sampling: Sampling = _DEFAULT
    seed: int | None = None


def template_function(
    name: str,
    pieces: Sequence[Piece],
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    draws: Mapping[str, Draw] | None = None,
    is_whole: bool = False,
    span: Span | None = None,
) -> Function:
    """The function of a template that was parsed. Text after the last output is left out, as
    nobody would read it, unless `is_whole`."""
    building = _Building(draws or {}, span)
    names = building.names
    values = {name: names.fresh(name, STR) for name in (*inputs, *outputs)}
    building.read(pieces, values, is_whole)
    params = (building.first, *(values[name] for name in inputs))
    body = Block(params, tuple(building.ops), tuple(values[name] for name in outputs))
    return Function(name, tuple(outputs) if len(outputs) != 1 else ("",), body, span)


@dataclass
class _Building:
    draws: Mapping[str, Draw]
    span: Span | None
    names: Names = field(default_factory=Names)
    ops: list[Op] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    made: int = 0
    is_speaking: bool = False

    def __post_init__(self) -> None:
        self.first = self.context = self._next()

    def read(self, pieces: Sequence[Piece], values: Mapping[str, Value], is_whole: bool) -> None:
        for piece in pieces:
            match piece:
                case str():
                    self.parts.append(Text(piece))
                case Read():
                    self.parts.append(values[piece.name])
                case Make():
                    self._generate(piece.name, values[piece.name])
                case Speak():
                    self._speak(piece.role)
        if is_whole:
            self._fill()
        if self.is_speaking:
            self._end()

    def _next(self) -> Value:
        return self.names.fresh(" c", CONTEXT)

    def _step(self, op: Op) -> None:
        self.ops.append(op)
        self.context = op.results[0]

    def _fill(self) -> None:
        if self.parts:
            parts, self.parts = tuple(self.parts), []
            results = (self._next(),)
            self._step(Fill(results=results, context=self.context, parts=parts, span=self.span))

    def _speak(self, role: str) -> None:
        self._fill()
        if self.is_speaking:
            self._end()
        results = (self._next(),)
        self._step(Message(results=results, context=self.context, role=role, span=self.span))
        self.is_speaking = True

    def _end(self) -> None:
        self._step(End(results=(self._next(),), context=self.context, span=self.span))

    def _generate(self, name: str, value: Value) -> None:
        self._fill()
        draw = self.draws.get(name, Draw())
        sampling = draw.sampling
        op = Generate(
            results=(self._next(), value),
            context=self.context,
            site=str(self.made),
            name=name,
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            seed=draw.seed,
            stop=sampling.stop,
            span=self.span,
        )
        self.made += 1
        self._step(op)
