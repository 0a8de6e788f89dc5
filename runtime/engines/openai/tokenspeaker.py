"""An engine that reads tokens in the place of an endpoint that reads text, when that one fails."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from parrotc.runtime.chat import Render
from parrotc.runtime.engines.openai.routing import Prefix
from parrotc.runtime.engines.protocol import (
    ContextId,
    Engine,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Usage,
    new_context,
)
from parrotc.runtime.prompts import Message, Messages, Part, Special
from parrotc.runtime.texts import ALPHABET, Said


@dataclass(frozen=True, slots=True)
class Fallback:
    """A model that is asked when another fails; `render` is there if it has a chat template."""

    name: str
    engine: Engine
    render: Render | None = None


class TokenSpeaker:
    """Puts messages through the model's template. Implements `engine.Speaker`."""

    def __init__(self, model: Fallback) -> None:
        self.name = model.name
        self._engine = model.engine
        self._render = model.render

    async def answer(
        self, said: Sequence[Said], request: GenerateRequest, prefix: Prefix, salt: str
    ) -> AsyncGenerator[Piece | Finished, None]:
        ids = self._ids(said)
        prompt, after = new_context(), new_context()
        asked = replace(request, context=after, parent=prompt)
        made: list[ContextId] = []
        try:
            await self._engine.fill([FillRequest(prompt, None, ids, salt=salt)])
            made.append(prompt)
            async with aclosing(self._engine.generate(asked)) as items:  # type: ignore[type-var]
                async for item in items:
                    if isinstance(item, Piece):
                        yield replace(item, ids=tuple(ALPHABET.encode(item.text)))
                    else:
                        made.append(after)
                        yield _as_text(item, len(ids))
        finally:
            if made:
                await self._engine.free(made)

    async def close(self) -> None:
        """The engine is its owner's to close."""

    def _ids(self, said: Sequence[Said]) -> tuple[int, ...]:
        tokenizer = self._engine.tokenizer
        if not said[0].role:
            bos = [] if tokenizer.bos is None else [tokenizer.bos]
            return (*bos, *tokenizer.encode("".join(one.text for one in said)))
        if self._render is None:
            raise EngineError("unsupported", f"the model `{self.name}` has no chat template")
        listed = Messages(tuple(Message(one.role, (one.text,)) for one in said), is_open=True)
        try:
            parts = self._render(listed)
        except ValueError as error:
            raise EngineError("unsupported", f"the model `{self.name}`: {error}") from None
        return tuple(_encoded(parts, tokenizer.encode))


def _encoded(parts: Sequence[Part], encode: Callable[[str], list[int]]) -> list[int]:
    """The ids of parts: what stands between special tokens is encoded as one text."""
    ids: list[int] = []
    pending = ""
    for part in (*parts, Special(())):
        if isinstance(part, Special):
            ids += [*(encode(pending) if pending else ()), *part.ids]
            pending = ""
        else:
            pending += part
    return ids


def _as_text(finished: Finished, prompt: int) -> Finished:
    ids = tuple(ALPHABET.encode(finished.text))
    usage = Usage(prompt, len(finished.ids))
    return replace(finished, ids=ids, kept=len(ids), rest="", logprobs=(), usage=usage)
