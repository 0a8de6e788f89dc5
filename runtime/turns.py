"""Conversations at run time: a context that one run goes on from where another has left it.

Between turns a conversation is a list of messages, whose generated texts are the very ids that the
model generated, or, of raw texts, a prompt. Both are values: a turn makes the next one, and the one
before stays what it was, for others to go on from. An endpoint that reads text knows no template
and no tokens: there the prompt says the messages too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parrotc.runtime.contexts import Session
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.natives import Caller
from parrotc.runtime.plan import Plan
from parrotc.runtime.prompts import Message, Messages, Part, Prompt, Special
from parrotc.runtime.resources import Resources
from parrotc.runtime.texts import TextPrompt, rough_count


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
        """How many tokens the engine holds for it; of a text endpoint, about how many."""
        node = self.prompt.node if self.prompt else None
        length = node.length if node else 0
        return rough_count(length) if isinstance(self.prompt, TextPrompt) else length

    def texts(self) -> list[tuple[str, str]]:
        """The messages as roles and texts."""
        return [(one.role, "".join(map(self._text, one.content))) for one in self.messages]

    def _text(self, part: Part) -> str:
        if not isinstance(part, Special):
            return part
        assert self.prompt is not None, "ids are of a prompt that was generated"
        return self.prompt.encoder.decode(list(part.ids))


class ToldPrompt(TextPrompt):
    """A prompt of a text endpoint that remembers its messages, which the prompt itself says too."""

    __slots__ = ()

    @classmethod
    def of(cls, prompt: TextPrompt, messages: Sequence[Message]) -> Prompt:
        """An empty prompt, after these messages."""
        prompt.drop()
        told: Prompt = cls(prompt.model, prompt.session, prompt.encoder)
        for one in messages:
            told = _instead(told, told.start_message(one.role))
            told = _instead(told, told.fill(one.content))
            told = _instead(told, told.end_message())
        return told

    def start_message(self, role: str) -> Prompt:
        prompt = super().start_message(role)
        prompt.messages = replace(self.messages.start(role), is_rendered=True)
        return prompt

    def end_message(self) -> Prompt:
        prompt = super().end_message()
        prompt.messages = replace(self.messages.end(), is_rendered=True)
        return prompt


def _instead(before: Prompt, prompt: Prompt) -> Prompt:
    before.drop()
    return prompt


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
        if state.prompt is not None and (state.is_raw or isinstance(state.prompt, TextPrompt)):
            return state.prompt.take()
        prompt = super().open(model, prefix)
        if isinstance(prompt, TextPrompt):
            return ToldPrompt.of(prompt, state.messages)
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
    if isinstance(last, TextPrompt):
        return State(messages, last.take())
    held = (generated[-1] if generated else last) if messages else last
    return State(messages, held.take())
