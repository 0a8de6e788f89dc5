"""What an engine is told when it is started: `engine.json`, checked.

    config, notes = read_config(Path("engine.json"))
    engine = open_configured(config)

A file says only what is to differ from the defaults. Parrot's files are understood too: `//` begins
a comment, `scheduler` and `instance` are groups whose settings may as well stand alone, and its
names stand for ours by the table below. What is wrong is reported at its place, all at once.

A key of an endpoint is in no file: `key_env` names the environment variable that holds it.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from parrotc.ir.diagnostic import Diagnostic
from parrotc.runtime.engines.configfields import Words, read_fields
from parrotc.runtime.engines.configfile import CODE, At, ConfigFile, read_file
from parrotc.runtime.engines.openai.options import NAMES as TEXT_OPTIONS
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.engines.registry import open_engine, settings_of
from parrotc.runtime.models import EMBEDDED, ModelError, Progress, load_tokenizer, resolve

_WORDS = Words(
    groups=("scheduler", "instance"),
    names={
        "engine_name": "name",
        "engine_type": "engine",
        "dtype": "precision",
        "tasks_capacity": "max_requests",
        "max_threads_num": "max_requests",
        "azure_endpoint": "endpoint",
        "azure_api_version": "api_version",
    },
    values={("engine", "builtin"): "embedded", ("engine", "huggingface"): "transformers"},
    needless={"attn_func": "there is one attention, which shares prefixes where that pays"},
    secrets={"api_key": "key_env"},
)
# what an engine is told, if it is of a kind that has such a setting; the rest is for the server
_OF_ENGINES = {
    "device", "precision", "threads", "max_batch_size", "max_num_batched_tokens",
    "max_total_tokens", "max_context", "fill_chunk_size", "block_size", "base_url", "endpoint",
    "deployment", "api_version", "api_endpoint", "profile", "timeout", "concurrency",
    "requests_per_minute", "tokens_per_minute",
}  # fmt: skip
_NO_LIMIT = 1 << 31
_BLOCK = 16  # tokens, where nothing is said
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


class CoreAddress(BaseModel):
    """Where a core listens. `key_env` names the environment variable with the key of its operator,
    where it asks for one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    host: str = "localhost"
    port: int = Field(default=9000, ge=1, le=65535)
    key_env: str = ""

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def headers(self) -> Mapping[str, str]:
        key = os.environ.get(self.key_env, "") if self.key_env else ""
        return {"Authorization": f"Bearer {key}"} if key else {}


