"""Finding out what an endpoint can do, by asking it: about thirty requests of a few tokens.

    profile = await Probe(options).profile()

Most servers pass over fields that they do not know, so that an answer says little. What counts is
what an answer looks like: a model that is told to say a word and gives three digits was held to
them. A field without any effect on the text is known where its right value is taken and a wrong one
refused. Whether an answer goes on with a message is seen from the length of the prompt.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import openai

from parrotc.runtime.engines.openai.clients import Broken, again, failed, make_client
from parrotc.runtime.engines.openai.constraints import asked
from parrotc.runtime.engines.openai.detect import detect, list_models, only_model
from parrotc.runtime.engines.openai.options import Options
from parrotc.runtime.engines.openai.profiles import CHOICES, HINTS, JSON, OPTIONS, REGEX, Profile
from parrotc.runtime.engines.protocol import Constraint, EngineError

Json = Any
Fields = Mapping[str, Json]

_HELLO = [{"role": "user", "content": "Reply with the word hello."}]
_LETTERS = "a b c d e f g"  # what an answer is begun with
_DIGITS = Constraint(regex="[0-9]{3}")
_WORDS = ("zebra-17", "walrus-23")
_NUMBERS = Constraint(json_schema='{"type":"array","items":{"type":"integer"}}')
_TOPS = (20, 10, 5, 2)
_STOPS = (64, 16, 8, 4, 1)
_RIGHT: Fields = {"top_k": 3, "min_p": 0.1, "priority": 1, "cache_salt": "salt", "user": "somebody",
                  "prompt_cache_key": "key", "seed": 1}  # fmt: skip
_WRONG: Json = {"no": "such value"}


class Probe:
    """One endpoint that is asked."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._client = make_client(options, options.urls[0])
        self._model = options.model
        self._limit = "max_tokens"

    async def profile(self) -> Profile:
        """What it can do. Raises `EngineError` if it does not answer at all."""
        try:
            return await self._profile()
        except (openai.OpenAIError, Broken) as error:
            found = again(error, (self._options.api_key,))
        finally:
            await self._client.close()
        raise failed(self._options.urls[0], found)

    async def _profile(self) -> Profile:
        base = await detect(self._client)
        self._model = self._model or await only_model(self._client)
        base = replace(base, **await self._manners(base))
        told = replace(base, logprobs=await self._logprobs(), raw=await self._is_raw())
        told = replace(told, json=await self._held(told, "json", JSON, _NUMBERS, _is_numbers))
        words = Constraint(choices=_WORDS)
        choices = await self._held(told, "choices", CHOICES, words, _WORDS.__contains__)
        digits = re.compile("[0-9]{3}").fullmatch
        known = {name for name in _RIGHT if await self._knows(name)}
        return replace(
            told,
            choices=choices,
            regex=await self._held(told, "regex", REGEX, _DIGITS, lambda said: bool(digits(said))),
            prefill=await self._prefill(),
            most_draws=2 if await self._draws() else 1,
            stops=await self._stops(),
            options=frozenset(OPTIONS & known),
            seed="seed" in known,
            usage=await self._usage(),
            token_ids=await self._takes(prompt=[1, 2, 3]),
            hints=frozenset(HINTS & known),
            context_length=await self._context_length(),
        )

    async def _manners(self, base: Profile) -> dict[str, Json]:
        """How a request must look for an answer to come at all."""
        for limit in dict.fromkeys((base.limit, "max_tokens", "max_completion_tokens")):
            self._limit = limit
            if await self._takes(temperature=0.7):
                return {"limit": limit, "greedy_is_silent": not await self._takes(temperature=0.0)}
        await self._ask()  # tells why not
        return {}

    async def _logprobs(self) -> int:
        for count in _TOPS:
            answer = await self._answer(logprobs=True, top_logprobs=count)
            held = answer and answer.choices[0].logprobs
            if held and held.content:
                return max(len(place.top_logprobs or ()) for place in held.content)
        return 0

    async def _held(
        self,
        base: Profile,
        name: str,
        ways: Sequence[str],
        constraint: Constraint,
        is_kept: Callable[[str], bool],
    ) -> str:
        """The first way of asking that the answer keeps to; what it is thought to be goes first."""
        first: str = getattr(base, name)
        for way in dict.fromkeys((first, *ways)):
            changed: dict[str, Json] = {name: way}
            if way and await self._is_kept(replace(base, **changed), constraint, is_kept):
                return way
        return ""

    async def _is_kept(
        self, profile: Profile, constraint: Constraint, is_kept: Callable[[str], bool]
    ) -> bool:
        try:
            wanted = asked(profile, constraint)
            answer = await self._answer(most=24, **wanted.fields)
            said: str = answer.choices[0].message.content or "" if answer else ""
            return is_kept(wanted.value(said) if wanted.value else said)
        except EngineError:
            return False

    async def _prefill(self) -> str:
        """Compares lengths: a message that goes on has no end, and nothing begins after it."""
        begun = [*_HELLO, {"role": "assistant", "content": _LETTERS}]
        flags = {"continue_final_message": True, "add_generation_prompt": False}
        closed = await self._length(begun)
        if not closed:
            return ""
        gone_on = await self._length(begun, **flags)
        if gone_on and gone_on < closed:
            return "flags"
        longer = [{"role": "user", "content": f"{_HELLO[0]['content']} {_LETTERS}"}]
        plain, more = await self._length(_HELLO), await self._length(longer)
        return "message" if closed - plain <= more - plain + 1 else ""

    async def _length(self, messages: Json, **fields: Json) -> int:
        """The tokens of a prompt; 0 where the endpoint does not tell, or refuses it."""
        answer = await self._answer(messages, **fields)
        return answer.usage.prompt_tokens if answer and answer.usage else 0

    async def _draws(self) -> bool:
        answer = await self._answer(n=2, temperature=0.7)
        return bool(answer and len(answer.choices) == 2)

    async def _stops(self) -> int:
        for count in _STOPS:
            if await self._takes(stop=[f"<stop {number}>" for number in range(count)]):
                return count
        return 0

    async def _usage(self) -> bool:
        try:
            stream = await self._ask(stream=True, stream_options={"include_usage": True})
            return any([bool(chunk.usage) async for chunk in stream])
        except openai.APIStatusError:
            return False

    async def _is_raw(self) -> bool:
        return await self._takes(prompt="Once upon a time")

    async def _context_length(self) -> int:
        for model in await list_models(self._client):
            if model.get("id") == self._model:
                meta = model.get("meta") or {}
                found = model.get("max_model_len") or meta.get("n_ctx") or meta.get("n_ctx_train")
                return int(found or 0)
        return 0

    async def _knows(self, name: str) -> bool:
        right, wrong = {name: _RIGHT[name]}, {name: _WRONG}
        return await self._takes(temperature=0.7, **right) and not await self._takes(
            temperature=0.7, **wrong
        )

    # --- requests ---

    async def _takes(self, **fields: Json) -> bool:
        try:
            await self._ask(**fields)
            return True
        except openai.APIStatusError as error:
            if error.status_code >= 500 or error.status_code in (401, 403, 429):
                raise
            return False

    async def _answer(self, messages: Json = None, *, most: int = 2, **fields: Json) -> Any:
        """The whole answer; None where the request is refused."""
        try:
            return await self._ask(messages, most=most, **fields)
        except openai.APIStatusError as error:
            if error.status_code in (401, 403, 429):
                raise
            return None

    async def _ask(
        self, messages: Json = None, *, most: int = 2, stream: bool = False, **fields: Json
    ) -> Any:
        if "prompt" in fields:
            prompt = fields.pop("prompt")
            return await self._client.completions.create(
                model=self._model, prompt=prompt, max_tokens=most, extra_body=fields
            )
        body = {self._limit: most, **fields}
        create: Any = self._client.chat.completions.create
        return await create(
            model=self._model, messages=messages or _HELLO, stream=stream, extra_body=body
        )


def _is_numbers(said: str) -> bool:
    try:
        held = json.loads(said)
    except ValueError:
        return False
    return isinstance(held, list) and all(isinstance(one, int) for one in held)
