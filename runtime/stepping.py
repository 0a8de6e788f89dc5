"""Prompts whose constant beginning is made of contexts, though their plan shares them with none.

    Ids "system … <end> user Digest "  %part    ==>    "system … <end>" ── "user Digest " ── rest

One ends with each message, and one before the first value. What comes after the plan may begin in
the same way: an engine that remembers then finds them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from parrotc.runtime.contexts import Outlook
from parrotc.runtime.prompts import Messages, Part, Prompt, Special
from parrotc.runtime.resources import Resources


class SteppingPrompt(Prompt):
    __slots__ = ()

    def _after(self, parts: Sequence[Part], messages: Messages, outlook: Outlook) -> Prompt:
        constant = 0
        for part in parts:
            if not (isinstance(part, Special) and part.text):
                break
            constant += 1
        if self.node or self.pending or messages.items or not 0 < constant < len(parts):
            return super()._after(parts, messages, outlook)
        prompt: Prompt = self.take()
        for step in [*_steps(parts[:constant], self.encoder), parts[constant:]]:
            prompt, before = prompt.fill(step, outlook), prompt
            before.drop()
        return prompt


def _steps(parts: Sequence[Part], encoder: Any) -> Iterator[list[Special]]:
    """Constant ids, cut after each end of a message."""
    ids = [number for part in parts if isinstance(part, Special) for number in part.ids]
    start = 0
    for at, number in enumerate(ids, 1):
        if number in encoder.eos or at == len(ids):
            yield [Special(tuple(ids[start:at]))]
            start = at


class SteppingResources(Resources):
    """Those of a plan after which others come on the same engines."""

    def open(self, model: str, prefix: str | None) -> Prompt:
        prompt = super().open(model, prefix)
        if type(prompt) is not Prompt:  # an endpoint that reads text has no contexts to share
            return prompt
        return SteppingPrompt(model, prompt.session, prompt.encoder, prompt.node)
