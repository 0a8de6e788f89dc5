"""What an engine is told when it is started: `engine.json`, checked.

    config, notes = read_config(Path("engine.json"))
    engine = open_configured(config)

A file says only what is to differ from the defaults. Parrot's files are understood too: `//` begins
a comment, `scheduler` and `instance` are groups whose settings may as well stand alone, and its
names stand for ours by the table below. What is wrong is reported at its place, all at once.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from parrotc.runtime.engines.configfields import Words, read_fields
from parrotc.runtime.engines.configfile import At, ConfigFile, read_file
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
    },
    values={("engine", "builtin"): "embedded", ("engine", "huggingface"): "transformers"},
    needless={"attn_func": "there is one attention, which shares prefixes where that pays"},
)
# what an engine is told, if it is of a kind that has such a setting; the rest is for the server
_OF_ENGINES = {
    "device", "precision", "threads", "max_batch_size", "max_num_batched_tokens",
    "max_total_tokens", "fill_chunk_size", "block_size",
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
    engine: Literal["embedded", "reference", "transformers"] = "embedded"
    model: str = EMBEDDED  # its name, a folder, a .gguf file, hf:org/name or org/name
    tokenizer: str = ""  # a model whose tokenizer must mean the same as that of `model`
    device: str = Field(default="", pattern=r"^(cpu|cuda(:\d+)?)?$")
    precision: Literal["", "float32", "float64", "bfloat16", "float16", "int8"] = ""
    threads: int = Field(default=0, ge=0)  # of one operation

    max_batch_size: int = Field(default=0, ge=0)  # sequences in one step
    max_num_batched_tokens: int = Field(default=0, ge=0)  # new tokens in one step
    max_total_tokens: int = Field(default=0, ge=0)  # of all contexts together
    fill_chunk_size: int = Field(default=0, ge=-1)  # of one prompt in one step; -1: no limit
    block_size: int = Field(default=0, ge=0)  # tokens in a block of the cache
    num_kv_cache_blocks: int = Field(default=0, ge=0)  # blocks that there are

    host: str = "localhost"
    port: int = Field(default=9001, ge=0, le=65535)  # 0: any free one
    max_requests: int = Field(default=1024, ge=1)  # fills and generations at the same time
    max_body: int = Field(default=16 << 20, ge=1)  # bytes of one request
    lease: float = Field(default=600.0, gt=0, allow_inf_nan=False)  # seconds; see `ServerLimits`
    random_seed: int = 0  # of sampled generations that bring no key of their own
    serve_core: CoreAddress | None = None  # a core to register with

    @property
    def spec(self) -> str:
        """The model as `resolve` wants it: a bare `org/name` is one of the Hugging Face hub's."""
        is_hubs = _HUB_NAME.fullmatch(self.model) and not Path(self.model).exists()
        return f"hf:{self.model}" if is_hubs else self.model

    @property
    def served(self) -> str:
        """What a core calls its model."""
        is_named = "model" in self.model_fields_set or self.engine != "reference"
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
    fields.require()
    assert config is not None  # else something was wrong
    return config, [*fields.notes, *_unused(config)]


def open_configured(config: EngineConfig, progress: Progress | None = None) -> Engine:
    """The engine of a config. Blocks while it loads. Raises `ModelError` for a model that cannot
    be had, `ValueError` for a setting that it cannot be run with."""
    engine = open_engine(config.engine, config.spec, **_of_engine(config), progress=progress)
    if config.tokenizer not in ("", config.model):
        _require_tokenizer(config, engine)
    return engine


def _of_engine(config: EngineConfig) -> dict[str, Any]:
    """The settings that the engine itself is told."""
    settings = {name: getattr(config, name) for name in settings_of(config.engine) & _OF_ENGINES}
    if config.fill_chunk_size < 0:
        settings["fill_chunk_size"] = _NO_LIMIT
    if config.num_kv_cache_blocks:
        room = config.num_kv_cache_blocks * (config.block_size or _BLOCK)
        settings["max_total_tokens"] = min(room, config.max_total_tokens or room)
    return {name: value for name, value in settings.items() if value}


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