class EngineConfig(BaseModel):
    """One field a setting. 0 and the empty text mean: as the model or the machine says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = ""  # for people
    engine: Literal["embedded", "reference", "transformers", "openai", "azure"] = "embedded"
    model: str = EMBEDDED  # its name, a folder, a .gguf file, hf:org/name or org/name
    tokenizer: str = ""  # a model whose tokenizer must mean the same as that of `model`
    device: str = Field(default="", pattern=r"^(cpu|cuda(:\d+)?)?$")
    precision: Literal["", "float32", "float64", "bfloat16", "float16", "int8"] = ""
    threads: int = Field(default=0, ge=0)  # of one operation

    max_batch_size: int = Field(default=0, ge=0)  # sequences in one step
    max_num_batched_tokens: int = Field(default=0, ge=0)  # new tokens in one step
    max_total_tokens: int = Field(default=0, ge=0)  # of all contexts together
    max_context: int = Field(default=0, ge=0)  # tokens of one context
    fill_chunk_size: int = Field(default=0, ge=-1)  # of one prompt in one step; -1: no limit
    block_size: int = Field(default=0, ge=0)  # tokens in a block of the cache
    num_kv_cache_blocks: int = Field(default=0, ge=0)  # blocks that there are

    # of endpoints that read text: as the options of a `model` line
    is_azure: bool = False  # Parrot's way to say that `openai` is `azure`
    base_url: str = ""
    endpoint: str = ""
    deployment: str = ""
    api_version: str = ""
    key_env: str = ""  # the environment variable that holds the key
    profile: str = ""
    # where a text outside of messages goes: to the user's message or to /completions; empty: as
    # the endpoint can
    api_endpoint: Literal["", "chat", "completion"] = ""
    timeout: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    concurrency: int = Field(default=0, ge=0)
    requests_per_minute: int = Field(default=0, ge=0)
    tokens_per_minute: int = Field(default=0, ge=0)

    host: str = "localhost"
    port: int = Field(default=9001, ge=0, le=65535)  # 0: any free one
    max_requests: int = Field(default=1024, ge=1)  # fills and generations at the same time
    max_body: int = Field(default=16 << 20, ge=1)  # bytes of one request
    lease: float = Field(default=600.0, gt=0, allow_inf_nan=False)  # seconds; see `ServerLimits`
    random_seed: int = 0  # of sampled generations that bring no key of their own
    serve_core: CoreAddress | None = None  # a core to register with
    role: Literal["latency", "throughput", "mixed"] = "mixed"  # what a core is to use it for

    @property
    def reads_text(self) -> bool:
        """Whether it is an endpoint, which tells no tokenizer."""
        return self.engine in TEXT_OPTIONS

    @property
    def spec(self) -> str:
        """The model as `resolve` wants it: a bare `org/name` is one of the Hugging Face hub's. Of
        an endpoint its name there; empty: the only one that it has."""
        if self.reads_text:
            return self.model if "model" in self.model_fields_set else ""
        is_hubs = _HUB_NAME.fullmatch(self.model) and not Path(self.model).exists()
        return f"hf:{self.model}" if is_hubs else self.model

    @property
    def served(self) -> str:
        """What a core calls its model."""
        is_named = "model" in self.model_fields_set or self.engine in ("embedded", "transformers")
        return self.model if is_named else self.engine


def read_config(path: Path) -> tuple[EngineConfig, list[str]]:
    """The config of a file, and what to tell whoever wrote it: settings that change nothing.

    Raises `ConfigError` with all that is wrong.
    """
    return engine_config(read_file(path))


def engine_config(file: ConfigFile, at: At = ()) -> tuple[EngineConfig, list[str]]:
    """The same of the object at `at` in a file, which may hold other things too."""
    fields = read_fields(file, at, EngineConfig, _WORDS)
    config = fields.validated()
    if config and config.device.startswith("cuda") and "device" not in settings_of(config.engine):
        fields.span_error("device", f"the engine `{config.engine}` runs on the CPU only")
    if config and config.is_azure:
        if config.engine == "openai":
            config = config.model_copy(update={"engine": "azure"})
        elif config.engine != "azure":
            fields.span_error("is_azure", f"the engine `{config.engine}` is none of Azure's")
    if config and config.engine == "azure" and not config.spec:
        message = "an engine of Azure needs `model`, the name of its deployment"
        fields.wrong.append(Diagnostic(CODE, message, file.span(at)))
    fields.require()
    assert config is not None  # else something was wrong
    return config, [*fields.notes, *_unused(config)]


def open_configured(config: EngineConfig, progress: Progress | None = None) -> Engine:
    """The engine of a config. Blocks while it loads. Raises `ModelError` for a model that cannot
    be had, `ValueError` for a setting that it cannot be run with."""
    settings = {**_of_engine(config), "progress": progress, "measured": True}
    engine = open_engine(config.engine, config.spec, **settings)
    if config.tokenizer not in ("", config.model):
        _require_tokenizer(config, engine)
    return engine


def _of_engine(config: EngineConfig) -> dict[str, Any]:
    """The settings that the engine itself is told."""
    settings = {name: getattr(config, name) for name in settings_of(config.engine) & _OF_ENGINES}
    if config.fill_chunk_size < 0:
        settings["fill_chunk_size"] = _NO_LIMIT
    if config.reads_text:
        settings["api_endpoint"] = config.api_endpoint or "auto"
        settings["api_key"] = _key(config.key_env)
    if config.num_kv_cache_blocks:
        room = config.num_kv_cache_blocks * (config.block_size or _BLOCK)
        settings["max_total_tokens"] = min(room, config.max_total_tokens or room)
    return {name: value for name, value in settings.items() if value}


def _key(variable: str) -> str:
    """What an environment variable holds; empty where none is named. Raises `ValueError`."""
    if variable and not os.environ.get(variable):
        raise ValueError(f"the environment variable `{variable}` is not set, or empty")
    return os.environ.get(variable, "")


def _unused(config: EngineConfig) -> list[str]:
    """Settings of engines that this one does not have."""
    unused = config.model_fields_set & _OF_ENGINES - settings_of(config.engine) - {"device"}
    if config.num_kv_cache_blocks and "max_total_tokens" not in settings_of(config.engine):
        unused |= {"num_kv_cache_blocks"}
    return [f"`{name}` changes nothing: `{config.engine}` has none" for name in sorted(unused)]


def _require_tokenizer(config: EngineConfig, engine: Engine) -> None:
    """Raises `ModelError` unless the tokenizer that is named means the same ids as the model's."""
    wanted = load_tokenizer(resolve(config.model_copy(update={"model": config.tokenizer}).spec))
    found = engine.tokenizer
    if wanted.vocab_size != found.vocab_size or any(
        wanted.token_bytes(token) != found.token_bytes(token) for token in range(found.vocab_size)
    ):
        raise ModelError(
            f"the tokenizer of `{config.tokenizer}` is not that of `{config.model}`",
            help="leave `tokenizer` out: a model brings its own",
        )
