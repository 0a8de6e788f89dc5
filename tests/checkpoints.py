"""Tiny random checkpoints of every family, as `transformers` saves them and computes with them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from parrotc.runtime.engines.embedded.model import Model
from parrotc.runtime.engines.embedded.shape import load_shape
from parrotc.runtime.engines.embedded.weights import load_weights
from parrotc.runtime.models import resolve

VOCAB, LENGTH = 200, 256
TOLERANCE = 1e-4  # of logits in float32

COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": LENGTH,
    "bos_token_id": 0,
    "eos_token_id": None,
    "pad_token_id": None,
}
GATED = {"intermediate_size": 64, "num_key_value_heads": 2, "rms_norm_eps": 1e-5}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 500.0,
    "short_factor": [1.0, 1.1, 1.3, 1.8],
    "long_factor": [1.0, 2.0, 4.0, 8.0],
}


def build(family: str, config: Mapping[str, Any]) -> Any:
    """A model of `transformers` with random numbers everywhere, the same every time."""
    made = transformers.AutoConfig.for_model(family, **(COMMON | dict(config)))
    model = transformers.AutoModelForCausalLM.from_config(made, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if name.endswith("bias"):
                weight.copy_(noise / 3)
            elif weight.dim() == 1:  # of a norm
                weight.copy_(1 + noise / 4)
            elif "embed" in name:
                weight.copy_(noise)
            else:
                weight.copy_(noise * 1.5 / weight.shape[1] ** 0.5)
    return model


def load(
    path: Path, precision: str = "float32", device: str = "cpu", max_context: int = 0
) -> Model:
    files = resolve(str(path))
    shape = load_shape(files, max_context)
    return Model(shape, load_weights(files, shape), precision, device)
