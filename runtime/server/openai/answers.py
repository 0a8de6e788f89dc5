"""What OpenAI's clients are answered: whole completions and the chunks of streamed ones."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from parrotc.runtime.engines.protocol import Finished, TokenLogprob

Reason = Literal["stop", "length"]
Tokenizer = Any

_LOWEST = -9999.0  # for a logprob of minus infinity, which JSON has no word for


class CachedTokens(BaseModel):
    cached_tokens: int = 0


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens

    @classmethod
    def of(cls, prompt: int, completion: int, cached: int) -> "Usage":
        return cls(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            prompt_tokens_details=CachedTokens(cached_tokens=cached),
        )


class Top(BaseModel):
    token: str
    bytes: list[int]
    logprob: float


class Logprob(Top):
    top_logprobs: list[Top]


class ChatLogprobs(BaseModel):
    content: list[Logprob]
    refusal: None = None


class TextLogprobs(BaseModel):
    """The older shape, of plain completions: lists side by side."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class AnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: Reason


class ChatAnswer(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage


class ChatChunkChoice(BaseModel):
    index: int
    delta: dict[Literal["role", "content"], str]  # only what is new
    logprobs: ChatLogprobs | None = None
    finish_reason: Reason | None = None


class ChatChunk(BaseModel):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None


class TextChoice(BaseModel):
    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: Reason | None


class TextAnswer(BaseModel):
    """A whole completion and a chunk of one look the same."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage | None = None


class ModelEntry(BaseModel):
    """A model; the last two are what Parrot's clients read."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "parrotc"
    model_name: str
    tokenizer_name: str


class ModelList(BaseModel):
    """`models` is the same list again, under Parrot's name for it."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]
    models: list[ModelEntry]


# --- from what engines say ---


def reason(finished: Finished) -> Reason:
    return "length" if finished.reason == "length" else "stop"


def chat_logprobs(finished: Finished | None, tokenizer: Tokenizer) -> ChatLogprobs | None:
    if finished is None or not finished.logprobs:
        return None
    told = [
        Logprob(
            **_top(one.token, one.logprob, tokenizer).model_dump(),
            top_logprobs=[_top(token, logprob, tokenizer) for token, logprob in one.best],
        )
        for one in _of_text(finished, tokenizer)
    ]
    return ChatLogprobs(content=told)


def text_logprobs(finished: Finished | None, tokenizer: Tokenizer) -> TextLogprobs | None:
    if finished is None or not finished.logprobs:
        return None
    told = _of_text(finished, tokenizer)
    tokens = [_text(one.token, tokenizer) for one in told]
    return TextLogprobs(
        tokens=tokens,
        token_logprobs=[_finite(one.logprob) for one in told],
        top_logprobs=[
            {_text(token, tokenizer): _finite(logprob) for token, logprob in one.best}
            for one in told
        ],
        text_offset=[sum(map(len, tokens[:at])) for at in range(len(tokens))],
    )


def _of_text(finished: Finished, tokenizer: Tokenizer) -> Sequence[TokenLogprob]:
    """Those of the tokens that the text is made of: a stop text and the end of turn are not."""
    left = len(finished.text.encode())
    count = 0
    while left > 0 and count < len(finished.logprobs):
        left -= len(tokenizer.token_bytes(finished.logprobs[count].token))
        count += 1
    return finished.logprobs[:count]


def _top(token: int, logprob: float, tokenizer: Tokenizer) -> Top:
    raw = tokenizer.token_bytes(token)
    return Top(token=_text(token, tokenizer), bytes=list(raw), logprob=_finite(logprob))


def _text(token: int, tokenizer: Tokenizer) -> str:
    text: str = tokenizer.token_bytes(token).decode("utf-8", "replace")
    return text


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else _LOWEST
