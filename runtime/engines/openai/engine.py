"""The engine of a text endpoint: contexts are kept here as text, and a generation is a request.

    engine = open_openai("qwen2.5-72b", base_url="http://gpu:8000/v1", profile="vllm")

Filling costs nothing and reaches nobody. When a generation comes, the context it continues is read
back as messages (`runtime.texts`) and sent whole; what servers keep of it they find by themselves.
"""

from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal, Protocol

from parrotc.runtime.engines.hashcontexts import Context, Contexts
from parrotc.runtime.engines.openai.endpoint import Endpoint, prefix_of
from parrotc.runtime.engines.openai.options import read_options
from parrotc.runtime.engines.openai.routing import Prefix
from parrotc.runtime.engines.openai.tokenspeaker import Fallback, TokenSpeaker
from parrotc.runtime.engines.protocol import (
    Ability,
    ContextId,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Speed,
)
from parrotc.runtime.texts import ALPHABET, Alphabet, Said, messages

_FINAL = {"cancelled"}  # errors that another model would not change
# room and time are the endpoint's own concern, and its `concurrency` bounds what it is asked
_ABILITY = Ability(
    slots=4096, tokens=ALPHABET.context_length, resumes=False, speed=Speed(step=0, read=0, fill=0)
)


class Speaker(Protocol):
    """What goes on with a list of messages: see `Endpoint.answer`."""

    @property
    def name(self) -> str: ...

    def answer(
        self, said: Sequence[Said], request: GenerateRequest, prefix: Prefix, salt: str
    ) -> AsyncGenerator[Piece | Finished, None]: ...

    async def close(self) -> None: ...


def open_openai(
    target: str,
    *,
    kind: str = "openai",
    fallback: Iterable[Fallback] = (),
    api_endpoint: Literal["", "auto", "chat", "completion"] = "",
    **options: Any,
) -> "TextEngine":
    """The engine of a `model` line of the kind `openai` or `azure`. Raises `ValueError`."""
    known = replace(read_options(kind, target, options), api_endpoint=api_endpoint)
    speakers: list[Speaker] = [Endpoint(known)]
    for model in fallback:
        engine = model.engine
        speakers += engine.speakers if isinstance(engine, TextEngine) else [TokenSpeaker(model)]
    return TextEngine(speakers)


class TextEngine:
    """Implements `Engine`. Where the first model fails for good, the next one is asked."""

    def __init__(self, speakers: Sequence[Speaker]) -> None:
        self.tokenizer: Alphabet = ALPHABET
        self.speakers = tuple(speakers)
        self._contexts = Contexts(ALPHABET.context_length)
        self._salts: dict[ContextId, str] = {}
        self._running = self._filled = self._generated = 0
        self._counters = {"requests": 0.0, "prompt_tokens": 0.0, "cached_tokens": 0.0}

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        for name, context in self._contexts.made(requests).items():
            self._contexts.keep(name, context)
        for request in requests:
            salt = request.salt or self._salts.get(request.parent or 0, "")
            if salt:
                self._salts[request.context] = salt

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        self._running += 1
        parent: Context | None = None
        finished: Finished | None = None
        try:
            parent = self._contexts.get(request.parent)
            parent.holders += 1
            async with aclosing(self._answer(parent, request)) as items:
                async for item in items:
                    if isinstance(item, Piece):
                        yield item
                    else:
                        finished = item
            assert finished is not None
            self._keep(request, parent, finished)
        finally:
            self._running -= 1
            self._contexts.drop(parent)
        yield finished

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        self._contexts.free(contexts)
        for name in contexts:
            self._salts.pop(name, None)

    async def ping(self) -> EngineInfo:
        return EngineInfo(
            engine="openai",
            model=self.speakers[0].name,
            fingerprint=ALPHABET.fingerprint,
            context_length=ALPHABET.context_length,
            running=self._running,
            contexts=len(self._contexts.named),
            filled_tokens=self._filled,
            generated_tokens=self._generated,
            counters=self._counters,
            ability=_ABILITY,
        )

    async def close(self) -> None:
        self._contexts.clear()
        for speaker in self.speakers:
            await speaker.close()

    # --- a generation ---

    async def _answer(
        self, parent: Context, request: GenerateRequest
    ) -> AsyncGenerator[Piece | Finished, None]:
        said = messages(_ids(parent))
        prefix, salt = _prefix(parent), self._salts.get(request.parent, "")
        has_told = False
        for number, speaker in enumerate(self.speakers, 1):
            self._counters["requests"] += 1
            try:
                async with aclosing(speaker.answer(said, request, prefix, salt)) as items:
                    async for item in items:
                        has_told = has_told or isinstance(item, Piece)
                        yield item
                return
            except EngineError as error:
                is_last = number == len(self.speakers)
                if has_told or is_last or error.code in _FINAL:
                    raise

    def _keep(self, request: GenerateRequest, parent: Context, finished: Finished) -> None:
        grown = self._contexts.grown(parent, finished.ids[: finished.kept])
        self._contexts.keep(request.context, grown)
        if request.parent in self._salts:
            self._salts[request.context] = self._salts[request.parent]
        usage = finished.usage
        if usage is not None:
            self._filled += usage.prompt - usage.cached
            self._generated += usage.generated
            self._counters["prompt_tokens"] += usage.prompt
            self._counters["cached_tokens"] += usage.cached


def _ids(context: Context) -> list[int]:
    return [token for one in reversed(list(context.path())) for token in one.ids]


def _prefix(context: Context) -> Prefix:
    """The longest part of a context that other calls share; if nobody knows, its first part."""
    path = list(context.path())
    shared = next((one for one in path if one.is_shared), None)
    chosen = shared or next((one for one in reversed(path) if one.ids), path[-1])
    return prefix_of(array("I", _ids(chosen)).tobytes(), chosen.length, shared is not None)
