"""What an OpenAI client may ask: the bodies of `/v1/chat/completions` and `/v1/completions`.

Fields of theirs that say nothing about the text are accepted and passed over; those that would
change it and that no engine here can do are refused by name, never ignored. A few of vLLM's are
there too: `top_k`, `min_p`, `repetition_penalty`, `min_tokens`, `ignore_eos`, `stop_token_ids`.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from parrotc.runtime.server.bodies import Body

MOST_CHOICES = 128  # texts of one request, over all its prompts
MOST_STOPS = 16
MOST_PROMPTS = 128

Stop = Annotated[str, Field(min_length=1, max_length=256)]
Token = Annotated[int, Field(ge=0)]
Nothing = Annotated[list[Any], Field(max_length=0)] | None  # a field that must say nothing


class StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool = False


class TextFormat(Body):
    type: Literal["text"]


class ObjectFormat(Body):
    type: Literal["json_object"]


class NamedSchema(Body):
    name: str = Field(default="", max_length=64)
    description: str | None = None
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class SchemaFormat(Body):
    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")]


class Common(Body):
    """What both kinds of request may say. None means the same as leaving a field out."""

    model: str
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, ge=0, le=1)
    n: int | None = Field(default=None, ge=1, le=MOST_CHOICES)
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # vLLM's
    top_k: int = Field(default=0, ge=-1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    min_tokens: int = Field(default=0, ge=0)
    ignore_eos: bool = False
    stop_token_ids: list[Token] | None = Field(default=None, max_length=MOST_STOPS)
    # passed over
    user: str | None = None
    # what no engine here does
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @model_validator(mode="after")
    def _options_only_of_streams(self) -> "Common":
        if self.stream_options is not None and not self.stream:
            raise ValueError("`stream_options` go with `stream`")
        return self


class TextPart(Body):
    type: Literal["text"]
    text: str


class Message(Body):
    """One message. What an answer's message has beside its content may come back empty."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    refusal: str | None = None
    annotations: Nothing = None
    tool_calls: Nothing = None
    function_call: None = None
    audio: None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""

    @model_validator(mode="after")
    def _has_content(self) -> "Message":
        if self.content is None and self.role != "assistant":
            raise ValueError(f"a message of the role `{self.role}` needs `content`")
        return self


class ChatRequest(Common):
    """`POST /v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1, max_length=10_000)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    # passed over
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None
    # what no engine here does
    tools: Nothing = None
    functions: Nothing = None
    tool_choice: Literal["none", "auto"] | None = None

    @model_validator(mode="after")
    def _tops_go_with_logprobs(self) -> "ChatRequest":
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("`top_logprobs` needs `logprobs` to be true")
        return self

    @property
    def limit(self) -> int | None:
        """The most tokens of an answer, where the request says."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def best(self) -> int:
        """How many likely tokens to tell of; -1: no logprobs at all."""
        return (self.top_logprobs or 0) if self.logprobs else -1


def _kind(prompt: Any) -> str:
    """Which of its shapes a prompt has: looking is faster than trying one after the other."""
    first = prompt[0] if isinstance(prompt, list) and prompt else None
    match prompt, first:
        case list(), str():
            return "texts"
        case list(), list():
            return "lists"
        case list(), _:
            return "ids"
    return "text"


def _ids(given: list[Any]) -> list[int]:
    """Checked all at once: a prompt may have a million ids, and nobody else runs meanwhile."""
    if set(map(type, given)) != {int}:
        raise ValueError("token ids are whole numbers, at least one")
    return given


Ids = Annotated[
    list[Any],
    AfterValidator(_ids),
    WithJsonSchema({"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}),
]
Prompt = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[str], Field(max_length=MOST_PROMPTS), Tag("texts")]
    | Annotated[Ids, Tag("ids")]
    | Annotated[list[Ids], Field(max_length=MOST_PROMPTS), Tag("lists")],
    Discriminator(_kind),
]


class CompletionRequest(Common):
    """`POST /v1/completions`: a prompt is text or token ids, one or a list of them."""

    prompt: Prompt
    logprobs: int | None = Field(default=None, ge=0, le=5)
    echo: Literal[False] | None = None
    suffix: Literal[""] | None = None
    best_of: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _bounded(self) -> "CompletionRequest":
        if self.best_of not in (None, self.choices):
            raise ValueError("`best_of` other than `n` is not supported")
        if len(self.prompts) * self.choices > MOST_CHOICES:
            raise ValueError(f"at most {MOST_CHOICES} texts at once: prompts times `n`")
        return self

    @property
    def prompts(self) -> Sequence[str | list[int]]:
        """Each prompt by itself."""
        match self.prompt:
            case str(text):
                return [text]
            case [int(), *_]:
                return [self.prompt]  # type: ignore[list-item]
        return self.prompt

    @property
    def best(self) -> int:
        return -1 if self.logprobs is None else self.logprobs
