"""A model's tensors under one set of names, whatever file and family they come from.

    embedding  positions  norm  head                      and of layer 3, for example
    3.attention_norm  3.qkv  3.query_norm  3.key_norm  3.out  3.inner_norm  3.up  3.down

each with `.weight` and, where the shape has one, `.bias`. `qkv` is queries, keys and values one
below the other; `up` of a gated network is the gate above the rest. `positions` is there when they
are learned, `head` when it is not the embedding.

GGUF is dequantised as it is read: that takes a second for 135M parameters, less than reading a
converted copy from a disk would.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from parrotc.runtime.engines.embedded.ggufdata import read_tensor
from parrotc.runtime.engines.embedded.shape import Shape
from parrotc.runtime.gguf import read_header
from parrotc.runtime.models import ModelError, ModelFiles

T = TypeVar("T")

# What a module of a file becomes, and which part of that it is.
_LAYER = {
    "input_layernorm": ("attention_norm", 0),
    "self_attn.q_proj": ("qkv", 0),
    "self_attn.k_proj": ("qkv", 1),
    "self_attn.v_proj": ("qkv", 2),
    "self_attn.o_proj": ("out", 0),
    "post_attention_layernorm": ("inner_norm", 0),
    "mlp.gate_proj": ("up", 0),
    "mlp.up_proj": ("up", 1),
    "mlp.down_proj": ("down", 0),
    # Qwen3
    "self_attn.q_norm": ("query_norm", 0),
    "self_attn.k_norm": ("key_norm", 0),
    # Phi-3
    "self_attn.qkv_proj": ("qkv", 0),
    "mlp.gate_up_proj": ("up", 0),
    # OPT
    "self_attn_layer_norm": ("attention_norm", 0),
    "self_attn.out_proj": ("out", 0),
    "final_layer_norm": ("inner_norm", 0),
    "fc1": ("up", 0),
    "fc2": ("down", 0),
    # GGUF
    "attn_norm": ("attention_norm", 0),
    "attn_q": ("qkv", 0),
    "attn_k": ("qkv", 1),
    "attn_v": ("qkv", 2),
    "attn_qkv": ("qkv", 0),
    "attn_q_norm": ("query_norm", 0),
    "attn_k_norm": ("key_norm", 0),
    "attn_output": ("out", 0),
    "ffn_norm": ("inner_norm", 0),
    "ffn_gate": ("up", 0),
    "ffn_up": ("up", 1),
    "ffn_down": ("down", 0),
}
_OUTER = {
    "embed_tokens": "embedding",
    "token_embd": "embedding",
    "embed_positions": "positions",
    "norm": "norm",
    "final_layer_norm": "norm",
    "output_norm": "norm",
    "lm_head": "head",
    "output": "head",
}
# Not weights: the shape has what they say.
_COMPUTED = ("rotary_emb.inv_freq", "rope_freqs.weight", "rope_factors_")


def load_weights(files: ModelFiles, shape: Shape) -> dict[str, Tensor]:
    """By the names above, in the precision of the file (float32 from GGUF).

    Raises `ModelError` for files that are damaged, not whole, or of another shape.
    """
    try:
        files.check()
        tensors = _from_gguf(files.path, shape) if files.is_gguf else _from_folder(files.path)
        weights = _joined(tensors)
    except (OSError, ValueError, LookupError, SafetensorError) as error:
        raise ModelError(f"the weights of `{files.name}` cannot be read: {error}") from None
    if shape.is_tied:
        weights.pop("head.weight", None)  # some files hold the embedding twice
    _check(files.name, weights, shape)
    return weights


def tensor_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """All tensors of a model and their sizes."""
    hidden, inner = shape.hidden, shape.inner
    own, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    found: dict[str, tuple[int, ...]] = {"embedding.weight": (shape.vocab, hidden)}
    found |= _norm("norm", shape)
    if shape.rotary is None:
        rows = shape.context_length + shape.position_offset
        found["positions.weight"] = (rows, hidden)
    if not shape.is_tied:
        found["head.weight"] = (shape.vocab, hidden)
    for n in range(shape.layers):
        found |= _norm(f"{n}.attention_norm", shape) | _norm(f"{n}.inner_norm", shape)
        if shape.has_qk_norm:
            found[f"{n}.query_norm.weight"] = found[f"{n}.key_norm.weight"] = (shape.head_dim,)
        found |= _linear(f"{n}.qkv", own + 2 * keys, hidden, shape.has_qkv_bias)
        found |= _linear(f"{n}.out", hidden, own, shape.has_out_bias)
        found |= _linear(f"{n}.up", inner * (1 + shape.is_gated), hidden, shape.has_inner_bias)
        found |= _linear(f"{n}.down", hidden, inner, shape.has_inner_bias)
    return found


def _norm(name: str, shape: Shape) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias") if shape.norm == "layer" else ("weight",)
    return {f"{name}.{part}": (shape.hidden,) for part in parts}


def _linear(name: str, rows: int, columns: int, has_bias: bool) -> dict[str, tuple[int, ...]]:
    bias: dict[str, tuple[int, ...]] = {f"{name}.bias": (rows,)} if has_bias else {}
    return {f"{name}.weight": (rows, columns)} | bias


def _check(model: str, weights: Mapping[str, Tensor], shape: Shape) -> None:
    wanted = tensor_shapes(shape)
    for name, size in wanted.items():
        found = tuple(weights[name].shape) if name in weights else None
        if found != size:
            raise ModelError(
                f"the weights of `{model}` are not whole: {name} is {found}, not {size}"
            )
    more = sorted(weights.keys() - wanted.keys())
    if more:
        raise ModelError(
            f"the weights of `{model}` hold {more[0]}, for which its config has no use"
        )


def _joined(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors by the names above. Raises `ValueError` for one that is not known."""
    parts: dict[str, dict[int, Tensor]] = {}
    for source, tensor in tensors:
        if not any(name in source for name in _COMPUTED):
            name, part = _name(source)
            parts.setdefault(name, {})[part] = tensor
    return {name: _stacked(found) for name, found in parts.items()}


