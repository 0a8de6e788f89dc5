"""A model's chat template at run time: from a list of messages to the parts of a prompt.

The template sees a stand-in where a message's content will be, between the white space that is at
the edges of the content, so that a template that trims does. Its own text is split at the special
tokens, which become ids; only then do contents replace stand-ins, so that no text can imitate a
special token. A generation and the rest of its value are no edge: their ids are fixed.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.plan import ChatTemplate, Model
from parrotc.runtime.prompts import Messages, Part, Special
from parrotc.runtime.template import Template as Compiled

Render = Callable[[Messages], Sequence[Part]]


class Template(Protocol):
    """`runtime.template.Template.render`: raises `ValueError`, in the template's own words."""

    def __call__(self, messages: list[tuple[str, str]], *, prompt: bool) -> str: ...


def render_of(template: ChatTemplate) -> Template:
    """The template as a function. Its date is the one it was compiled with."""
    now = datetime.fromisoformat(template.now) if template.now else None
    return Compiled(template.source, bos=template.bos, eos=template.eos, now=now).render


def renderer(template: Template, specials: Mapping[str, int]) -> Render:
    """What turns messages into parts for one model. It raises `ValueError` as the template does."""
    longest_first = sorted(specials, key=len, reverse=True)
    split = re.compile("|".join(["(\ue000[0-9]+\ue001", *map(re.escape, longest_first)]) + ")")

    def render(messages: Messages) -> Sequence[Part]:
        *before, last = messages.items
        if not messages.is_open or last.role != "assistant":
            raise ValueError("a generation outside an assistant message")
        edges = [_edges(message.content) for message in before]
        stand_ins = [
            (message.role, f"{lead}\ue000{number}\ue001{trail}")
            for number, (message, (lead, _, trail)) in enumerate(zip(before, edges, strict=True))
        ]
        parts: list[Part] = []
        for piece in split.split(template(stand_ins, prompt=True)):
            if piece in specials:
                parts.append(Special((specials[piece],), piece))
            elif piece.startswith("\ue000"):
                parts += edges[int(piece[1:-1])][1]
            else:
                parts.append(piece)
        return [part for part in (*parts, *last.content) if part]

    return render


def renders(models: Iterable[Model], engines: Mapping[str, Engine]) -> dict[str, Render]:
    """Those of the models whose messages are rendered late, by name."""
    return {
        model.name: renderer(render_of(model.template), engines[model.name].tokenizer.specials)
        for model in models
        if model.template
    }


def _edges(content: tuple[Part, ...]) -> tuple[str, tuple[Part, ...], str]:
    """White space at the start, the content without it, white space at the end."""
    fixed = [number for number, part in enumerate(content) if isinstance(part, Special)]
    first, last = (fixed[0], fixed[-1] + 1) if fixed else (len(content), len(content))
    head = _joined(content[:first])
    body = head.lstrip()
    lead = head[: len(head) - len(body)]
    if not fixed:
        core = body.rstrip()
        return lead, (core,), body[len(core) :]
    tail = _joined(content[last:])
    end = tail.rstrip()
    return lead, (body, *content[first:last], end), tail[len(end) :]


def _joined(parts: Sequence[Part]) -> str:
    return "".join(part for part in parts if isinstance(part, str))
