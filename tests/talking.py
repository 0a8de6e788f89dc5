"""Talking to a text engine without a plan: messages in, a value out."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from endpoints import Standin

from parrotc.runtime.engines.openai.endpoint import Endpoint
from parrotc.runtime.engines.openai.engine import TextEngine
from parrotc.runtime.engines.openai.options import read_options
from parrotc.runtime.engines.protocol import (
    Constraint,
    FillRequest,
    Finished,
    GenerateRequest,
    Sampling,
)
from parrotc.runtime.texts import TextPrompt, TextSession

names = count(1)


@dataclass
class Talk:
    """An engine of one endpoint; `waits` are the seconds it would have waited between tries."""

    engine: TextEngine
    endpoint: Endpoint
    waits: list[float] = field(default_factory=list)

    async def context(
        self, *messages: tuple[str, str], parent: int | None = None, shared: bool = False,
        salt: str = "",
    ) -> int:  # fmt: skip
        """A context with these messages; the last one is open. No role: text outside of them."""
        ids = ids_of(messages)
        name = next(names)
        await self.engine.fill([FillRequest(name, parent, ids, shared=shared, salt=salt)])
        return name

    async def say(
        self, context: int, constraint: Constraint | None = None, *, latency: bool = False,
        rank: float = 0.0, **sampling: Any,
    ) -> Finished:  # fmt: skip
        """The end of a generation, whose pieces must be its text."""
        request = GenerateRequest(
            next(names), context, Sampling(**{"max_tokens": 12, **sampling}), constraint,
            rank=rank, latency=latency,
        )  # fmt: skip
        text = ""
        async for item in self.engine.generate(request):
            if isinstance(item, Finished):
                assert item.text == text
                return item
            assert "".join(map(chr, item.ids)) == item.text
            text += item.text
        raise AssertionError("a generation ends with Finished")

    async def ask(self, *messages: tuple[str, str], **more: Any) -> Finished:
        constraint = more.pop("constraint", None)
        return await self.say(await self.context(*messages), constraint, **more)


def ids_of(messages: Sequence[tuple[str, str]]) -> tuple[int, ...]:
    """The ids of messages as a run makes them."""
    prompt: Any = TextPrompt("m", TextSession(_Nobody(), 1 << 40, 1), _Nobody.tokenizer)
    for number, (role, text) in enumerate(messages):
        if number:
            prompt = prompt.end_message()
        if role:
            prompt = prompt.start_message(role)
        prompt = prompt.fill([text])
    node, ids = prompt.flush(), ()
    while node is not None:
        ids, node = (*node.ids, *ids), node.parent
    return ids


class _Nobody:
    from parrotc.runtime.texts import ALPHABET as tokenizer


@asynccontextmanager
async def talking(
    servers: Standin | Sequence[Standin], *, model: str = "m", environ: Any = None, **options: Any
) -> AsyncIterator[Talk]:
    """An engine that talks to stand-ins. It waits between tries in no time."""
    listed = [servers] if isinstance(servers, Standin) else servers
    given = {"base_url": [one.url for one in listed], **options}
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    endpoint = Endpoint(
        read_options("openai", model, given, environ or {}), rng=random.Random(0), sleep=sleep
    )
    engine = TextEngine([endpoint])
    try:
        yield Talk(engine, endpoint, waits)
    finally:
        await engine.close()


USER = ("user", "What is it?")
OPEN = ("assistant", "")
