"""The forward pass of a Llama model over one step of work, in plain torch.

A step is a flat list of tokens, whoever they belong to; what each may look at is its list of
reads. So prompts and generations of any number go through the same matrices at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from parrotc.kernels.treeattention import Read, attend
from parrotc.runtime.engines.embedded.linear import FloatLinear, Int8Linear, Linear
from parrotc.runtime.engines.embedded.shape import Shape

PRECISIONS = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "int8": torch.float32,  # of everything but the weights
}


@dataclass(frozen=True, slots=True)
class Step:
    """One forward pass. `write(layer, keys, values)` stores the new keys and values
    `[tokens, kv_heads, dim]`, `reads(layer)` lists what is read after that, `rows` by whom."""

    ids: Tensor  # [tokens]
    positions: Tensor  # [tokens]
    rows: Tensor
    write: Callable[[int, Tensor, Tensor], None]
    reads: Callable[[int], Sequence[Read]]


@dataclass(frozen=True, slots=True)
class _Layer:
    attention_norm: Tensor
    qkv: Linear
    out: Linear
    inner_norm: Tensor
    gate_up: Linear
    down: Linear


class Llama:
    """Weights in one precision. Not changed by running."""

    def __init__(self, shape: Shape, weights: Mapping[str, Tensor], precision: str) -> None:
        self.shape = shape
        self.dtype = PRECISIONS[precision]
        linear = Int8Linear if precision == "int8" else FloatLinear

        def get(name: str) -> Tensor:
            return weights[f"{name}.weight"].to(self.dtype)

        def layer(number: int) -> _Layer:
            def at(name: str) -> Tensor:
                return get(f"model.layers.{number}.{name}")

            qkv = torch.cat([at(f"self_attn.{name}_proj") for name in "qkv"])
            gate_up = torch.cat([at("mlp.gate_proj"), at("mlp.up_proj")])
            return _Layer(
                attention_norm=at("input_layernorm"),
                qkv=linear(qkv),
                out=linear(at("self_attn.o_proj")),
                inner_norm=at("post_attention_layernorm"),
                gate_up=linear(gate_up),
                down=linear(at("mlp.down_proj")),
            )

        self._embedding = get("model.embed_tokens")
        self._layers = [layer(number) for number in range(shape.layers)]
        self._norm = get("model.norm")
        self._head: Linear = linear(
            get("lm_head") if "lm_head.weight" in weights else self._embedding
        )
        powers = torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim
        self._frequencies = shape.theta**-powers

    @property
    def bytes_per_token(self) -> int:
        """Of the keys and values that a context keeps."""
        shape = self.shape
        return 2 * shape.layers * shape.kv_heads * shape.head_dim * self.dtype.itemsize

    def forward(self, step: Step) -> Tensor:
        """The last hidden state of every token, `[tokens, hidden]`."""
        shape = self.shape
        cos, sin = self._rotation(step.positions)
        x = self._embedding[step.ids]
        for number, layer in enumerate(self._layers):
            mixed = layer.qkv(self._normed(x, layer.attention_norm))
            heads = mixed.reshape(len(x), shape.heads + 2 * shape.kv_heads, shape.head_dim)
            values = heads[:, shape.heads + shape.kv_heads :]
            turned = _rotated(heads[:, : shape.heads + shape.kv_heads], cos, sin)
            queries, keys = turned[:, : shape.heads], turned[:, shape.heads :]
            step.write(number, keys, values)
            found = attend(queries, step.reads(number), step.rows)
            x = x + layer.out(found.reshape(len(x), -1))
            gate, up = layer.gate_up(self._normed(x, layer.inner_norm)).chunk(2, dim=1)
            x = x + layer.down(F.silu(gate).mul_(up))
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """`[rows, vocab]`, in float32 or float64."""
        scores = self._head(self._normed(hidden, self._norm))
        return scores if scores.dtype == torch.float64 else scores.float()

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, (self.shape.hidden,), weight, self.shape.epsilon)

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of each position's angles, `[tokens, 1, dim / 2]`."""
        angles = positions[:, None, None].double() * self._frequencies
        return angles.cos().to(self.dtype), angles.sin().to(self.dtype)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: the two halves of each head are the two coordinates of a plane."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
