"""A model's tensors by their Hugging Face names, in float32, from GGUF or safetensors.

GGUF is dequantised as it is read: that takes a second for 135M parameters, less than reading a
converted copy from a disk would.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from parrotc.runtime.engines.embedded.shape import Shape
from parrotc.runtime.gguf import TensorInfo, read_header
from parrotc.runtime.models import ModelError, ModelFiles

_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def load_weights(files: ModelFiles, shape: Shape) -> dict[str, Tensor]:
    """Raises `ModelError` for files that are damaged or not whole."""
    try:
        files.check()
        weights = _from_gguf(files.path, shape) if files.is_gguf else _from_folder(files.path)
    except (OSError, ValueError, LookupError, SafetensorError) as error:
        raise ModelError(f"the weights of `{files.name}` cannot be read: {error}") from None
    _check_whole(files, weights, shape)
    return weights


def _check_whole(files: ModelFiles, weights: Mapping[str, Tensor], shape: Shape) -> None:
    for name, wanted in _shapes(shape).items():
        found = tuple(weights[name].shape) if name in weights else None
        if found != wanted:
            raise ModelError(
                f"the weights of `{files.name}` are not whole: {name} is {found}, not {wanted}"
            )


def _shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """The tensors that a model must have. `lm_head` may be left out: then it is the embedding."""
    own, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    layer = {
        "input_layernorm": (shape.hidden,),
        "self_attn.q_proj": (own, shape.hidden),
        "self_attn.k_proj": (keys, shape.hidden),
        "self_attn.v_proj": (keys, shape.hidden),
        "self_attn.o_proj": (shape.hidden, own),
        "post_attention_layernorm": (shape.hidden,),
        "mlp.gate_proj": (shape.inner, shape.hidden),
        "mlp.up_proj": (shape.inner, shape.hidden),
        "mlp.down_proj": (shape.hidden, shape.inner),
    }
    shapes: dict[str, tuple[int, ...]] = {
        f"model.layers.{n}.{name}.weight": size
        for n in range(shape.layers)
        for name, size in layer.items()
    }
    shapes["model.embed_tokens.weight"] = (shape.vocab, shape.hidden)
    shapes["model.norm.weight"] = (shape.hidden,)
    return shapes


def _from_folder(folder: Path) -> dict[str, Tensor]:
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists():
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    weights: dict[str, Tensor] = {}
    for name in names:
        weights.update(load_file(folder / name))
    return {name: tensor.float() for name, tensor in weights.items()}


def _from_gguf(path: Path, shape: Shape) -> dict[str, Tensor]:
    data = np.memmap(path, mode="r")
    weights = {}
    for info in read_header(path).tensors:
        name = _name(info.name)
        tensor = torch.from_numpy(_dequantised(data, info))
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            tensor = _halves(tensor, shape.head_dim)
        weights[name] = tensor
    return weights


def _name(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem.startswith("blk."):
        _, number, rest = stem.split(".", 2)
        return f"model.layers.{number}.{_LAYER[rest]}.weight"
    return f"{_OUTER[stem]}.weight"


def _dequantised(data: np.memmap, info: TensorInfo) -> np.ndarray:
    kind = GGMLQuantizationType(info.kind)
    block, block_bytes = GGML_QUANT_SIZES[kind]
    raw = data[info.offset : info.offset + math.prod(info.shape) // block * block_bytes]
    rows = raw.reshape(*info.shape[:-1], -1)  # a ValueError where the file was cut
    return np.array(dequantize(rows, kind), dtype=np.float32)


def _halves(weight: Tensor, dim: int) -> Tensor:
    """From llama.cpp's order, which rotates neighbours, to Hugging Face's, which rotates halves."""
    rows, width = weight.shape
    return weight.view(rows // dim, dim // 2, 2, width).transpose(1, 2).reshape(rows, width)
