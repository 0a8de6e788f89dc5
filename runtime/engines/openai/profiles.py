"""What a text endpoint can do and how it wants to be asked: presets by name, and profile files.

    profile_of("vllm")
    profile_of("endpoint.json")       # what `parrotc doctor --engine URL` wrote

Servers that speak one protocol differ in everything beyond plain text. A profile says in data what
the checker has to know of an endpoint and what a request to it looks like, so that no other file
asks which server it is.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

# How an endpoint is told that the text must be one of some choices, match a regular expression, or
# be JSON of a schema. The empty text: it cannot be told.
CHOICES = ("", "structured_outputs", "guided", "regex", "grammar", "schema")
REGEX = ("", "structured_outputs", "guided", "field", "format", "grammar")
JSON = ("", "format", "strict", "text", "value", "guided")
PREFILL = ("", "flags", "message")
OPTIONS = frozenset({"top_k", "min_p"})  # of a `gen`, beyond what OpenAI's protocol has
HINTS = frozenset({"priority", "cache_salt", "user", "prompt_cache_key"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One endpoint. The defaults are those of a server that does what the protocol says.

    `choices`, `regex` and `json` name one of the ways above. `schema` and `strict` make the answer
    a JSON document that holds the value; `strict` is OpenAI's kind of schema.
    `prefill`: how it goes on with a message that the program has begun: `flags` with vLLM's
    `continue_final_message`, `message` if the last message is the assistant's.
    `logprobs`: of how many tokens it tells the probability at each place.
    `neutral` are fields that switch off what a server would otherwise do to the probabilities.
    """

    name: str
    endpoint: str = "this endpoint"  # in a sentence
    url: str = ""  # where it listens if nobody says otherwise
    raw: bool = False  # goes on with a text that is no message
    prefill: str = ""
    choices: str = "schema"
    regex: str = ""
    json: str = "format"
    logprobs: int = 0
    most_draws: int = 1  # `n` of one request
    stops: int = 4
    options: frozenset[str] = frozenset()
    seed: bool = True
    usage: bool = True  # tells what a streamed answer has cost
    limit: str = "max_tokens"  # what the limit of an answer is called
    greedy_is_silent: bool = False  # refuses temperature 0: greedy is what nobody asks to change
    token_ids: bool = False  # takes ids for a prompt; nothing here needs it
    context_length: int = 0  # 0: unknown
    hints: frozenset[str] = frozenset()
    neutral: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def is_scored(self) -> bool:
        """Whether it tells how probable each of some choices is: as it writes them, not in JSON."""
        return self.logprobs > 1 and self.choices not in ("", "schema")


