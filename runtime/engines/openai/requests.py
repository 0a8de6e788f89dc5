"""A generation as the request that an endpoint is sent.

    [Said("user", "Hi"), Said("assistant", "")]     POST /chat/completions
    [Said("", "Once upon")]                         POST /completions

The last message is the one to be written. Where the program has begun it, the endpoint must be one
that goes on with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from parrotc.runtime.engines.openai.constraints import Asked, asked
from parrotc.runtime.engines.openai.options import Options
from parrotc.runtime.engines.openai.profiles import Profile
from parrotc.runtime.engines.protocol import Constraint, EngineError, GenerateRequest, Sampling
from parrotc.runtime.texts import Said, rough_count

Json = Any

_SEEDS = 1 << 31  # every server takes a seed below
_URGENT, _PATIENT = 0, 1  # vLLM's priorities: lower goes first
_AROUND = 16  # tokens of the JSON around a value
_LATER = 1_000_000  # priorities between


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `text` or `messages` is what the model goes on with; `fields` are the rest."""

    messages: tuple[dict[str, str], ...]
    text: str
    fields: dict[str, Json]
    asked: Asked
    stop: tuple[str, ...]
    most: int  # tokens that may be generated

    @property
    def is_chat(self) -> bool:
        return bool(self.messages)

    @property
    def size(self) -> int:
        """About how many tokens the prompt has."""
        texts = [self.text, *(message["content"] for message in self.messages)]
        return rough_count(sum(map(len, texts)))


def call_of(
    options: Options,
    profile: Profile,
    said: Sequence[Said],
    request: GenerateRequest,
    *,
    salt: str = "",
    prefix: str = "",
) -> Call:
    """Raises `EngineError` for what the endpoint cannot do."""
    said = _addressed(options, profile, said)
    sampling, constraint = request.sampling, request.constraint
    wanted = asked(profile, constraint)
    stop = () if constraint is not None else tuple(filter(None, sampling.stop))
    fields = {
        **profile.neutral,
        **_sampling(profile, sampling),
        **_prefilled(profile, said),
        **_scores(profile, constraint, bool(said[0].role)),
        **_hints(options, profile, request, salt, prefix),
        **wanted.fields,
    }
    most = sampling.max_tokens + (_AROUND if wanted.value else 0)
    fields[profile.limit] = most
    if stop:
        fields["stop"] = list(stop[: profile.stops])
    if profile.usage:
        fields["stream_options"] = {"include_usage": True}
    if not said[0].role:
        if not profile.raw and options.api_endpoint != "completion":
            raise EngineError("unsupported", f"{profile.endpoint} has no raw completion")
        text = "".join(one.text for one in said)
        return Call((), text, fields, wanted, stop, most)
    *before, last = said
    kept = [*before, last] if last.text else before
    written = tuple({"role": one.role, "content": one.text} for one in kept)
    return Call(written, "", fields, wanted, stop, most)


def _addressed(options: Options, profile: Profile, said: Sequence[Said]) -> Sequence[Said]:
    """What is outside of all messages is one of the user's, where the endpoint is one for chats."""
    goes_to_chat = options.api_endpoint == "chat" or (
        options.api_endpoint == "auto" and not profile.raw
    )
    if said[0].role or not goes_to_chat:
        return said
    return (Said("user", "".join(one.text for one in said)), Said("assistant", ""))


def _sampling(profile: Profile, sampling: Sampling) -> dict[str, Json]:
    fields: dict[str, Json] = {}
    for name in ("presence_penalty", "frequency_penalty"):
        if value := getattr(sampling, name):
            fields[name] = value
    if sampling.temperature == 0.0 and profile.greedy_is_silent:
        return fields
    fields |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if sampling.temperature and profile.seed:
        fields["seed"] = sampling.key % _SEEDS
    for name in sorted(profile.options):
        if value := getattr(sampling, name):
            fields[name] = value
    return fields


def _prefilled(profile: Profile, said: Sequence[Said]) -> dict[str, Json]:
    """How to go on with what the program has put into the last message."""
    last = said[-1]
    if not last.role or not last.text:
        return {}
    match profile.prefill:
        case "flags":
            return {"continue_final_message": True, "add_generation_prompt": False}
        case "message":
            return {}
    message = f"{profile.endpoint} cannot go on with a message that the program has begun"
    raise EngineError("unsupported", f"{message} (its profile is `{profile.name}`)")


def _scores(profile: Profile, constraint: Constraint | None, is_chat: bool) -> dict[str, Json]:
    if constraint is None or not constraint.scored:
        return {}
    if not profile.is_scored:
        message = f"{profile.endpoint} does not tell how probable its choices are"
        raise EngineError("unsupported", f"{message} (its profile is `{profile.name}`)")
    if is_chat:
        return {"logprobs": True, "top_logprobs": profile.logprobs}
    return {"logprobs": profile.logprobs}


def _hints(
    options: Options, profile: Profile, request: GenerateRequest, salt: str, prefix: str
) -> dict[str, Json]:
    """What helps the endpoint, where it takes it. `rank` counts in seconds: higher goes first."""
    waits = int(min(max(0.0, 1000.0 - request.rank), 1000.0))
    priority = waits + (_URGENT if request.latency else _PATIENT) * _LATER
    told = {
        "priority": priority,
        "cache_salt": salt,
        "user": options.user,
        "prompt_cache_key": prefix,
    }
    return {name: told[name] for name in sorted(profile.hints) if told[name] != ""}
