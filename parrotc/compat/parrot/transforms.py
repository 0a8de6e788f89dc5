"""What a program may ask to be done to the text of a template, before it is read.

Nothing is done unless it is asked for: a docstring is dedented, and that is all. A formatter and a
conversation template see the template only. Values are never looked at.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from parrotc.lower.template import Piece, Speak
from parrotc.runtime.core.templates import Make

_INDENT = re.compile(r"\t| {4}")
_SPACES = re.compile(r" {2,}")


@dataclass(frozen=True)
class Formatter:
    """Replaces every match of a pattern, one pattern after the other."""

    name: str
    replacements: tuple[tuple[re.Pattern[str], str], ...]

    def transform(self, text: str) -> str:
        for pattern, replacement in self.replacements:
            text = pattern.sub(replacement, text)
        return text

    def __repr__(self) -> str:
        return f"<formatter {self.name}>"


allowing_newline = Formatter("allowing_newline", ((_INDENT, ""), (_SPACES, " ")))
standard_formatter = Formatter(
    "standard_formatter", ((_INDENT, ""), (re.compile(r"\n"), " "), (_SPACES, " "))
)


@dataclass(frozen=True)
class ConversationTemplate:
    """A conversation written out as text: what leads to an output is said by the first of `roles`,
    and the output by the second. `sep` ends what is said before an output, `sep2` an output."""

    system_message: str
    roles: tuple[str, str] = ("USER", "ASSISTANT")
    sep: str = "\n"
    sep2: str = "\n"

    def pieces(self, pieces: Sequence[Piece]) -> Iterable[Piece]:
        yield self.system_message + self.sep
        is_new = True
        for piece in pieces:
            if is_new:
                yield f"{self.roles[0]}: "
            is_new = isinstance(piece, Make)
            if is_new:
                yield f"{self.sep}{self.roles[1]}: "
            yield piece
            if is_new:
                yield self.sep2


@dataclass(frozen=True)
class ModelTemplate:
    """Messages, for the chat template that comes with the model: what leads to an output is the
    user's, the output the assistant's. White space at the ends of a message is left out."""

    system: str | None = None

    def pieces(self, pieces: Sequence[Piece]) -> Iterable[Piece]:
        if self.system is not None:
            yield from (Speak("system"), self.system)
        said: list[Piece] = []
        for piece in pieces:
            if not isinstance(piece, Make):
                said.append(piece)
                continue
            yield from (Speak("user"), *_stripped(said), Speak("assistant"), piece)
            said = []
        if rest := _stripped(said):
            yield from (Speak("user"), *rest)


def _stripped(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces of one message without white space of the template's at its ends."""
    held = list(pieces)
    if held and isinstance(held[0], str):
        held[0] = held[0].lstrip()
    if held and isinstance(held[-1], str):
        held[-1] = held[-1].rstrip()
    return [piece for piece in held if piece != ""]


vicuna_template = ConversationTemplate(
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives"
    " helpful, detailed, and polite answers to the user's questions.",
    sep=" ",
    sep2="</s>",
)
model_template = ModelTemplate()

Conversation = ConversationTemplate | ModelTemplate
