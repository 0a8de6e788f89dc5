"""Conversations at run time: a context that one run goes on from where another has left it.

Between turns a conversation is a list of messages, whose generated texts are the very ids that the
model generated, or, of raw texts, a prompt. Both are values: a turn makes the next one, and the one
before stays what it was, for others to go on from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parrotc.runtime.contexts import Session
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.natives import Caller
from parrotc.runtime.plan import Plan
from parrotc.runtime.prompts import Encoder, Message, Messages, Prompt, Special
from parrotc.runtime.resources import Resources


@dataclass(frozen=True, slots=True)
class State:
    """Where a conversation is. `prompt` holds its tokens in the engine: all of a raw text, and of
    messages those up to the end of the last generation."""

    messages: tuple[Message, ...] = ()
    prompt: Prompt | None = None

    @property
    def is_raw(self) -> bool:
        return self.prompt is not None and not self.messages

    def take(self) -> "State":
        if self.prompt is not None:
            self.prompt.take()
        return self

    def drop(self) -> None:
        if self.prompt is not None:
            self.prompt.drop()

    @property
    def tokens(self) -> int:
        """How many tokens the engine holds for it."""
        node = self.prompt.node if self.prompt else None
        return node.length if node else 0

    def texts(self, encoder: Encoder) -> list[tuple[str, str]]:
        """The messages as roles and texts."""
        return [(one.role, _text(one, encoder)) for one in self.messages]


def _text(message: Message, encoder: Encoder) -> str:
    parts: list[str] = []
    for part in message.content:
        parts.append(encoder.decode(list(part.ids)) if isinstance(part, Special) else part)
    return "".join(parts)


class TurnResources(Resources):
    """Those of a plan whose one context goes on from `state`. Turns share the `session`."""

    def __init__(
        self,
        plan: Plan,
        engines: Mapping[str, Engine],
        natives: Caller,
        *,
        state: State,
        session: Session | None,
        bos: int | None,
        **how: Any,
    ) -> None:
        super().__init__(plan, engines, natives, **how)
        self._state = state
        self._bos = bos  # what a raw text begins with
        if session is not None:
            self._sessions = dict.fromkeys(self._sessions, session)
        (self.session,) = self._sessions.values()

    def open(self, model: str, prefix: str | None) -> Prompt:
        state = self._state
        if state.is_raw and state.prompt is not None:
            return state.prompt.take()
        prompt = super().open(model, prefix)
        if state.messages:
            prompt.messages = Messages(state.messages, is_rendered=False)
        if self._bos is None:
            return prompt
        filled = prompt.fill([Special((self._bos,))])
        prompt.drop()
        return filled


def after(last: Prompt, generated: Sequence[Prompt]) -> State:
    """The state after a turn: where its prompt ended, and where its last generation did."""
    messages = last.messages.items
    held = (generated[-1] if generated else last) if messages else last
    return State(messages, held.take())
