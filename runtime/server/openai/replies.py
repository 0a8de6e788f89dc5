"""One request's answer in the making: the head of all its parts, and how updates are told."""

import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from parrotc.runtime.engines.protocol import Finished
from parrotc.runtime.server.openai.answers import (
    AnswerMessage,
    ChatAnswer,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    TextAnswer,
    TextChoice,
    Usage,
    chat_logprobs,
    reason,
    text_logprobs,
)
from parrotc.runtime.server.openai.texts import Update

Tokenizer = Any


@dataclass(slots=True)
class Reply:
    """What is the same in every part of an answer."""

    model: str
    tokenizer: Tokenizer
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def head(self, prefix: str) -> dict[str, Any]:
        return {
            "id": f"{prefix}-{self.id}",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": f"fp_{self.tokenizer.fingerprint[:12]}",
        }


class ChatReply(Reply):
    def opening(self, count: int) -> Iterable[ChatChunk]:
        """What comes before the first text: whose message each choice is."""
        for index in range(count):
            yield self._chunk([ChatChunkChoice(index=index, delta={"role": "assistant"})])

    def chunk(self, update: Update) -> ChatChunk:
        finished = update.finished
        choice = ChatChunkChoice(
            index=update.index,
            delta={"content": update.text} if update.pieces else {},
            logprobs=chat_logprobs(finished, self.tokenizer),
            finish_reason=reason(finished) if finished else None,
        )
        return self._chunk([choice])

    def ending(self, usage: Usage) -> ChatChunk:
        return self._chunk([], usage)

    def whole(self, texts: Sequence[Finished], usage: Usage) -> ChatAnswer:
        choices = [
            ChatChoice(
                index=index,
                message=AnswerMessage(content=finished.text),
                logprobs=chat_logprobs(finished, self.tokenizer),
                finish_reason=reason(finished),
            )
            for index, finished in enumerate(texts)
        ]
        return ChatAnswer(**self.head("chatcmpl"), choices=choices, usage=usage)

    def _chunk(self, choices: list[ChatChunkChoice], usage: Usage | None = None) -> ChatChunk:
        return ChatChunk(**self.head("chatcmpl"), choices=choices, usage=usage)


class TextReply(Reply):
    def opening(self, count: int) -> Iterable[TextAnswer]:
        return ()

    def chunk(self, update: Update) -> TextAnswer:
        finished = update.finished
        choice = TextChoice(
            index=update.index,
            text=update.text,
            logprobs=text_logprobs(finished, self.tokenizer),
            finish_reason=reason(finished) if finished else None,
        )
        return TextAnswer(**self.head("cmpl"), choices=[choice])

    def ending(self, usage: Usage) -> TextAnswer:
        return TextAnswer(**self.head("cmpl"), choices=[], usage=usage)

    def whole(self, texts: Sequence[Finished], usage: Usage) -> TextAnswer:
        choices = [
            TextChoice(
                index=index,
                text=finished.text,
                logprobs=text_logprobs(finished, self.tokenizer),
                finish_reason=reason(finished),
            )
            for index, finished in enumerate(texts)
        ]
        return TextAnswer(**self.head("cmpl"), choices=choices, usage=usage)
