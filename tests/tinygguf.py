"""Writes the checkpoint of a Hugging Face folder as llama.cpp's converter would, in float32."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFWriter, RopeScalingType
from safetensors.torch import load_file
from torch import Tensor

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write(folder: Path, path: Path) -> None:
    """`path` gets the model in `folder`, with a vocabulary of names only."""
    config = json.loads((folder / "config.json").read_text())
    family = config["model_type"].replace("mistral", "llama")
    heads = config["num_attention_heads"]
    dim = config.get("head_dim") or config["hidden_size"] // heads
    rope = config["rope_parameters"]
    writer = GGUFWriter(path, family)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(dim)
    writer.add_value_length(dim)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(int(dim * rope.get("partial_rotary_factor", 1.0)))
    writer.add_token_list([f"t{n}" for n in range(config["vocab_size"])])
    if config.get("sliding_window"):
        writer.add_sliding_window(config["sliding_window"])
    _add_scaling(writer, config, rope, dim)
    for name, tensor in load_file(folder / "model.safetensors").items():
        if family == "llama" and ("q_proj" in name or "k_proj" in name):
            tensor = _neighbours(tensor, dim)
        for ours, theirs in _NAMES.items():
            name = name.replace(f"{ours}.", f"{theirs}.")
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_scaling(
    writer: GGUFWriter, config: dict[str, Any], rope: dict[str, Any], dim: int
) -> None:
    original = rope.get("original_max_position_embeddings", 0)
    match rope["rope_type"]:
        case "linear":
            writer.add_rope_scaling_type(RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope["factor"])
        case "yarn":
            writer.add_rope_scaling_type(RopeScalingType.YARN)
            writer.add_rope_scaling_factor(rope["factor"])
            writer.add_rope_scaling_orig_ctx_len(original)
        case "llama3":
            writer.add_tensor("rope_freqs.weight", torch.tensor(_llama3(rope, dim)).numpy())
        case "longrope":
            factor = config["max_position_embeddings"] / original
            writer.add_rope_scaling_orig_ctx_len(original)
            scale = math.sqrt(1 + math.log(factor) / math.log(original))
            writer.add_rope_scaling_attn_factors(scale)
            for kind in ("long", "short"):
                factors = torch.tensor(rope[f"{kind}_factor"]).numpy()
                writer.add_tensor(f"rope_factors_{kind}.weight", factors)


def _llama3(rope: dict[str, Any], dim: int) -> list[float]:
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    original, factor = rope["original_max_position_embeddings"], rope["factor"]
    factors = []
    for i in range(0, dim, 2):
        length = 2 * math.pi * rope["rope_theta"] ** (i / dim)
        if length < original / high:
            factors.append(1.0)
        elif length > original / low:
            factors.append(factor)
        else:
            smooth = (original / length - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


def _neighbours(rows: Tensor, dim: int) -> Tensor:
    """The two halves of each head, dealt out in turn."""
    heads = rows.view(-1, 2, dim // 2, *rows.shape[1:])
    return heads.transpose(1, 2).reshape(rows.shape).contiguous()
