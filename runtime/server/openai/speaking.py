"""From what is asked of an engine to an answer, whole or as a stream of chunks."""

import time
from collections.abc import AsyncGenerator, Sequence

from aiohttp import web
from pydantic import BaseModel

from parrotc.runtime.engines.protocol import Engine, EngineError, Finished
from parrotc.runtime.server.metrics import Metrics
from parrotc.runtime.server.openai.answers import Usage
from parrotc.runtime.server.openai.replies import ChatReply, TextReply
from parrotc.runtime.server.openai.requests import Common
from parrotc.runtime.server.openai.texts import Asked, Outbox, Update, generating
from parrotc.runtime.server.sse import Event, tell

Reply = ChatReply | TextReply


class Told:
    """What has been read of an outbox: the texts that have ended, and what they cost."""

    def __init__(self, outbox: Outbox, asked: Sequence[Asked]) -> None:
        self.count = sum(len(one.samplings) for one in asked)
        self._outbox = outbox
        self._asked = asked
        self._texts: dict[int, Finished] = {}

    async def next(self) -> Update:
        update = await self._outbox.next()
        if update.finished is not None:
            self._texts[update.index] = update.finished
        return update

    @property
    def is_all(self) -> bool:
        return self._outbox.is_over

    @property
    def texts(self) -> Sequence[Finished]:
        """In the order in which they were asked for; all of them, once `is_all`."""
        return [self._texts[index] for index in sorted(self._texts)]

    @property
    def usage(self) -> Usage:
        """Each prompt counts once, however often it was continued."""
        prompt = cached = generated = first = 0
        for one in self._asked:
            known = self._texts.get(first)
            cost = known.usage if known else None
            prompt += cost.prompt if cost else one.length
            cached += cost.cached if cost else 0
            first += len(one.samplings)
        for text in self._texts.values():
            generated += text.usage.generated if text.usage else len(text.ids)
        return Usage.of(prompt, generated, cached)


async def speak(
    request: web.Request,
    body: Common,
    engine: Engine,
    asked: Sequence[Asked],
    reply: Reply,
    metrics: Metrics,
) -> BaseModel | web.StreamResponse:
    """Generate and answer. What fails before a word is said is raised, for an answer with a status;
    what fails later is the last event of the stream."""
    began = time.monotonic()
    async with generating(engine, asked) as outbox:
        told = Told(outbox, asked)
        try:
            await outbox.arrived()
            metrics.first_token.labels(reply.model).observe(time.monotonic() - began)
            if body.stream:
                return await tell(request, _chunks(body, told, reply), error="")
            while not told.is_all:
                await told.next()
            return reply.whole(told.texts, told.usage)
        finally:
            tokens = metrics.tokens
            tokens.labels(reply.model, "prompt").inc(told.usage.prompt_tokens)
            tokens.labels(reply.model, "completion").inc(told.usage.completion_tokens)


async def _chunks(body: Common, told: Told, reply: Reply) -> AsyncGenerator[Event, None]:
    """A text that an engine had to begin anew is an error once a client has seen its beginning."""
    begun: set[int] = set()
    for chunk in reply.opening(told.count):
        yield "", chunk.model_dump_json()
    while not told.is_all:
        update = await told.next()
        if update.restarts and update.index in begun:
            raise EngineError("restart", "an engine failed, and the text cannot be continued")
        if update.pieces:
            begun.add(update.index)
        yield "", reply.chunk(update).model_dump_json()
    if body.wants_usage:
        yield "", reply.ending(told.usage).model_dump_json()
    yield "", "[DONE]"