_VLLM = Profile(
    name="vllm",
    endpoint="vLLM",
    url="http://127.0.0.1:8000/v1",
    raw=True,
    prefill="flags",
    choices="structured_outputs",
    regex="structured_outputs",
    logprobs=20,
    most_draws=128,
    stops=1_000,
    options=OPTIONS,
    token_ids=True,
    hints=frozenset({"cache_salt"}),
    neutral={"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
)
_OPENAI = Profile(
    name="openai",
    endpoint="OpenAI's chat API",
    url="https://api.openai.com/v1",
    json="strict",
    most_draws=128,
    limit="max_completion_tokens",
    hints=frozenset({"user", "prompt_cache_key"}),
)
UNKNOWN = Profile(name="unknown", endpoint="a server that nobody has probed", raw=True)

PRESETS: Mapping[str, Profile] = {
    "openai": _OPENAI,
    "azure": replace(
        _OPENAI, name="azure", url="", limit="max_tokens", hints=frozenset({"user"})
    ),
    "vllm": _VLLM,
    "vllm-guided": replace(  # before 0.12
        _VLLM, name="vllm-guided", choices="guided", regex="guided", json="guided"
    ),
    "sglang": replace(
        _VLLM,
        name="sglang",
        endpoint="SGLang",
        url="http://127.0.0.1:30000/v1",
        choices="regex",
        regex="field",
        logprobs=5,
        hints=frozenset(),
    ),
    "llamacpp": replace(
        _VLLM,
        name="llamacpp",
        endpoint="llama.cpp's server",
        url="http://127.0.0.1:8080/v1",
        prefill="message",
        choices="grammar",
        regex="grammar",
        logprobs=10,
        most_draws=1,
        hints=frozenset(),
        neutral={"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
    ),
    "tgi": Profile(
        name="tgi",
        endpoint="TGI",
        url="http://127.0.0.1:3000/v1",
        raw=True,
        choices="regex",
        regex="format",
        json="value",
        logprobs=5,
        greedy_is_silent=True,
    ),
    "mlc": Profile(
        name="mlc",
        endpoint="MLC-LLM",
        url="http://127.0.0.1:8000/v1",  # of `mlc_llm serve`
        raw=True,
        json="text",
        most_draws=128,
        stops=1_000,
        neutral={"presence_penalty": 0.0, "frequency_penalty": 0.0},
    ),
    "parrotc": Profile(
        name="parrotc",
        endpoint="parrotc's own server",
        url="http://127.0.0.1:9000/v1",
        raw=True,
        logprobs=20,
        most_draws=128,
        stops=16,
        options=OPTIONS,
        token_ids=True,
        hints=frozenset({"user", "prompt_cache_key"}),
        neutral={"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    ),
    "unknown": UNKNOWN,
}  # fmt: skip


def profile_of(named: str, folder: Path = Path()) -> Profile:
    """A preset, or what a file says, looked up from `folder`; or the text of such a file, as plans
    hold it. Raises `ValueError`, for people."""
    if named in PRESETS:
        return PRESETS[named]
    if named.startswith("{"):
        return from_data(json.loads(named))
    path = folder / named
    if path.suffix != ".json":
        known = ", ".join(PRESETS)
        raise ValueError(f"there is no profile `{named}`; there are {known}, and .json files")
    try:
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"the profile `{named}` cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"the profile `{named}` is not JSON") from None
    return from_data(data)


def to_data(profile: Profile) -> dict[str, Any]:
    """A profile as JSON data."""
    return {
        name: sorted(held) if isinstance(held, frozenset) else held
        for name, held in asdict(profile).items()
    }


def from_data(data: Any) -> Profile:
    """The profile that `to_data` wrote; what is left out has its default. Raises `ValueError`."""
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise ValueError("a profile is an object with a `name`")
    defaults = Profile(name="")
    kinds = {spec.name: type(getattr(defaults, spec.name)) for spec in fields(Profile)}
    given: dict[str, Any] = {}
    for name, value in data.items():
        if name not in kinds:
            raise ValueError(f"a profile has no `{name}`; it has {', '.join(kinds)}")
        given[name] = _value(name, value, kinds[name])
    ways = {"choices": CHOICES, "regex": REGEX, "json": JSON, "prefill": PREFILL}
    for name, known in ways.items():
        if given.get(name, "") not in known:
            raise ValueError(f"`{name}` of a profile is one of {', '.join(map(repr, known))}")
    return Profile(**given)


def described(profile: Profile) -> list[tuple[str, str]]:
    """What a profile says, for people: a name and a few words on each."""
    yes = {True: "yes", False: "no"}
    return [
        ("server", profile.name if profile.name != "unknown" else "not known by name"),
        ("choices", profile.choices or "no"),
        ("regular expressions", profile.regex or "no"),
        ("JSON Schema", profile.json or "no: what comes is only checked"),
        ("goes on with a message", profile.prefill or "no"),
        ("raw completions", yes[profile.raw]),
        ("probabilities", f"of {profile.logprobs} tokens" if profile.logprobs else "no"),
        ("draws of one request", "several" if profile.most_draws > 1 else "one"),
        ("stop texts", f"up to {profile.stops}"),
        ("options", ", ".join(sorted(profile.options)) or "none"),
        ("seed", yes[profile.seed]),
        ("token ids", yes[profile.token_ids]),
        ("hints", ", ".join(sorted(profile.hints)) or "none"),
        ("context", f"{profile.context_length:,} tokens" if profile.context_length else "unknown"),
    ]


def _value(name: str, value: Any, kind: type) -> Any:
    if kind is frozenset and isinstance(value, list) and all(isinstance(x, str) for x in value):
        return frozenset(value)
    if type(value) is not kind:
        raise ValueError(f"`{name}` of a profile is a {kind.__name__}, not {json.dumps(value)}")
    return value
