"""The forward pass in int8 with fewer passes over memory, for the shape that most models have.

Between two products of bytes there is one pass that does all there is to do: what the product still
lacks (the factor of its row), the residual, the norm, the activation or the rotary positions, and
the rounding for the next product. Numbers are those of the plain pass but for the order of a few
operations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from parrotc.kernels.dense import LANES, Dense, Rounded, room
from parrotc.runtime.engines.embedded.layers import Attend, Layer, Norm, RmsNorm
from parrotc.runtime.engines.embedded.linear import Linear
from parrotc.runtime.engines.embedded.quantised import Int8Linear
from parrotc.runtime.engines.embedded.shape import Shape


@dataclass(frozen=True, slots=True)
class _Layer:
    attention_norm: RmsNorm
    qkv: Int8Linear
    out: Int8Linear
    inner_norm: RmsNorm
    up: Int8Linear
    down: Int8Linear


@dataclass(frozen=True, slots=True)
class Fused:
    """`turns` `[length, pairs]` complex64, as `Model` has them."""

    shape: Shape
    layers: tuple[_Layer, ...]
    norm: RmsNorm
    head: Int8Linear
    turns: Tensor
    dense: Dense

    def forward(self, x: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """The last hidden state of every token `[tokens, hidden]`, which is `x`, written over."""
        shape, dense, rows = self.shape, self.dense, x.shape[0]  # `len` of a tensor takes 6 µs
        product: Tensor | None = None  # of the layer before, not added yet
        tops: Tensor | None = None
        turned = shape.heads + shape.kv_heads
        parts = (shape.heads, shape.kv_heads, shape.kv_heads)
        # each is read by the product after it and, its factors, by the pass after that one
        normed, gated = room(rows, shape.hidden), room(rows, shape.inner)
        seen = room(rows, shape.heads * shape.head_dim)
        for number, layer in enumerate(self.layers):
            rounded, tops = self._norm(layer.attention_norm, x, product, tops, normed)
            mixed = layer.qkv.product(rounded)
            dense.turn(mixed, tops, layer.qkv.bias, self.turns, positions, turned, shape.head_dim)
            heads = mixed.view(rows, turned + shape.kv_heads, shape.head_dim)
            found = attend(number, *heads.split_with_sizes(parts, 1))
            rounded, tops = dense.round(found.reshape(rows, -1), seen)
            product = layer.out.product(rounded)
            rounded, tops = self._norm(layer.inner_norm, x, product, tops, normed)
            rounded, tops = dense.gate(layer.up.product(rounded), tops, gated)
            product = layer.down.product(rounded)
        if product is not None and tops is not None:
            x.addcmul_(product, tops[:, None])
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        rounded, tops = self._norm(self.norm, hidden.contiguous(), None, None, None)
        return self.head.product(rounded).mul_(tops[:, None])

    def _norm(
        self,
        norm: RmsNorm,
        x: Tensor,
        product: Tensor | None,
        scale: Tensor | None,
        into: Rounded | None,
    ) -> Rounded:
        assert norm.weight is not None
        return self.dense.norm(x, product, scale, norm.weight, norm.epsilon, into)


def fused(
    shape: Shape,
    layers: Sequence[Layer],
    norm: Norm,
    head: Linear,
    turns: Tensor | None,
    dense: Dense,
) -> Fused | None:
    """The fused form of a model in int8, or None for one that it does not fit."""
    if not shape.is_gated or shape.activation != "silu":
        return None
    if turns is None or turns.dtype != torch.complex64:
        return None
    widths = shape.hidden, shape.inner, shape.head_dim, 2 * turns.shape[1]
    if any(width % LANES for width in widths):
        return None
    found = [part for part in map(_fused, layers) if part is not None]
    match norm, head:
        case RmsNorm(), Int8Linear() if len(found) == len(layers) and _is_plain(head):
            return Fused(shape, tuple(found), norm, head, turns.contiguous(), dense)
    return None


def _fused(layer: Layer) -> _Layer | None:
    """A layer whose parts are all of the kinds that there are passes for."""
    match layer:
        case Layer(
            attention_norm=RmsNorm() as before,
            qkv=Int8Linear(packed=Tensor()) as qkv,
            head_norm=None,
            out=Int8Linear() as out,
            inner_norm=RmsNorm() as inner,
            up=Int8Linear() as up,
            down=Int8Linear() as down,
        ) if all(map(_is_plain, (out, up, down))):
            return _Layer(before, qkv, out, inner, up, down)
    return None


def _is_plain(linear: Linear) -> bool:
    """Whether it is a product of bytes and nothing else."""
    return isinstance(linear, Int8Linear) and linear.packed is not None and linear.bias is None
