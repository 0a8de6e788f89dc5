"""A small random Llama as Hugging Face would save it, and its meaning in the plainest torch.

`dense` computes every position against every earlier one, in float64, with no cache, no batch and
no sharing, so it is what the embedded engine must agree with, however that cuts the work.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

LAYERS, HIDDEN, INNER, HEADS, KV_HEADS, DIM = 3, 48, 64, 6, 2, 16
CONTEXT = 256

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "num_hidden_layers": LAYERS,
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": DIM,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "torch_dtype": "float32",
}


def save(folder: Path, tokenizer_json: str, vocab: int) -> None:
    """Write config, tokenizer and random weights, the same every time."""
    (folder / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": vocab}))
    (folder / "tokenizer.json").write_text(tokenizer_json)
    generator = torch.Generator().manual_seed(3)

    def matrix(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator) * 1.5 / math.sqrt(columns)

    def norm() -> Tensor:
        return 1 + torch.randn(HIDDEN, generator=generator) / 4

    weights = {
        "model.embed_tokens.weight": matrix(vocab, HIDDEN) * 3,
        "model.norm.weight": norm(),
        "lm_head.weight": matrix(vocab, HIDDEN) * 2,
    }
    for n in range(LAYERS):
        layer = {
            "input_layernorm": norm(),
            "self_attn.q_proj": matrix(HEADS * DIM, HIDDEN),
            "self_attn.k_proj": matrix(KV_HEADS * DIM, HIDDEN),
            "self_attn.v_proj": matrix(KV_HEADS * DIM, HIDDEN),
            "self_attn.o_proj": matrix(HIDDEN, HEADS * DIM),
            "post_attention_layernorm": norm(),
            "mlp.gate_proj": matrix(INNER, HIDDEN),
            "mlp.up_proj": matrix(INNER, HIDDEN),
            "mlp.down_proj": matrix(HIDDEN, INNER),
        }
        weights |= {f"model.layers.{n}.{name}.weight": w for name, w in layer.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def dense(weights: Mapping[str, Tensor], ids: Sequence[int]) -> Tensor:
    """The logits after every token, `[tokens, vocab]`, in float64."""

    def get(name: str) -> Tensor:
        return weights[f"{name}.weight"].double()

    def normed(x: Tensor, name: str) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * get(name)

    places = torch.arange(len(ids), dtype=torch.float64)
    angles = torch.outer(places, 10000.0 ** (-torch.arange(0, DIM, 2) / DIM).double())[:, None]

    def turned(x: Tensor) -> Tensor:  # [tokens, heads, dim]
        a, b = x[..., : DIM // 2], x[..., DIM // 2 :]
        return torch.cat(
            [a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1
        )

    x = get("model.embed_tokens")[list(ids)]
    later = torch.ones(len(ids), len(ids), dtype=torch.bool).triu(1)
    for n in range(LAYERS):
        at = f"model.layers.{n}."
        h = normed(x, at + "input_layernorm")
        q = turned((h @ get(at + "self_attn.q_proj").T).view(len(ids), HEADS, DIM))
        k = turned((h @ get(at + "self_attn.k_proj").T).view(len(ids), KV_HEADS, DIM))
        v = (h @ get(at + "self_attn.v_proj").T).view(len(ids), KV_HEADS, DIM)
        heads = []
        for head in range(HEADS):
            group = head * KV_HEADS // HEADS
            scores = (q[:, head] @ k[:, group].T / math.sqrt(DIM)).masked_fill(later, -math.inf)
            heads.append(scores.softmax(-1) @ v[:, group])
        x = x + torch.cat(heads, dim=1) @ get(at + "self_attn.o_proj").T
        h = normed(x, at + "post_attention_layernorm")
        inner = torch.nn.functional.silu(h @ get(at + "mlp.gate_proj").T)
        x = x + (inner * (h @ get(at + "mlp.up_proj").T)) @ get(at + "mlp.down_proj").T
    return normed(x, "model.norm") @ get("lm_head").T


def greedy(weights: Mapping[str, Tensor], ids: Sequence[int], count: int) -> tuple[int, ...]:
    """The `count` best next tokens, one after the other."""
    found = list(ids)
    for _ in range(count):
        found.append(int(dense(weights, found)[-1].argmax()))
    return tuple(found[-count:])
