"""Engines that record what another one answers, and engines that answer from a recording.

    engine = RecordingEngine(engine, Recorder(path, model))     # answers as `engine` does
    engine = ReplayEngine(read(path), model)                    # answers as that one did

Pieces, ids, scores and log-probabilities come back as they were, so every token after them is the
same too. What was not recorded is an `EngineError` with the code `unrecorded`; its notes say how
the nearest recorded prompt differs.
"""

import asyncio
import difflib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any, cast

from parrotc.runtime.engines.hashcontexts import Context, Contexts, ids_of
from parrotc.runtime.engines.protocol import (
    ContextId,
    Engine,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Hurrying,
    Piece,
)
from parrotc.runtime.engines.recording import (
    Answer,
    RecordedModel,
    Recorder,
    Recording,
    asked,
    key,
)

_COMPARED = 4_000  # characters of a prompt, to find the nearest one
_SHOWN = 40  # characters around the first difference


class RecordingEngine:
    """Implements `Engine` and `Hurrying`: what `engine` answers is recorded too."""

    def __init__(self, engine: Engine, recorder: Recorder) -> None:
        self.tokenizer = engine.tokenizer
        self._engine = engine
        self._recorder = recorder
        self._contexts = Contexts(self.tokenizer.context_length)

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        made = self._contexts.made(requests)
        await self._engine.fill(requests)
        for name, context in made.items():
            self._contexts.keep(name, context)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        pieces: list[Piece] = []
        with self._contexts.held(request.parent) as parent:
            # every engine's `generate` is a generator: closing it is how it is cancelled
            answer = cast(Any, self._engine.generate(request))
            async with aclosing(answer):
                async for item in answer:
                    if isinstance(item, Piece):
                        pieces = [] if item.restart else pieces
                        pieces.append(item)
                    else:
                        self._finish(parent, request, tuple(pieces), item)
                    yield item

    def _finish(
        self,
        parent: Context,
        request: GenerateRequest,
        pieces: tuple[Piece, ...],
        finished: Finished,
    ) -> None:
        self._contexts.go_on(request, parent, finished)
        ids, model = ids_of(parent), self._recorder.model.name
        prompt = self.tokenizer.decode(ids)
        found = key(model, ids, request)
        self._recorder.add(Answer(model, found, prompt, asked(request), pieces, finished))

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        await self._engine.free(contexts, dead)
        self._contexts.free(contexts)

    async def hurry(self, contexts: Sequence[ContextId]) -> None:
        if isinstance(self._engine, Hurrying):
            await self._engine.hurry(contexts)

    async def ping(self) -> EngineInfo:
        return await self._engine.ping()

    async def close(self) -> None:
        await self._engine.close()
        self._contexts.clear()


class ReplayEngine:
    """Implements `Engine`: it says what is recorded of `model`, and nothing else."""

    def __init__(self, recording: Recording, model: RecordedModel) -> None:
        self.tokenizer = model.tokenizer()
        self._recording = recording
        self._model = model
        self._contexts = Contexts(self.tokenizer.context_length)
        self._generated = 0

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        self._contexts.fill(requests)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        with self._contexts.held(request.parent) as parent:
            ids = ids_of(parent)
            answer = self._recording.answers.get(key(self._model.name, ids, request))
            if answer is None:
                raise self._unrecorded(ids, request)
            for piece in answer.pieces:
                yield piece
                await asyncio.sleep(0)
            finished = answer.finished
            self._contexts.go_on(request, parent, finished)
            self._generated += len(finished.ids)
        yield finished

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        self._contexts.free(contexts)

    async def ping(self) -> EngineInfo:
        return EngineInfo(
            engine="replay",
            model=self._model.name,
            fingerprint=self.tokenizer.fingerprint,
            context_length=self.tokenizer.context_length,
            contexts=len(self._contexts.named),
            cached_tokens=self._contexts.tokens,
            generated_tokens=self._generated,
        )

    async def close(self) -> None:
        self._contexts.clear()

    def _unrecorded(self, ids: Sequence[int], request: GenerateRequest) -> EngineError:
        error = EngineError("unrecorded", f"{self._recording.name} has no answer to this call")
        prompt = self.tokenizer.decode(ids)
        known = [a for a in self._recording.answers.values() if a.model == self._model.name]
        nearest = _nearest(prompt, asked(request), known)
        notes = _differences(prompt, asked(request), nearest) if nearest else ()
        for note in notes or (f"it has no answers of `{self._model.name}`",):
            error.add_note(note)
        return error


# --- what was nearly recorded ---


def _nearest(prompt: str, wanted: dict[str, Any], known: Sequence[Answer]) -> Answer | None:
    """The answer to the most similar prompt; of the same prompt, the one asked for most alike."""
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(prompt[-_COMPARED:])  # the end is what calls of one function differ in

    def likeness(answer: Answer) -> tuple[bool, float, bool]:
        matcher.set_seq1(answer.prompt[-_COMPARED:])
        return answer.prompt == prompt, matcher.quick_ratio(), answer.asked == wanted

    return max(known, key=likeness, default=None)


def _differences(prompt: str, wanted: dict[str, Any], nearest: Answer) -> Iterator[str]:
    """How the call differs from the nearest recorded one."""
    if prompt != nearest.prompt:
        at = _first_difference(prompt, nearest.prompt)
        yield f"the nearest recorded prompt differs from character {at:,} on"
        yield f"recorded: {_around(nearest.prompt, at)}"
        yield f"asked:    {_around(prompt, at)}"
    settings = [n for n in {**nearest.asked, **wanted} if nearest.asked.get(n) != wanted.get(n)]
    for name in settings:
        recorded, now = nearest.asked.get(name), wanted.get(name)
        yield f"`{name}` was {_said(recorded)}, and is {_said(now)}"
    if prompt == nearest.prompt and not settings:
        yield "a prompt of the same text is recorded, in other tokens"


def _said(value: Any) -> str:
    return "not given" if value is None else repr(value)


def _first_difference(left: str, right: str) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))


def _around(text: str, at: int) -> str:
    start, end = max(0, at - _SHOWN), at + _SHOWN
    cut = repr(text[start:end])[1:-1]
    return f"{'…' * (start > 0)}{cut}{'…' * (end < len(text))}"