def _stacked(parts: Mapping[int, Tensor]) -> Tensor:
    """One below the other; no copy of a single one."""
    tensors = [parts[part] for part in sorted(parts)]
    return torch.cat(tensors) if len(tensors) > 1 else tensors[0]


def _name(source: str) -> tuple[str, int]:
    """Our name of a tensor, and which part of that it is."""
    module, _, kind = source.removeprefix("model.").removeprefix("decoder.").rpartition(".")
    for prefix in ("layers.", "blk."):
        if module.startswith(prefix):
            number, _, rest = module.removeprefix(prefix).partition(".")
            name, part = _known(_LAYER, rest, source)
            return f"{number}.{name}.{kind}", part
    return f"{_known(_OUTER, module, source)}.{kind}", 0


def _known(names: Mapping[str, T], module: str, source: str) -> T:
    if module not in names:
        raise ValueError(f"{source} is no tensor of a model that can be run")
    return names[module]


def _from_folder(folder: Path) -> Iterator[tuple[str, Tensor]]:
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists():
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    for name in names:
        yield from load_file(folder / name).items()


def _from_gguf(path: Path, shape: Shape) -> Iterator[tuple[str, Tensor]]:
    header = read_header(path)
    rotates_neighbours = header.metadata["general.architecture"] == "llama"
    for info in header.tensors:
        tensor = torch.from_numpy(read_tensor(path, info))
        if rotates_neighbours and info.name.split(".")[-2] in ("attn_q", "attn_k"):
            tensor = _halves(tensor, shape.head_dim)
        yield info.name, tensor


def _halves(rows: Tensor, dim: int) -> Tensor:
    """From llama.cpp's order, which rotates neighbours, to Hugging Face's, which rotates halves."""
    pairs = rows.reshape(-1, dim // 2, 2, *rows.shape[1:])
    return pairs.transpose(1, 2).reshape(rows.shape)
