"""From what a request says to token ids: messages through the model's chat template, or raw text.

No content can imitate a message boundary: ids of special tokens come from the template only.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from parrotc.runtime.chat import Render, render_of, renderer
from parrotc.runtime.plan import ChatTemplate
from parrotc.runtime.prompts import Message as RuntimeMessage
from parrotc.runtime.prompts import Messages, Part, Special
from parrotc.runtime.server.openai.requests import Message
from parrotc.runtime.server.refusals import Refusal
from parrotc.runtime.texts import ALPHABET, Said, written

Tokenizer = Any  # `runtime.tokenizer.Tokenizer` or what an engine has instead

_SHORTEST_PIECE, _LONGEST_PIECE = 32, 1024  # tokens
_ROLES = {"developer": "system"}  # names of OpenAI's that templates do not know


def of_messages(
    messages: Sequence[Message], tokenizer: Tokenizer, template: ChatTemplate | None
) -> list[int]:
    """The tokens up to where the assistant's next message begins. Raises `Refusal`."""
    if tokenizer is ALPHABET:
        said = [Said(_ROLES.get(one.role, one.role), one.text) for one in messages]
        return _checked(written([*said, Said("assistant", "")]), tokenizer, "messages")
    if template is None:
        raise Refusal(
            400, "no_chat_template", "this model has no chat template: it continues plain text",
            param="messages", help="use /v1/completions",
        )  # fmt: skip
    turns = [
        RuntimeMessage(_ROLES.get(message.role, message.role), (message.text,))
        for message in messages
    ]
    render = _renderer(template, tuple(tokenizer.specials.items()))
    try:
        parts = render(Messages((*turns, RuntimeMessage("assistant")), is_open=True))
    except ValueError as error:
        raise Refusal(400, "invalid", str(error), param="messages") from None
    return _checked(_ids(parts, tokenizer), tokenizer, "messages")


def of_prompt(prompt: str | Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """The tokens of a raw text, after the tokenizer's own first one, or the ids as they are."""
    if isinstance(prompt, str):
        first = [] if tokenizer.bos is None else [tokenizer.bos]
        ids = first + (tokenizer.encode(prompt) if prompt else [])
    else:
        ids, vocabulary = list(prompt), tokenizer.vocab_size
        strange = next((id for id in (min(ids), max(ids)) if not 0 <= id < vocabulary), None)
        if strange is not None:
            raise Refusal(400, "invalid", f"{strange} is no token of this model", param="prompt")
    return _checked(ids, tokenizer, "prompt")


def pieces(ids: Sequence[int], specials: frozenset[int]) -> tuple[tuple[int, ...], ...]:
    """`ids` cut where other prompts are likely to go another way: at the ends of messages, and now
    and then in long texts. Prompts that begin alike are cut alike, as far as they are alike."""
    found: list[tuple[int, ...]] = []
    at = 0
    while at < len(ids):
        piece = tuple(ids[at : at + _LONGEST_PIECE])
        if not specials.isdisjoint(piece):  # a look that is quick, for prompts of a million tokens
            places = range(_SHORTEST_PIECE, len(piece))
            piece = piece[: next((n for n in places if piece[n] in specials), len(piece))]
        found.append(piece)
        at += len(piece)
    return tuple(found)


def _ids(parts: Sequence[Part], tokenizer: Tokenizer) -> list[int]:
    """Text between two special tokens is tokenised as one string."""
    ids: list[int] = []
    text = ""
    for part in [*parts, Special(())]:
        if isinstance(part, str):
            text += part
            continue
        ids += tokenizer.encode(text) if text else []
        ids += part.ids
        text = ""
    return ids


def _checked(ids: list[int], tokenizer: Tokenizer, param: str) -> list[int]:
    if not ids:
        raise Refusal(400, "invalid", "the prompt is empty", param=param)
    limit = tokenizer.context_length
    if len(ids) >= limit:
        raise Refusal(
            400,
            "context_length_exceeded",
            f"the prompt has {len(ids):,} tokens, and the model's context holds {limit:,}",
            param=param,
        )
    return ids


@lru_cache(maxsize=64)
def _renderer(template: ChatTemplate, specials: tuple[tuple[str, int], ...]) -> Render:
    """Compiling a template takes milliseconds, and there are few of them."""
    return renderer(render_of(template), dict(specials))
