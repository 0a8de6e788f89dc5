"""What an engine is told when it is started: `engine.json`, checked.

    config, notes = read_config(Path("engine.json"))
    engine = open_configured(config)

A file says only what is to differ from the defaults. Parrot's files are understood too: `//` begins
a comment, `scheduler` and `instance` are groups whose settings may as well stand alone, and its
names stand for ours by the tables below. What is wrong is reported at its place, all at once.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parrotc.ir.diagnostic import Diagnostic
from parrotc.runtime.engines.configfile import CODE, ConfigError, ConfigFile, read_file
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.engines.registry import open_engine, settings_of
from parrotc.runtime.models import EMBEDDED, ModelError, Progress, load_tokenizer, resolve

_GROUPS = ("scheduler", "instance")
_PARROTS_NAMES = {
    "engine_name": "name",
    "engine_type": "engine",
    "dtype": "precision",
    "tasks_capacity": "max_requests",
    "max_threads_num": "max_requests",
}
_PARROTS_VALUES = {("engine", "builtin"): "embedded", ("engine", "huggingface"): "transformers"}
# settings that nothing needs to be told here, and why
_NEEDLESS = {
    "attn_func": "there is one attention, which shares prefixes where that pays",
    "serve_core": "an engine serves whoever asks, and looks for no core",
}
# what an engine is told, if it is of a kind that has such a setting; the rest is for the server
_OF_ENGINES = {
    "device", "precision", "threads", "max_batch_size", "max_num_batched_tokens",
    "max_total_tokens", "fill_chunk_size", "block_size",
}  # fmt: skip
_NO_LIMIT = 1 << 31
_BLOCK = 16  # tokens, where nothing is said
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


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

    @property
    def spec(self) -> str:
        """The model as `resolve` wants it: a bare `org/name` is one of the Hugging Face hub's."""
        is_hubs = _HUB_NAME.fullmatch(self.model) and not Path(self.model).exists()
        return f"hf:{self.model}" if is_hubs else self.model


def read_config(path: Path) -> tuple[EngineConfig, list[str]]:
    """The config of a file, and what to tell whoever wrote it: settings that change nothing.

    Raises `ConfigError` with all that is wrong.
    """
    file = read_file(path)
    given, notes, wrong = _settings(file)
    config = _validated(file, given, wrong)
    return config, [*notes, *_unused(config)]


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


# --- reading ---


@dataclass(frozen=True, slots=True)
class _Given:
    """A setting of a file, and the place where it is written."""

    path: tuple[str, ...]
    value: Any


def _settings(file: ConfigFile) -> tuple[dict[str, _Given], list[str], list[Diagnostic]]:
    """What a file gives, under our names; what is needless; what nobody knows."""
    given: dict[str, _Given] = {}
    notes: list[str] = []
    wrong: list[Diagnostic] = []
    for path, value in _flat(file.data):
        name = _PARROTS_NAMES.get(path[-1], path[-1])
        if name in _NEEDLESS:
            notes.append(f"`{name}` changes nothing: {_NEEDLESS[name]}")
        elif name not in EngineConfig.model_fields:
            wrong.append(_unknown(file, path))
        elif name in given:
            message = f"`{name}` is given twice, as `{'.'.join(given[name].path)}` too"
            wrong.append(Diagnostic(CODE, message, file.span(path)))
        else:
            given[name] = _Given(path, _our_value(name, value))
    return given, notes, wrong


def _flat(data: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in data.items():
        if name in _GROUPS and isinstance(value, dict):
            yield from (((name, inner), held) for inner, held in value.items())
        else:
            yield (name,), value


def _our_value(name: str, value: Any) -> Any:
    return _PARROTS_VALUES.get((name, value), value) if isinstance(value, str) else value


def _unknown(file: ConfigFile, path: tuple[str, ...]) -> Diagnostic:
    known = [*EngineConfig.model_fields, *_PARROTS_NAMES, *_NEEDLESS, *_GROUPS]
    near = difflib.get_close_matches(path[-1], known, n=1)
    help = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(known)}"
    message = f"there is no setting `{'.'.join(path)}`"
    return Diagnostic(CODE, message, file.span(path), label="set here", help=help)


def _validated(
    file: ConfigFile, given: Mapping[str, _Given], wrong: list[Diagnostic]
) -> EngineConfig:
    try:
        config = EngineConfig(**{name: one.value for name, one in given.items()})
    except ValidationError as error:
        for found in error.errors(include_url=False, include_input=False):
            path = given[str(found["loc"][0])].path
            what = found["msg"].removeprefix("Input ")
            message = f"`{'.'.join(path)}` {what[:1].lower()}{what[1:]}"
            wrong.append(Diagnostic(CODE, message, file.span(path)))
    else:
        if config.device.startswith("cuda") and "device" not in settings_of(config.engine):
            message = f"the engine `{config.engine}` runs on the CPU only"
            wrong.append(Diagnostic(CODE, message, file.span(given["device"].path)))
    if wrong:
        raise ConfigError(*sorted(wrong, key=lambda one: one.span.start if one.span else 0))
    return config


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
