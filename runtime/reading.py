"""What quick steps read: the parts of a fill, and of any step the texts that it tokenises."""

from typing import Any, NamedTuple

from parrotc.ir.scalar import OF_A_MODEL
from parrotc.runtime.code import Item
from parrotc.runtime.errors import Failed
from parrotc.runtime.frames import Frame
from parrotc.runtime.longtexts import LONG
from parrotc.runtime.prompts import Encoder, Part, Prompt, Special, segments
from parrotc.runtime.resources import Resources
from parrotc.runtime.steps import Apply, Fill, IdsPart, Render, TextPart


class Texts(NamedTuple):
    """What a step tokenises, by which encoder, and of what it needs the certain ids."""

    encoder: Encoder
    whole: list[str]
    certain: list[str]


def parts(step: Fill, frame: Frame) -> list[Part]:
    found: list[Part] = []
    for part in step.parts:
        match part:
            case TextPart():
                found.append(part.text)
            case IdsPart():
                found.append(Special(part.ids, part.text))
            case _:
                value: str | list[int] = frame.get(part.value)
                found.append(Special(tuple(value)) if isinstance(value, list) else value)
    return found


def is_long(item: Item, frame: Frame) -> bool:
    """Whether a quick step, all of whose operands are there, may take long to tokenise them."""
    match item.step:
        case Fill() | Render():
            return sum(_length(frame.get(name)) for name in item.reads) > LONG
        case Apply(function=function):
            return function in OF_A_MODEL and _length(frame.get(item.step.args[0])) > LONG
    return False


def texts(item: Item, frame: Frame, resources: Resources) -> Texts:
    """Of a step that `is_long` and whose operands have not failed."""
    step = item.step
    if isinstance(step, Apply):
        value = frame.get(step.args[0])
        return Texts(resources.tokenizers[str(step.attrs["model"])], [value], [])
    assert isinstance(step, Fill | Render)
    prompt: Prompt = frame.get(step.context)
    *whole, last = _segments(step, prompt, frame, resources)
    is_needed = step.notes.get("early") or step.results[0] in frame.code.shared
    return Texts(prompt.encoder, whole, [last] if is_needed else [])


def _segments(step: Fill | Render, prompt: Prompt, frame: Frame, resources: Resources) -> list[str]:
    if isinstance(step, Fill):
        return [""] if prompt.is_message_list() else segments(parts(step, frame), prompt.pending)
    try:
        return segments(resources.render(prompt.model, prompt.messages))
    except Failed:  # and so it will when the step runs
        return [""]


def _length(value: Any) -> int:
    """Characters of a text, and of those that a prompt has still to tokenise."""
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, Prompt):
        return 0
    said = (part for message in value.messages.items for part in message.content)
    return len(value.pending) + sum(len(part) for part in said if isinstance(part, str))
