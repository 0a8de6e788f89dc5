"""What the tests of tokenizers and engines share: small real tokenizers, and the embedded model."""

import json
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from parrotc.runtime.ggufvocab import tokenizer_json
from parrotc.runtime.models import EMBEDDED, ModelFiles, load_tokenizer, resolve
from parrotc.runtime.tokenizer import Tokenizer

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEXT = """The quick brown fox jumps over the lazy dog. I'm sure we're fine; they've said it'll do.
def f(x):\n    return x + 12345   # naïve café, 日本語\n \n\t tabs\n and spaces\n\n\n"Quotes" 'too'.
"""


@cache
def small_tokenizer(pre: str) -> Tokenizer:
    """Byte-level BPE learnt from a few lines, with the pre-tokenizer that GGUF calls `pre`."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([TEXT] * 3, trainer)
    learnt = json.loads(backend.to_str())["model"]
    tokens = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    source = tokenizer_json(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": pre,
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [3 if token in SPECIALS else 1 for token in tokens],
            "tokenizer.ggml.merges": [" ".join(merge) for merge in learnt["merges"]],
        }
    )
    return Tokenizer(source, eos=(2,), context_length=256)


@pytest.fixture(scope="session")
def small() -> Callable[[str], Tokenizer]:
    return small_tokenizer


@pytest.fixture(scope="session")
def embedded_files() -> ModelFiles:
    return resolve(EMBEDDED)


@pytest.fixture(scope="session")
def smollm(embedded_files: ModelFiles) -> Tokenizer:
    return load_tokenizer(embedded_files)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of 0.1 million parameters."""
    torch = pytest.importorskip("torch")
    from tinyllama import save

    torch.set_num_threads(1)  # small matrices, and other tests at the same time

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = small_tokenizer("smollm")
    save(folder, tokenizer.to_json(), tokenizer.vocab_size)
    return folder


@pytest.fixture(scope="session")
def weights(tiny_folder: Path) -> dict[str, Any]:
    """Those of the Llama in `tiny_folder`."""
    from safetensors.torch import load_file

    return load_file(tiny_folder / "model.safetensors")


@pytest.fixture
async def tiny(tiny_folder: Path) -> AsyncIterator[Any]:
    """The embedded engine with the Llama in `tiny_folder`, in float64, as a `Driver`."""
    from driven import Driver

    from parrotc.runtime.engines.registry import open_engine

    engine = open_engine("embedded", str(tiny_folder), precision="float64", threads=1)
    yield Driver(engine)
    await engine.close()
