"""Conversations as data (`std.chat`): a list of turns, each with a role and a text."""

from dataclasses import dataclass
from typing import Literal

from parrotc.python.decorators import native
from parrotc.python.standard import standard

Role = Literal["user", "assistant"]


@dataclass(frozen=True)
class Turn:
    role: Role
    text: str


@native
def said(turns: list[Turn], role: Role, text: str) -> list[Turn]:
    """The conversation with one more turn."""
    return [*turns, Turn(role, text)]


@native
def recent(turns: list[Turn], size: int = 4000) -> list[Turn]:
    """The last turns whose texts have at most `size` characters together.

    They begin with a user's turn, so that no answer stands without its question. The very last
    turn is always kept.
    """
    first, used = len(turns), 0
    for at in range(len(turns) - 1, -1, -1):
        used += len(turns[at].text)
        if used > size and at < len(turns) - 1:
            break
        first = at
    while first < len(turns) - 1 and turns[first].role != "user":
        first += 1
    return turns[first:]


@native
def transcript(turns: list[Turn]) -> str:
    """The conversation as text, one paragraph a turn: `User: …`, `Assistant: …`."""
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.text}" for turn in turns)


@standard
def reply(turns: list[Turn], system_text: str = "You are a helpful assistant.") -> str:
    """The assistant's next turn."""


@standard
def respond(
    turns: list[Turn],
    text: str,
    system_text: str = "You are a helpful assistant.",
    size: int = 4000,
) -> list[Turn]:
    """The conversation with what the user says and what the assistant replies.

    The model reads the `recent` turns of at most `size` characters; all are kept.
    """
