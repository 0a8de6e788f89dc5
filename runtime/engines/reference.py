"""The reference engine: a model whose next token is a hash of the exact tokens before it.

It reads every token back through its own tree of contexts, as attention would, so a wrong parent,
a lost token or a context freed too early shows up as another text. What it says is `ir/hashvalue`,
the same as the meaning of programs says: both must agree to the id. Instant, and without torch.

    engine = ReferenceEngine(latency=0.01, fault=lambda request: rng.random() < 0.1)
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from parrotc.ir.hashvalue import value_ids
from parrotc.ir.tokenhash import extend
from parrotc.runtime.engines.embedded.output import Output
from parrotc.runtime.engines.hashcontexts import (
    Context,
    Contexts,
    drawn_value,
    pieces,
    require_said,
    state_after,
)
from parrotc.runtime.engines.protocol import (
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
        self._contexts = Contexts(self.tokenizer.context_length)
        self._running = self._filled = self._generated = 0

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        await self._work(*requests)
        self._filled += self._contexts.fill(requests)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        self._running += 1
        try:
            await self._work(request)
            with self._contexts.held(request.parent) as parent:
                drawn = self._draw(parent, request)
                require_said(request, drawn.ids)
                for piece in pieces(drawn, self.tokenizer, _PIECE):
                    yield piece
                    await asyncio.sleep(0)
                self._contexts.go_on(request, parent, drawn)
            self._generated += len(drawn.ids)
        finally:
            self._running -= 1
        yield drawn

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        self._contexts.free(contexts)

    async def ping(self) -> EngineInfo:
        return EngineInfo(
            engine="reference",
            model="hash",
            fingerprint=self.tokenizer.fingerprint,
            context_length=self.tokenizer.context_length,
            running=self._running,
            contexts=len(self._contexts.named),
            cached_tokens=self._contexts.tokens,
            filled_tokens=self._filled,
            generated_tokens=self._generated,
        )

    async def close(self) -> None:
        self._contexts.clear()

    async def _work(self, *requests: FillRequest | GenerateRequest) -> None:
        await asyncio.sleep(self._latency)
        if self._fault is not None and any(self._fault(request) for request in requests):
            raise EngineError("internal", "a fault was asked for")

    def _draw(self, parent: Context, request: GenerateRequest) -> Finished:
        state, sampling = state_after(parent, request), request.sampling
        if request.constraint is None and _ends_its_own_way(sampling):
            finished = spoken(state, self.tokenizer, sampling)
        else:
            drawn = drawn_value(state, self.tokenizer, request)
            finished = Finished(
                drawn.reason, drawn.text, drawn.ids, drawn.kept, drawn.rest, drawn.scores
            )
        if sampling.logprobs < 0:
            return finished
        return replace(finished, logprobs=_logprobs(finished.ids, sampling.logprobs))


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
