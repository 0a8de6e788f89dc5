"""OpenAI's routes: `/v1/models`, `/v1/chat/completions`, `/v1/completions`.

Each prompt is filled once, whatever `n` is. A client that goes away cancels what it asked for.
Where logprobs are asked for in a stream, they come with the last chunk of their text.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from aiohttp import web
from pydantic import BaseModel

from parrotc.ir.tokenhash import draw_key
from parrotc.runtime.core.errors import NotFound
from parrotc.runtime.engines.protocol import Constraint, Engine, Sampling
from parrotc.runtime.server.metrics import Metrics
from parrotc.runtime.server.openai import prompts
from parrotc.runtime.server.openai.answers import ChatAnswer, ModelEntry, ModelList, TextAnswer
from parrotc.runtime.server.openai.prompts import Tokenizer
from parrotc.runtime.server.openai.replies import ChatReply, TextReply
from parrotc.runtime.server.openai.requests import (
    ChatRequest,
    CompletionRequest,
    ResponseFormat,
    SchemaFormat,
    TextFormat,
)
from parrotc.runtime.server.openai.speaking import speak
from parrotc.runtime.server.openai.texts import Asked
from parrotc.runtime.server.routes import Call, Nothing, Route
from parrotc.runtime.texts import ALPHABET

P = ParamSpec("P")
T = TypeVar("T")

_MOST = 4 << 20  # bytes of a body: reading one with a million token ids takes a tenth of a second
_LONG = 1 << 14  # characters
_OF_TEXT = 4096  # where an endpoint that reads text alone knows what fits
_SHORT = 16  # tokens of a plain completion that says nothing of its length, as at OpenAI


def routes(metrics: Metrics) -> Iterator[Route]:
    """`metrics` is told of tokens and of the time to the first."""

    async def chat(call: Call[ChatRequest]) -> BaseModel | web.StreamResponse:
        body = call.body
        async with _engine(call) as engine:
            tokenizer = engine.tokenizer
            template = call.core.template(body.model)
            size = sum(len(message.text) for message in body.messages)
            ids = await _beside(size, prompts.of_messages, body.messages, tokenizer, template)
            limit = body.limit or _longest(tokenizer)
            asked = _asked(body, [ids], tokenizer, limit)
            reply = ChatReply(body.model, tokenizer)
            return await speak(call.request, body, engine, asked, reply, metrics)

    async def complete(call: Call[CompletionRequest]) -> BaseModel | web.StreamResponse:
        body = call.body
        async with _engine(call) as engine:
            tokenizer = engine.tokenizer
            ids = [
                await _beside(len(prompt), prompts.of_prompt, prompt, tokenizer)
                for prompt in body.prompts
            ]
            asked = _asked(body, ids, tokenizer, body.max_tokens or _SHORT)
            reply = TextReply(body.model, tokenizer)
            return await speak(call.request, body, engine, asked, reply, metrics)

    yield Route("GET", "/v1/models", _models, "The models that are served.", answer=ModelList)
    yield Route("GET", "/v1/models/{model}", _model, "One of the models.", answer=ModelEntry)
    yield Route(
        "POST", "/v1/chat/completions", chat, "The assistant's next message.",
        body=ChatRequest, answer=ChatAnswer, streams=True, most=_MOST,
    )  # fmt: skip
    yield Route(
        "POST", "/v1/completions", complete, "What comes after a text.",
        body=CompletionRequest, answer=TextAnswer, streams=True, most=_MOST,
    )  # fmt: skip


async def _models(call: Call[Nothing]) -> ModelList:
    entries = [_entry(name) for name in call.core.models()]
    return ModelList(data=entries, models=entries)


async def _model(call: Call[Nothing]) -> ModelEntry:
    name = call.path("model")
    if name not in call.core.models():
        raise NotFound(f"there is no model `{name[:100]}`")
    return _entry(name)


def _entry(name: str) -> ModelEntry:
    return ModelEntry(id=name, model_name=name, tokenizer_name=name)


@asynccontextmanager
async def _engine(call: Call[ChatRequest] | Call[CompletionRequest]) -> AsyncIterator[Engine]:
    """An engine for this one request. Nothing of the request stays in it."""
    engine = call.core.client(call.tenant, call.body.model)
    try:
        yield engine
    finally:
        await engine.close()


async def _beside(size: int, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """What tokenises `size` characters: many of them on a thread, so that others need not wait."""
    if size > _LONG:
        return await asyncio.to_thread(work, *args, **options)
    return work(*args, **options)


def _longest(tokenizer: Tokenizer) -> int:
    """Tokens of an answer to a chat that says nothing of its length."""
    most: int = tokenizer.context_length
    return _OF_TEXT if tokenizer is ALPHABET else most


def _asked(
    body: ChatRequest | CompletionRequest,
    prompts_: Sequence[list[int]],
    tokenizer: Tokenizer,
    limit: int,
) -> list[Asked]:
    """`limit` is the most tokens of one text. Every text has a draw of its own; with a `seed`, the
    same request gives the same texts."""
    seed = secrets.randbits(63) if body.seed is None else body.seed
    wanted = _constraint(body.response_format) if isinstance(body, ChatRequest) else None
    specials = frozenset(tokenizer.specials.values())
    asked = []
    for number, ids in enumerate(prompts_):
        most = min(limit, tokenizer.context_length - len(ids))
        keys = (draw_key(seed, "", (number, choice)) for choice in range(body.choices))
        samplings = tuple(_sampling(body, most, key) for key in keys)
        asked.append(Asked(prompts.pieces(ids, specials), samplings, wanted))
    return asked


def _sampling(body: ChatRequest | CompletionRequest, max_tokens: int, key: int) -> Sampling:
    return Sampling(
        max_tokens=max_tokens,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        top_k=max(0, body.top_k),
        min_p=body.min_p,
        stop=body.stops,
        key=key,
        repetition_penalty=body.repetition_penalty,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        stop_ids=tuple(body.stop_token_ids or ()),
        ignore_eos=body.ignore_eos,
        min_tokens=body.min_tokens,
        logprobs=body.best,
    )


def _constraint(wanted: ResponseFormat | None) -> Constraint | None:
    if wanted is None or isinstance(wanted, TextFormat):
        return None
    schema = wanted.json_schema.schema_ if isinstance(wanted, SchemaFormat) else {"type": "object"}
    return Constraint(json_schema=json.dumps(schema, ensure_ascii=False, separators=(",", ":")))
