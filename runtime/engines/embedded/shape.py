"""The shape of a Llama model, from GGUF metadata or a Hugging Face `config.json`.

Whatever would make the forward pass another one is refused, never approximated: another
architecture, biases, scaled rotary positions, another activation, quantised folders.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parrotc.runtime.models import ModelError, ModelFiles, load_config


@dataclass(frozen=True, slots=True)
class Shape:
    layers: int
    hidden: int
    inner: int  # of the feed-forward network
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    epsilon: float  # of the norms
    theta: float  # base of the rotary positions
    context_length: int


def load_shape(files: ModelFiles) -> Shape:
    """Raises `ModelError` for a model that is not a plain Llama."""
    config = load_config(files)
    try:
        return _from_gguf(config) if files.is_gguf else _from_folder(config)
    except KeyError as missing:
        raise ModelError(f"the model `{files.name}` does not say its {missing}") from None
    except ValueError as error:
        raise ModelError(
            f"the embedded engine cannot run `{files.name}`: {error}",
            help="it runs Llama models such as SmolLM2, TinyLlama and Llama 2",
        ) from None


def _from_gguf(data: Mapping[str, Any]) -> Shape:
    kind = data["general.architecture"]
    if kind != "llama":
        raise ValueError(f"its architecture is {kind}")
    if data.get("llama.rope.scaling.type", "none") != "none":
        raise ValueError("its rotary positions are scaled")
    heads, hidden = data["llama.attention.head_count"], data["llama.embedding_length"]
    return Shape(
        layers=data["llama.block_count"],
        hidden=hidden,
        inner=data["llama.feed_forward_length"],
        heads=heads,
        kv_heads=data.get("llama.attention.head_count_kv", heads),
        head_dim=data.get("llama.attention.key_length", hidden // heads),
        vocab=len(data["tokenizer.ggml.tokens"]),
        epsilon=data["llama.attention.layer_norm_rms_epsilon"],
        theta=data.get("llama.rope.freq_base", 10000.0),
        context_length=data["llama.context_length"],
    )


def _from_folder(config: Mapping[str, Any]) -> Shape:
    _require_plain(config)
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    return Shape(
        layers=config["num_hidden_layers"],
        hidden=hidden,
        inner=config["intermediate_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or hidden // heads,
        vocab=config["vocab_size"],
        epsilon=config["rms_norm_eps"],
        theta=_rope(config).get("rope_theta") or config.get("rope_theta") or 10000.0,
        context_length=config["max_position_embeddings"],
    )


def _require_plain(config: Mapping[str, Any]) -> None:
    if config.get("model_type") != "llama":
        raise ValueError(f"its architecture is {config.get('model_type')}")
    if config.get("attention_bias") or config.get("mlp_bias"):
        raise ValueError("its projections have biases")
    if config.get("hidden_act", "silu") != "silu":
        raise ValueError(f"its activation is {config['hidden_act']}")
    if config.get("quantization_config"):
        raise ValueError("its weights are quantised")
    scaling = _rope(config)
    if scaling.get("rope_type", scaling.get("type", "default")) != "default":
        raise ValueError("its rotary positions are scaled")


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a config says of rotary positions, under its newer or its older name."""
    return config.get("rope_parameters") or config.get("rope_scaling") or {}
