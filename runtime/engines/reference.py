"""The reference engine: a model whose next token is a hash of the exact tokens before it.

It reads every token back through its own tree of contexts, as attention would, so a wrong parent,
a lost token or a context freed too early shows up as another text. What it says is `ir/hashvalue`,
the same as the meaning of programs says: both must agree to the id. Instant, and without torch.

    engine = ReferenceEngine(latency=0.01, fault=lambda request: rng.random() < 0.1)
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from parrotc.ir.hashvalue import value_ids
from parrotc.ir.tokenhash import extend, start
from parrotc.runtime.engines.embedded.output import Output
from parrotc.runtime.engines.protocol import (
    Constraint,
    ContextId,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
    TokenLogprob,
)
from parrotc.runtime.tokenizer import ByteTokenizer, Tokenizer

Fault = Callable[[FillRequest | GenerateRequest], bool]

_PIECE = 4  # characters
_SILENT = 99  # times that nothing can be said: then every word it has is a stop id


@dataclass(slots=True)
class _Context:
    """Its own tokens after its parent's. `holders`: the caller, and every child."""

    parent: "_Context | None"
    ids: tuple[int, ...]
    length: int
    holders: int = 1


class ReferenceEngine:
    """Implements `Engine`. `latency` is waited before every piece of work, in seconds; a request
    for which `fault` says so fails with the code `internal`."""

    def __init__(
        self,
        tokenizer: Tokenizer | ByteTokenizer | None = None,
        *,
        latency: float = 0.0,
        fault: Fault | None = None,
    ) -> None:
        self.tokenizer = tokenizer or ByteTokenizer()
        self._latency = latency
        self._fault = fault
        self._contexts: dict[ContextId, _Context] = {}
        self._running = self._cached = self._filled = self._generated = 0

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        await self._work(*requests)
        made: dict[ContextId, _Context] = {}
        for request in requests:  # all are checked before any is kept
            if request.context in self._contexts or request.context in made:
                raise EngineError("internal", f"context {request.context} exists already")
            parent = made.get(request.parent) if request.parent is not None else None
            if request.parent is not None and parent is None:
                parent = self._get(request.parent)
            made[request.context] = self._grown(parent, request.ids)
        for context, node in made.items():
            self._keep(context, node)
            self._filled += len(node.ids)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        self._running += 1
        parent: _Context | None = None
        try:
            await self._work(request)
            parent = self._get(request.parent)
            parent.holders += 1
            drawn = self._draw(parent, request)
            for at in range(0, len(drawn.text), _PIECE):
                yield Piece(drawn.text[at : at + _PIECE])
                await asyncio.sleep(0)
            self._keep(request.context, self._grown(parent, drawn.ids[: drawn.kept]))
            self._generated += len(drawn.ids)
        finally:
            self._running -= 1
            self._drop(parent)
        yield drawn

    async def free(self, contexts: Sequence[ContextId]) -> None:
        for context in contexts:
            node = self._get(context)
            del self._contexts[context]
            self._drop(node)

    async def ping(self) -> EngineInfo:
        return EngineInfo(
            engine="reference",
            model="hash",
            fingerprint=self.tokenizer.fingerprint,
            context_length=self.tokenizer.context_length,
            running=self._running,
            contexts=len(self._contexts),
            cached_tokens=self._cached,
            filled_tokens=self._filled,
            generated_tokens=self._generated,
        )

    async def close(self) -> None:
        self._contexts.clear()
        self._cached = 0

    async def _work(self, *requests: FillRequest | GenerateRequest) -> None:
        await asyncio.sleep(self._latency)
        if self._fault is not None and any(self._fault(request) for request in requests):
            raise EngineError("internal", "a fault was asked for")

    def _draw(self, parent: _Context, request: GenerateRequest) -> Finished:
        sampling, wanted = request.sampling, request.constraint or Constraint()
        state = _state(parent, sampling.key if sampling.temperature > 0 else 0)
        if request.constraint is None and _ends_its_own_way(sampling):
            finished = spoken(state, self.tokenizer, sampling)
        else:
            finished = self._value(state, sampling, wanted)
        if sampling.logprobs < 0:
            return finished
        return replace(finished, logprobs=_logprobs(finished.ids, sampling.logprobs))

    def _value(self, state: int, sampling: Sampling, wanted: Constraint) -> Finished:
        try:
            drawn = value_ids(
                state,
                self.tokenizer,
                max_tokens=sampling.max_tokens,
                stop=sampling.stop,
                choices=wanted.choices,
                regex=wanted.regex,
                json_schema=wanted.json_schema,
                scored=wanted.scored,
            )
        except ValueError as error:
            raise EngineError("constraint", str(error)) from None
        return Finished(drawn.reason, drawn.text, drawn.ids, drawn.kept, drawn.rest, drawn.scores)

    def _get(self, context: ContextId) -> _Context:
        try:
            return self._contexts[context]
        except KeyError:
            raise EngineError("unknown_context", f"there is no context {context}") from None

    def _grown(self, parent: _Context | None, ids: tuple[int, ...]) -> _Context:
        length = (parent.length if parent else 0) + len(ids)
        if length > self.tokenizer.context_length:
            raise EngineError(
                "context_length",
                f"{length:,} tokens are more than the model's {self.tokenizer.context_length:,}",
            )
        return _Context(parent, ids, length)

    def _keep(self, context: ContextId, node: _Context) -> None:
        if node.parent is not None:
            node.parent.holders += 1
        self._contexts[context] = node
        self._cached += len(node.ids)

    def _drop(self, node: _Context | None) -> None:
        """One holder less; what nobody holds goes, and so on up the tree."""
        while node is not None:
            node.holders -= 1
            if node.holders:
                return
            self._cached -= len(node.ids)
            node = node.parent


def _state(context: _Context | None, key: int) -> int:
    """The hash of every token from the root to `context`."""
    runs: list[tuple[int, ...]] = []
    while context is not None:
        runs.append(context.ids)
        context = context.parent
    state = start(key)
    for ids in reversed(runs):
        state = extend(state, ids)
    return state


def spoken(state: int, tokenizer: Tokenizer | ByteTokenizer, sampling: Sampling) -> Finished:
    """Free text that stops where `sampling` says, all of it: also by ids and by number of tokens.

    Where `value_ids` would end too early, what it says next follows. A stop id that may not come
    yet is left out; where that leaves nothing to say time after time, the end comes all the same.
    """
    output = Output(tokenizer, sampling.stop, sampling.min_tokens)
    silent = 0
    while silent < _SILENT:
        before = len(output.ids)
        ids = value_ids(state, tokenizer, max_tokens=1 << 30, stop=sampling.stop).ids
        for token in ids:
            may_stop = len(output.ids) >= sampling.min_tokens
            if token in sampling.stop_ids:
                if may_stop:
                    return output.finished("stop")[1]
                continue
            output.push(token)
            if output.is_stopped:
                return output.finished("stop")[1]
            if len(output.ids) == sampling.max_tokens:
                return output.finished("length")[1]
        if not sampling.ignore_eos and len(output.ids) >= sampling.min_tokens:
            break
        state = extend(state, ids)
        silent = silent + 1 if len(output.ids) == before else 0
    return output.finished("end")[1]


def _ends_its_own_way(sampling: Sampling) -> bool:
    return bool(sampling.stop_ids or sampling.ignore_eos or sampling.min_tokens)


def _logprobs(ids: Sequence[int], count: int) -> tuple[TokenLogprob, ...]:
    """This model is always certain: there is one token, and no penalty changes that."""
    return tuple(TokenLogprob(token, 0.0, ((token, 0.0),) if count else ()) for token in ids)
