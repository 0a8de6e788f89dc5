"""What clients send for a call, checked: Parrot's JSON, as it is in `/v1/semantic_call`.

{"template": "Say {{q}}: {{a}}", "models": ["llama"], "output_criteria": "latency",
 "parameters": [{"name": "q", "is_output": false, "value": "hello"},
                {"name": "a", "is_output": true,
                 "sampling_config": {"temperature": 0.7, "max_gen_length": 64}}]}
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parrotc.ir.types import Json
from parrotc.runtime.core.errors import Invalid
from parrotc.runtime.engines.protocol import Sampling

P = TypeVar("P", bound=BaseModel)
C = TypeVar("C", bound="_Call")
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]

# values are seldom equal and some are secret: only field names go to pydantic's string cache
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, cache_strings="keys")


class SamplingConfig(BaseModel):
    """How an output is drawn. Names are Parrot's where it has one; defaults are greedy."""

    model_config = _STRICT

    max_gen_length: int = Field(default=512, ge=1)  # tokens
    temperature: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    top_p: float = Field(default=1.0, ge=0, le=1)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0, le=1)
    presence_penalty: float = Field(default=0.0, allow_inf_nan=False)
    frequency_penalty: float = Field(default=0.0, allow_inf_nan=False)
    repetition_penalty: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    ignore_tokenizer_eos: bool = False
    stop_token_ids: list[int] = Field(default_factory=list, max_length=64)
    stop_str: str | list[str] | None = None
    seed: int | None = None  # of the call: the same seed draws the same

    @property
    def sampling(self) -> Sampling:
        stop = [self.stop_str] if isinstance(self.stop_str, str) else self.stop_str or []
        return Sampling(
            max_tokens=self.max_gen_length,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            ignore_eos=self.ignore_tokenizer_eos,
            stop_ids=tuple(self.stop_token_ids),
            stop=tuple(text for text in stop if text),
        )


GREEDY = SamplingConfig()


class Parameter(BaseModel):
    """An input is a `value` or a variable; an output is a new variable, or one that is empty."""

    model_config = _STRICT

    name: Name
    is_output: bool = False
    value: str | None = None
    var_id: str | None = None
    sampling_config: SamplingConfig | None = None


class _Call(BaseModel):
    model_config = _STRICT

    parameters: list[Parameter] = Field(max_length=1000)
    session_id: str = ""  # these two are the server's: who calls is known before
    session_auth: str = ""


class SemanticCall(_Call):
    template: str = Field(min_length=1)
    models: list[str] = Field(default_factory=list, max_length=100)
    output_criteria: Any = None
    # what a call of Parrot's may say and nothing here depends on
    func_name: str = ""
    model_type: Literal["token_id", "text"] = "token_id"
    remove_pure_fill: bool = True
    cache_prefix: bool = True


class NativeCall(_Call):
    func_name: str = Field(min_length=1, max_length=200)
    timeout: float = Field(default=60.0, gt=0, le=3600)  # seconds
    effect: Literal["effectful", "idempotent", "pure"] = "effectful"  # whether it may run again


def read_semantic_call(payload: Mapping[str, Json]) -> SemanticCall:
    """Raises `Invalid`, which names the place in the payload."""
    return _checked(_read(SemanticCall, payload))


def read_native_call(payload: Mapping[str, Json]) -> NativeCall:
    """Raises `Invalid`, for code too: only the name of a function is taken."""
    if "func_code" in payload:
        raise Invalid(
            "code is not run here: a native call has the name of a function",
            "leave `func_code` out; whoever runs the core may allow functions by name in `natives`",
        )
    return _checked(_read(NativeCall, payload))


def _read(kind: type[P], payload: Mapping[str, Json]) -> P:
    try:
        return kind.model_validate(dict(payload))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = first["msg"].removeprefix("Input ")
        if first["type"] == "extra_forbidden":
            raise Invalid(f"there is nothing called `{where[:100]}` in a call") from None
        raise Invalid(f"`{where}` {what[:1].lower()}{what[1:]}") from None


def _checked(call: C) -> C:
    known: set[str] = set()
    for parameter in call.parameters:
        if parameter.name in known:
            raise Invalid(f"there are two parameters `{parameter.name}`")
        known.add(parameter.name)
        _check_parameter(parameter)
    return call


def _check_parameter(parameter: Parameter) -> None:
    given = (parameter.value is not None) + (parameter.var_id is not None)
    if parameter.is_output and parameter.value is not None:
        raise Invalid(f"the output `{parameter.name}` has a value already")
    if not parameter.is_output and given != 1:
        raise Invalid(f"the input `{parameter.name}` needs either a `value` or a `var_id`")
    if not parameter.is_output and parameter.sampling_config is not None:
        raise Invalid(f"`{parameter.name}` is an input, and only outputs are sampled")
