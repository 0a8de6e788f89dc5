"""Matrices that hidden states are multiplied with, in floating point.

On a CPU they are packed once into the blocks that oneDNN multiplies with: measured with 1 to 512
rows of SmolLM2-135M in float32 on two Zen 4 cores, that takes 0.4 to 1.0 of the time of `F.linear`,
the most gained between 4 and 64 rows.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Linear(Protocol):
    def __call__(self, x: Tensor) -> Tensor:
        """`x` [rows, in] → [rows, out], a tensor of its own."""
        ...

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """`residual` [rows, out] and what `x` gives, added."""
        ...


def float_linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """A matrix `[out, in]` and a bias `[out]`, in the form that is fastest where they are."""
    kind = PackedLinear if _can_pack(weight) else PlainLinear
    return kind(weight, bias)


class PlainLinear:
    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        return self(x).add_(residual)


class PackedLinear:
    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return y

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            x, residual, self.weight, self.bias, "add"
        )
        return y


def _can_pack(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or not torch._C._has_mkldnn:
        return False
    match weight.dtype:
        case torch.float32:
            return True
        case torch.bfloat16:
            return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        case torch.float16:
            return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return False
