"""What a chat template writes around the contents of messages, found by rendering probes.

A template is a program over the whole list of messages, so nothing is assumed of its text: the
list is rendered with a different sentinel as the content of each message, once bare and once with
white space around it, and what stands between the sentinels is what the template writes.

    user ⟨0⟩, and a prompt   ⇒   "<|im_start|>user\\n" ⟨0⟩ "<|im_end|>\\n<|im_start|>assistant\\n"
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from parrotc.ir.ops import Ids, Part, Text
from parrotc.passes.target import Renderer, Tokenizer

EDGE = " \n "  # white space that a template either keeps or trims on each side of a content
UNLIKELY = "\u2063aZ{}\u2063{}\u2063"  # no template writes, and no tokenizer has, such a text


@dataclass(frozen=True, slots=True)
class Rendering:
    """What a template writes for one list of roles: n contents stand between n + 1 texts.

    `trims` says for each content whether white space goes at its left and at its right.
    """

    texts: tuple[str, ...]
    trims: tuple[tuple[bool, bool], ...]


class Templates:
    """One model's template; each list of roles is rendered once."""

    def __init__(self, render: Renderer) -> None:
        self._render = render
        self._found: dict[tuple[str, ...], Rendering | ValueError | None] = {}

    def before_answer(self, roles: tuple[str, ...]) -> Rendering | None:
        """What surrounds the contents of `roles` when the assistant is to answer next.

        None if the template does not write each content once, in order, the same way whatever
        stands around it. Raises `ValueError`, in its own words, for a list that it refuses.
        """
        if roles not in self._found:
            try:
                self._found[roles] = self._probe(roles)
            except ValueError as refusal:
                self._found[roles] = refusal
        found = self._found[roles]
        if isinstance(found, ValueError):
            raise found
        return found

    def _probe(self, roles: tuple[str, ...]) -> Rendering | None:
        marks = [UNLIKELY.format(len(roles), n) for n in range(len(roles))]
        bare = _between(self._text(roles, marks), marks)
        edged = _between(self._text(roles, [EDGE + mark + EDGE for mark in marks]), marks)
        if bare is None or edged is None:
            return None
        trims: list[tuple[bool, bool]] = []
        texts = list(edged)
        for at in range(len(roles)):
            left, right = texts[at].endswith(EDGE), texts[at + 1].startswith(EDGE)
            trims.append((not left, not right))
            if left:
                texts[at] = texts[at].removesuffix(EDGE)
            if right:
                texts[at + 1] = texts[at + 1].removeprefix(EDGE)
        return Rendering(tuple(bare), tuple(trims)) if texts == bare else None

    def _text(self, roles: tuple[str, ...], contents: list[str]) -> str:
        return self._render(list(zip(roles, contents, strict=True)), prompt=True)


def _between(text: str, marks: list[str]) -> list[str] | None:
    """The texts around the marks, if each of them is there once and in order."""
    texts: list[str] = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found:
            return None
        texts.append(before)
    texts.append(text)
    return None if any(mark in one for mark in marks for one in texts) else texts


def pieces(text: str, specials: Iterable[str]) -> list[str]:
    """A text split at its special tokens: text, token, text, token, …, text."""
    longest_first = sorted(specials, key=len, reverse=True)
    if not longest_first:
        return [text]
    return re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text)


def special_parts(text: str, tokenizer: Tokenizer) -> tuple[Part, ...]:
    """A template's own text: its special tokens as ids (hard boundaries), the rest as text."""
    parts: list[Part] = []
    for at, piece in enumerate(pieces(text, tokenizer.specials)):
        if at % 2:
            parts.append(Ids((tokenizer.specials[piece],), piece))
        elif piece:
            parts.append(Text(piece))
    return tuple(parts)
