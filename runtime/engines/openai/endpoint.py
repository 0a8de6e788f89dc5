"""One endpoint: sends a generation, reads the answer as it streams in, asks again if need be."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from hashlib import blake2b
from itertools import count
from typing import Any

import openai
from openai import AsyncOpenAI

from parrotc.runtime.engines.openai.clients import Again, Broken, again, failed, make_client, pause
from parrotc.runtime.engines.openai.detect import detect, only_model
from parrotc.runtime.engines.openai.limits import Limits, Sleep
from parrotc.runtime.engines.openai.options import Options
from parrotc.runtime.engines.openai.profiles import Profile
from parrotc.runtime.engines.openai.replies import Part, Place, Reply, part_of, pieces
from parrotc.runtime.engines.openai.requests import Call, call_of
from parrotc.runtime.engines.openai.routing import Prefix, Router, Server
from parrotc.runtime.engines.openai.scores import distribution
from parrotc.runtime.engines.protocol import (
    Constraint,
    EngineError,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.texts import ALPHABET, Said

NOTHING = Prefix(b"", 0, False)


class Endpoint:
    """One model behind one URL or several. What it says comes with characters for ids."""

    def __init__(
        self, options: Options, *, rng: random.Random | None = None, sleep: Sleep = asyncio.sleep
    ) -> None:
        self.options = options
        self.limits = Limits(options, sleep=sleep)
        self._router = Router(options.urls)
        self._clients = {url: make_client(options, url) for url in options.urls}
        self._rng = rng or random.Random()
        self._sleep = sleep
        self._known: asyncio.Future[tuple[str, Profile]] | None = None

    @property
    def name(self) -> str:
        return self.options.model or self.options.urls[0]

    async def answer(
        self,
        said: Sequence[Said],
        request: GenerateRequest,
        prefix: Prefix = NOTHING,
        salt: str = "",
    ) -> AsyncGenerator[Piece | Finished, None]:
        """The pieces of the text, then its end. Closing it closes the HTTP stream.

        Raises `EngineError` for what the endpoint cannot or will not do.
        """
        model, profile = await self._model()
        key = prefix.digest.hex() if prefix.is_shared else ""
        call = call_of(self.options, profile, said, request, salt=salt, prefix=key)
        reply = Reply(call)
        is_scored = request.constraint is not None and request.constraint.scored
        async with aclosing(self._texts(model, call, prefix, reply)) as texts:
            async for text in texts:
                for piece in () if is_scored else pieces(text):
                    yield piece
        last, finished = reply.finished()
        if is_scored:
            finished = await self._scored(finished, said, request, prefix, reply.places)
            last = finished.text
        for piece in pieces(last):
            yield piece
        yield finished

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()

    # --- one answer ---

    async def _texts(
        self, model: str, call: Call, prefix: Prefix, reply: Reply
    ) -> AsyncGenerator[str, None]:
        """What is shown of an answer until it is complete, however often it has to be asked for."""
        for tries in count():
            server = self._router.pick(prefix.digest)
            reply.again()
            try:
                async with aclosing(self._parts(server, model, call, prefix)) as parts:
                    async for part in parts:
                        yield reply.push(part)
                        if reply.is_over:
                            break
                reply.require_end()
                self.limits.spent(reply.cost)
                return
            except Exception as error:
                found = again(error, (self.options.api_key,))
            if isinstance(found, EngineError):
                raise found
            await self._wait(found, server, tries)

    async def _parts(
        self, server: Server, model: str, call: Call, prefix: Prefix
    ) -> AsyncGenerator[Part, None]:
        async with (
            self.limits.turn(call.size, call.most),
            self._router.turn(server, prefix) as begins,
        ):
            headers = self._headers(prefix)
            stream = await self._send(self._clients[server.url], model, call, headers)
            try:
                async for chunk in stream:
                    begins()
                    yield part_of(chunk)
            except (ValueError, TypeError):  # of the package, which expects JSON
                raise Broken("its answer is not that of an OpenAI-compatible server") from None
            except openai.APITimeoutError:
                raise
            except openai.APIConnectionError:
                raise Broken("its answer broke off") from None
            finally:
                await stream.close()

    def _headers(self, prefix: Prefix) -> dict[str, str]:
        name = self.options.prefix_header
        return {name: prefix.digest.hex()} if name else {}

    async def _send(
        self, client: AsyncOpenAI, model: str, call: Call, headers: dict[str, str]
    ) -> Any:
        more: Any = {"stream": True, "extra_body": call.fields, "extra_headers": headers}
        if call.is_chat:
            messages: Any = list(call.messages)
            return await client.chat.completions.create(model=model, messages=messages, **more)
        return await client.completions.create(model=model, prompt=call.text, **more)

    async def _wait(self, found: Again, server: Server, tries: int) -> None:
        if found.is_down:
            self._router.failed(server)
        if tries >= self.options.retries:
            times = f" (asked {tries + 1} times)" if tries else ""
            raise failed(self.name, found, times)
        is_elsewhere = found.is_down and found.wait is None and len(self._clients) > 1
        if not is_elsewhere or tries >= len(self._clients) - 1:
            await self._sleep(pause(found, tries, self._rng))

    # --- scores ---

    async def _scored(
        self,
        finished: Finished,
        said: Sequence[Said],
        request: GenerateRequest,
        prefix: Prefix,
        places: Sequence[Place],
    ) -> Finished:
        """The end with the probability of each choice. At temperature 0 the best is taken, which
        need not begin with the best token."""
        constraint = request.constraint
        assert constraint is not None and constraint.choices is not None

        async def ask(choices: tuple[str, ...]) -> Sequence[Place]:
            some = replace(request, constraint=Constraint(choices=choices, scored=True))
            model, profile = await self._model()
            reply = Reply(call_of(self.options, profile, said, some))
            async for _ in self._texts(model, reply.call, prefix, reply):
                pass
            return reply.places

        p = await distribution(constraint.choices, places, ask)
        is_greedy = request.sampling.temperature == 0.0
        text = max(p, key=p.__getitem__) if is_greedy else finished.text
        ids = tuple(ALPHABET.encode(text))
        return replace(finished, text=text, ids=ids, kept=len(ids), scores=tuple(p.items()))

    # --- what it is ---

    async def _model(self) -> tuple[str, Profile]:
        """The model's name and the endpoint's profile; found out by the first call."""
        if self._known is None:
            self._known = asyncio.ensure_future(self._find())
        try:
            return await asyncio.shield(self._known)
        except Exception as error:
            self._known = None  # the next call asks again
            found = again(error, (self.options.api_key,))
        raise failed(self.name, found)

    async def _find(self) -> tuple[str, Profile]:
        client = self._clients[self.options.urls[0]]
        profile = self.options.profile or await detect(client)
        return self.options.model or await only_model(client), profile


def prefix_of(text: bytes, length: int, is_shared: bool) -> Prefix:
    """The prefix that is made of `text`, which has so many characters."""
    return Prefix(blake2b(text, digest_size=8).digest(), length, is_shared)
