"""The `transformers` engine: any causal language model of Hugging Face's, one sequence at a time.

    engine = open_huggingface("hf:org/name")

Slow and general, so it is the cross-check of the embedded engine: the model's code and its cache
are Hugging Face's, the sampling and the grammars ours. A context keeps the cache of its whole
sequence, which is never changed again: whoever goes on from it copies the cache first, so a prefix
is computed once, however many continue it. All of torch's work is done on one thread, a step of one
sequence at a time; sequences take turns.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from parrotc.runtime.engines.cachedmodel import CachedModel, State, load_model
from parrotc.runtime.engines.embedded.generation import Generation, Post
from parrotc.runtime.engines.embedded.grammar import Grammars
from parrotc.runtime.engines.embedded.sampler import draw, draw_batch
from parrotc.runtime.engines.embedded.scoring import logprobs, pick, probabilities
from parrotc.runtime.engines.protocol import (
    Ability,
    ContextId,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.models import Progress, load_tokenizer, resolve
from parrotc.runtime.tokenizer import Tokenizer

T = TypeVar("T")
Ids = tuple[int, ...]


def open_huggingface(
    spec: str,
    *,
    threads: int = 0,
    precision: str = "float32",
    device: str = "cpu",
    progress: Progress | None = None,
    folder: Path | None = None,
) -> "HuggingfaceEngine":
    """Load a model. Blocks. Raises `ModelError`, `ValueError` for a precision that does not
    exist."""
    files = resolve(spec, progress, folder=folder)
    tokenizer = load_tokenizer(files)
    model = load_model(files, precision, device, tokenizer.vocab_size)
    if model.reach < tokenizer.context_length:
        tokenizer.context_length = int(model.reach)
        if progress:
            progress(f"contexts hold {tokenizer.context_length:,} tokens: beyond, longrope begins")
    return HuggingfaceEngine(
        model, tokenizer, name=files.name, precision=precision, threads=threads
    )


@dataclass(frozen=True, slots=True)
class _Context:
    """The tokens `ids`, all of them; `state` is that of the first `state.length` and stays so."""

    ids: Ids = ()
    state: State = field(default_factory=State)


_EMPTY = _Context()


class HuggingfaceEngine:
    """Implements `Engine`. `threads` are those of one operation; 0 leaves them to torch."""

    def __init__(
        self,
        model: CachedModel,
        tokenizer: Tokenizer,
        *,
        name: str,
        precision: str,
        threads: int = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self._model = model
        self._name = name
        self._precision = precision
        self._grammars = Grammars(tokenizer)
        self._contexts: dict[ContextId, _Context] = {}
        self._running = self._filled = self._generated = 0
        self._is_closed = False
        start = partial(torch.set_num_threads, threads) if threads else None
        self._thread = ThreadPoolExecutor(1, "parrotc-transformers", start)

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        made: dict[ContextId, _Context] = {}
        lengths: dict[ContextId, int] = {}
        for request in requests:  # all are checked, and their parents held, before any is computed
            if request.parent is not None and request.parent not in lengths:
                made[request.parent] = self._get(request.parent)
            self._check(request, made, lengths)
        for request in requests:
            parent = _EMPTY if request.parent is None else made[request.parent]
            made[request.context] = await self._do(self._grown, parent, request.ids)
        for name in lengths:  # by now another may have been made
            self._require_new(name)
        self._contexts |= {name: made[name] for name in lengths}
        self._filled += sum(len(request.ids) for request in requests)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        parent = self._get(request.parent)
        self._require_new(request.context)
        room = self._room(parent, request)
        self._running += 1
        try:
            wanted = request.constraint
            if wanted is not None and wanted.scored and wanted.choices:
                finished, state = await self._do(self._rated, request, parent, wanted.choices)
                yield Piece(finished.text, finished.ids)
            else:
                pieces: list[Piece | Finished | EngineError] = []
                run = await self._do(self._started, request, parent, room, pieces.append)
                while run.reason is None:
                    await self._do(run.step)
                    for piece in pieces:
                        assert isinstance(piece, Piece), "its end is asked for, not posted"
                        yield piece
                    pieces.clear()
                rest, finished = run.generation.finished(run.reason)
                if rest.text:
                    yield rest
                # what was computed beyond what is kept cannot be taken back
                state = run.state if run.fed <= finished.kept else parent.state
        finally:
            self._running -= 1
        self._require_new(request.context)
        kept = finished.ids[: finished.kept]
        self._contexts[request.context] = _Context(parent.ids + kept, state)
        self._generated += len(finished.ids)
        yield finished

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        for context in contexts:
            self._get(context)
            del self._contexts[context]

    async def ping(self) -> EngineInfo:
        return EngineInfo(
            engine="transformers",
            model=self._name,
            fingerprint=self.tokenizer.fingerprint,
            context_length=self.tokenizer.context_length,
            precision=self._precision,
            running=self._running,
            contexts=len(self._contexts),
            # a context has the cache of its whole sequence, so this is what they really hold
            cached_tokens=sum(context.state.length for context in self._contexts.values()),
            filled_tokens=self._filled,
            generated_tokens=self._generated,
            ability=Ability(slots=1, shares=False, caches=False),
        )

    async def close(self) -> None:
        """End what is going on with the code `cancelled`, and stop the thread."""
        self._is_closed = True
        self._contexts.clear()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    # --- what may be asked ---

    def _get(self, context: ContextId) -> _Context:
        try:
            return self._contexts[context]
        except KeyError:
            raise EngineError("unknown_context", f"there is no context {context}") from None

    def _require_new(self, context: ContextId) -> None:
        if context in self._contexts:
            raise EngineError("invalid", f"context {context} exists already")

    def _require_tokens(self, ids: Sequence[int]) -> None:
        if any(not 0 <= token < self.tokenizer.vocab_size for token in ids):
            raise EngineError("invalid", "some ids are no tokens of this model")

    def _check(
        self,
        request: FillRequest,
        made: Mapping[ContextId, _Context],
        lengths: dict[ContextId, int],
    ) -> None:
        """Check a fill, and note how long its context will be."""
        self._require_new(request.context)
        if request.context in lengths:
            raise EngineError("invalid", f"context {request.context} exists already")
        self._require_tokens(request.ids)
        length = len(request.ids)
        if request.parent is not None:
            known = lengths.get(request.parent)
            length += len(made[request.parent].ids) if known is None else known
        limit = self.tokenizer.context_length
        if length > limit:
            words = f"{length:,} tokens are more than the model's {limit:,}"
            raise EngineError("context_length", words)
        lengths[request.context] = length

    def _room(self, parent: _Context, request: GenerateRequest) -> int:
        """How many tokens there may be by the model's context."""
        if not parent.ids:
            raise EngineError("invalid", "there is nothing to continue: the context is empty")
        if request.sampling.max_tokens < 1:
            raise EngineError("invalid", "a generation of no tokens was asked for")
        self._require_tokens(request.said)
        room = self.tokenizer.context_length - len(parent.ids)
        if room <= 0:
            words = f"the context is full with {len(parent.ids):,} tokens"
            raise EngineError("context_length", words)
        return room

    # --- on the worker's thread ---

    async def _do(self, work: Callable[..., T], *args: Any) -> T:
        """What `work` gives, done on the worker's thread."""

        def run() -> T:
            with torch.inference_mode():
                return work(*args)

        if self._is_closed:
            raise EngineError("cancelled", "the engine is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except EngineError:
            raise
        except asyncio.CancelledError:
            if self._is_closed:
                raise EngineError("cancelled", "the engine was closed") from None
            raise
        except Exception as error:
            raise EngineError("internal", f"{type(error).__name__}: {error}") from None

    def _grown(self, parent: _Context, ids: Ids) -> _Context:
        whole = parent.ids + ids
        if len(whole) == parent.state.length:
            return _Context(whole, parent.state)
        state = parent.state.copy()
        self._model.feed(state, whole[state.length :])
        return _Context(whole, state)

    def _opened(self, parent: _Context) -> State:
        """A state of all tokens of `parent` that may grow."""
        state = parent.state.copy()
        self._model.feed(state, parent.ids[state.length :])
        return state

    def _started(self, request: GenerateRequest, parent: _Context, room: int, post: Post) -> "_Run":
        generation = Generation(
            request,
            self.tokenizer,
            self._grammars,
            prompt=lambda: parent.ids,
            room=room,
            post=post,
        )
        state = self._opened(parent)
        self._model.feed(state, request.said)
        return _Run(self._model, state, generation)

    def _rated(
        self, request: GenerateRequest, parent: _Context, choices: Sequence[str]
    ) -> tuple[Finished, State]:
        """One of `choices` by its probability, and the state of all its tokens but the last."""
        start = self._opened(parent)
        options = [tuple(self.tokenizer.encode(text)) for text in choices]
        states, rows = [], []
        for ids in options:
            state = start.copy()
            inside = self._model.feed(state, ids[:-1], keep_all=True)
            states.append(state)
            rows.append(torch.cat([start.logits[None], inside]))
        p = probabilities(_AS_THEY_ARE, options, rows)
        sampling = request.sampling
        chosen = pick(p, sampling, draw(sampling.key, 0))
        ids, text = options[chosen], choices[chosen]
        scores = tuple(zip(choices, p, strict=True))
        finished = Finished("constraint", text, ids, len(ids), scores=scores)
        if sampling.logprobs >= 0:
            said = logprobs(_AS_THEY_ARE, ids, rows[chosen], sampling.logprobs)
            finished = replace(finished, logprobs=said)
        return finished, states[chosen]


class _Run:
    """A generation and the state it is drawn from: `fed` of its tokens have gone into that."""

    def __init__(self, model: CachedModel, state: State, generation: Generation) -> None:
        self.state = state
        self.generation = generation
        self.fed = len(generation.request.said)
        self.reason: str | None = None
        self._model = model

    def step(self) -> None:
        """One more token; `reason` is set by the last."""
        (drawn,) = draw_batch(self.state.logits[None].clone(), [self.generation])
        self.reason = self.generation.take(drawn)
        if self.reason is None:
            self._model.feed(self.state, self.generation.tokens)
            self.fed += len(self.generation.tokens)


class _Logits:
    """What `scoring` takes for a model: here the states are logits already."""

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden


_AS_THEY_ARE = _Logits()
