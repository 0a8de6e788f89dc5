"""Conversations on a core: each turn is a call whose template begins with all that was said before.

    Q: {{t0_q}} A: {{t0_a}}          what the first turn has left
    Q: {{t1_q}} A: {{t1_a}}          the second: `t0_q`, `t0_a` and `t1_q` are inputs

What was generated stays in the core: a turn names its variable, so it may be sent before that has a
value. The core finds the prefix that its engines have read before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from parrotc.compat.parrot.functions import SemanticFunction
from parrotc.compat.parrot.remotevars import RemoteVariable
from parrotc.lower.template import Piece
from parrotc.runtime.core.templates import Make, Read

Given = str | RemoteVariable


@dataclass(frozen=True)
class Conversation:
    """`pieces` read what was said so far, `given` says what each of them is. Its model is that of
    the function that began it."""

    models: Sequence[str]
    model_type: str
    pieces: tuple[Piece, ...] = ()
    given: Mapping[str, Given] = field(default_factory=dict)
    turns: int = 0

    @classmethod
    def of(cls, function: SemanticFunction) -> "Conversation":
        return cls(function.models, function.model_type)

    def name(self, param: str) -> str:
        """What a parameter of the next turn is called in the template of the conversation."""
        return f"t{self.turns}_{param}"

    def turn(self, function: SemanticFunction, given: Mapping[str, Given]) -> "Conversation":
        """The conversation with one more turn, whose outputs are still to be made."""
        said = [self._renamed(piece) for piece in _read(function)]
        read = {piece.name for piece in said if isinstance(piece, Read)}
        inputs = {self.name(param): value for param, value in given.items()}
        inputs = {name: value for name, value in inputs.items() if name in read}
        return replace(self, pieces=(*self.pieces, *said), given={**self.given, **inputs})

    def left(self, outputs: Mapping[str, RemoteVariable]) -> "Conversation":
        """What the turn leaves, when it has given its outputs: they are read from here on."""
        pieces = tuple(Read(one.name) if isinstance(one, Make) else one for one in self.pieces)
        made = {self.name(param): value for param, value in outputs.items()}
        return replace(self, pieces=pieces, given={**self.given, **made}, turns=self.turns + 1)

    def _renamed(self, piece: Piece) -> Piece:
        match piece:
            case Read():
                return Read(self.name(piece.name))
            case Make():
                return Make(self.name(piece.name))
        return piece


def _read(function: SemanticFunction) -> Sequence[Piece]:
    """The pieces that a turn leaves behind: text after the last output only if it is wanted."""
    if not function.remove_pure_fill:
        return function.pieces
    places = [number for number, piece in enumerate(function.pieces) if isinstance(piece, Make)]
    return function.pieces[: places[-1] + 1] if places else ()
