"""Conversations as data (`std.chat`): a list of turns, each with a role and a text."""

from collections.abc import Sequence
from typing import TypedDict


class Turn(TypedDict):
    """What `class Turn` of chat.pfn is in Python."""

    role: str
    text: str


def said(turns: Sequence[Turn], role: str, text: str) -> list[Turn]:
    """The conversation with one more turn."""
    return [*turns, {"role": role, "text": text}]


def recent(turns: Sequence[Turn], size: int = 4000) -> list[Turn]:
    """The last turns whose texts have at most `size` characters together.

    They begin with a user's turn, so that no answer stands without its question. The very last
    turn is always kept.
    """
    first, used = len(turns), 0
    for at in range(len(turns) - 1, -1, -1):
        used += len(turns[at]["text"])
        if used > size and at < len(turns) - 1:
            break
        first = at
    while first < len(turns) - 1 and turns[first]["role"] != "user":
        first += 1
    return list(turns[first:])


def transcript(turns: Sequence[Turn]) -> str:
    """The conversation as text, one paragraph a turn: `User: …`, `Assistant: …`."""
    return "\n\n".join(f"{turn['role'].capitalize()}: {turn['text']}" for turn in turns)
