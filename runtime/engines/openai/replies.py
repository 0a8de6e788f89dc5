"""The answer of an endpoint as it streams in: parts of it checked, text told once, and the end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from parrotc.runtime.engines.embedded.output import Output
from parrotc.runtime.engines.openai.clients import Broken
from parrotc.runtime.engines.openai.requests import Call
from parrotc.runtime.engines.protocol import EngineError, Finished, Piece, Usage
from parrotc.runtime.texts import ALPHABET, rough_count


@dataclass(frozen=True, slots=True)
class Place:
    """A token of an answer with its probability, and the most probable ones there with theirs."""

    token: str
    p: float
    best: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One event of a stream."""

    text: str = ""
    end: str = ""  # stop, length, content_filter
    refusal: str = ""
    usage: Usage | None = None
    places: tuple[Place, ...] = ()


def part_of(chunk: Any) -> Part:
    """The event as the `openai` package gives it, which checks nothing. Raises `Broken`."""
    try:
        usage = _usage(chunk.usage) if getattr(chunk, "usage", None) else None
        if chunk.choices == []:
            return Part(usage=usage)
        choice = chunk.choices[0]
        end = choice.finish_reason or ""
        delta = getattr(choice, "delta", None)
        text = (choice.text if delta is None else delta.content) or ""
        refusal = getattr(delta, "refusal", None) or ""
        if not (isinstance(text, str) and isinstance(end, str) and isinstance(refusal, str)):
            raise TypeError
        return Part(text, end, refusal, usage, _places(getattr(choice, "logprobs", None)))
    except (AttributeError, TypeError, ValueError, LookupError):
        raise Broken("its answer is not that of an OpenAI-compatible server") from None


def _usage(usage: Any) -> Usage:
    details = getattr(usage, "prompt_tokens_details", None)
    cached = getattr(details, "cached_tokens", None) or 0
    return Usage(int(usage.prompt_tokens), int(usage.completion_tokens or 0), int(cached))


def _places(logprobs: Any) -> tuple[Place, ...]:
    """Of the chat API, a list with a place for each token; of the other, a list for each thing."""
    if logprobs is None:
        return ()
    content = getattr(logprobs, "content", None)
    if content is not None:
        return tuple(
            Place(
                one.token,
                math.exp(one.logprob),
                tuple((best.token, math.exp(best.logprob)) for best in one.top_logprobs),
            )
            for one in content
        )
    tops = getattr(logprobs, "top_logprobs", None) or ()
    return tuple(
        Place(token, math.exp(p), tuple((text, math.exp(value)) for text, value in best.items()))
        for token, p, best in zip(logprobs.tokens or (), logprobs.token_logprobs, tops, strict=True)
    )


class Reply:
    """What one generation has answered. After `again` it may be answered from the start: what was
    told is not told a second time, and an answer that begins otherwise is no use."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self._told = ""
        self.again()

    def again(self) -> None:
        self.usage: Usage | None = None
        self.places: list[Place] = []
        self._output = Output(ALPHABET, self.call.stop)
        self._end = ""
        self._at = 0
        self._answer = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing that is still to come changes the value."""
        return self._output.is_stopped

    def push(self, part: Part) -> str:
        """What more there is to show. Raises `EngineError` for a refusal, and for an answer that is
        another one than before."""
        if part.refusal or part.end == "content_filter":
            why = part.refusal or "its content filter stopped the answer"
            raise EngineError("refused", f"the endpoint refuses to answer: {why}")
        self.usage = part.usage or self.usage
        self.places += part.places
        self._end = part.end or self._end
        self._answer += part.text
        if self.call.asked.value is not None:
            return ""  # it is JSON, and the value is inside
        return self._new("".join(map(self._read, part.text)))

    def _read(self, character: str) -> str:
        return "" if self.is_over else self._output.push(ord(character)).text

    @property
    def cost(self) -> Usage:
        """What the answer has cost; about, where the endpoint does not tell."""
        return self.usage or Usage(self.call.size, rough_count(len(self._answer)))

    def require_end(self) -> None:
        """Raises `Broken` if the answer is not complete."""
        if not self._end and not self.is_over:
            raise Broken("its answer broke off")

    def finished(self) -> tuple[str, Finished]:
        """The last of the text, and the end. Raises `EngineError` if it is not what was asked."""
        reason = self._reason()
        value = self.call.asked.value
        if value is not None:
            text = self._answer if reason == "length" else value(self._answer)
            ids = tuple(ALPHABET.encode(text))
            return self._last(text), self._counted(Finished(reason, text, ids, len(ids)))
        last, whole = self._output.finished(reason)
        ids = tuple(ALPHABET.encode(whole.text))
        return self._last(last.text), self._counted(Finished(reason, whole.text, ids, len(ids)))

    def _reason(self) -> str:
        if self.is_over:
            return "stop"
        if self._end == "length":
            return "length"
        return "constraint" if self.call.asked.fields else "end"

    def _counted(self, finished: Finished) -> Finished:
        return replace(finished, usage=self.cost)

    def _last(self, text: str) -> str:
        fresh = self._new(text)
        if self._at < len(self._told):
            raise _another()
        return fresh

    def _new(self, text: str) -> str:
        known = self._told[self._at : self._at + len(text)]
        if not text.startswith(known):
            raise _another()
        self._at += len(text)
        self._told += text[len(known) :]
        return text[len(known) :]


def _another() -> EngineError:
    message = "the endpoint broke off, and said something else when it was asked again"
    return EngineError("internal", message)


def pieces(text: str) -> Sequence[Piece]:
    """A text as pieces with their ids; none of the empty one."""
    return (Piece(text, tuple(ALPHABET.encode(text))),) if text else ()
