"""Matrices in eight bits (W8A8): weights rounded by output channel, inputs by row.

    y[t, o] = Σ q[t, i] · W[o, i] · (amax[t] / 127) · (scale[o] / 127)

where row t of the inputs is rounded to q by its largest magnitude `amax[t]`, and channel o of the
weights to W by its largest magnitude `scale[o]`. On SmolLM2-135M this costs 0.02 to 0.04 nats a
token.
"""

import torch
from torch import Tensor

from parrotc.kernels.dense import FEW, Dense

_ZERO = 128  # what stands for 0 where bytes have no sign
_SHIFT = 1.5 * 2**23  # added to a small float32, it leaves the rounded number in its lowest bits


class Int8Linear:
    """Implements `Linear` for float32 on a CPU.

    The weights are kept twice. oneDNN multiplies packed ones with unsigned inputs, and with the
    factors of the channels, but takes 20 µs to begin; for a few rows our own product (`dense`) is
    faster, or for one row `_int_mm`. Where the processor has no dot products of bytes, that is all
    there is.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, dense: Dense | None = None
    ) -> None:
        """Rounds `weight` `[out, in]`; `bias` `[out]` is kept as it is."""
        largest = weight.abs().amax(1).clamp_min_(1e-8)
        rounded = (weight * (127 / largest)[:, None]).round_().to(torch.int8)
        self.scale = largest / 127**2
        self.bias = bias
        self.weight = rounded.t()  # of contiguous rows
        self.shift = torch.full((1, weight.shape[1]), _SHIFT)
        self.packed: Tensor | None = None
        self._dense = None if len(weight) % 4 or weight.shape[1] % 16 else dense
        self._zeros = (_ZERO * rounded.int().sum(1)).int()
        if _can_pack():
            self.packed = torch.ops.onednn.qlinear_prepack(rounded, None)
            self.zeros = torch.zeros(len(largest), dtype=torch.int64)
            self.packed_shift = self.shift + _ZERO

    def __call__(self, x: Tensor) -> Tensor:
        amax = _amax(x)
        y = self._product(x, amax).mul_(amax)
        return y if self.bias is None else y.add_(self.bias)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        amax = _amax(x)
        y = torch.addcmul(residual, self._product(x, amax), amax)
        return y if self.bias is None else y.add_(self.bias)

    def _product(self, x: Tensor, amax: Tensor) -> Tensor:
        """What is still to be multiplied with `amax`."""
        if self.packed is None or len(x) == 1:
            rounded = _rounded(x, amax, self.shift).to(torch.int8)
            return torch._int_mm(rounded, self.weight) * self.scale
        return self.product(_rounded(x, amax, self.packed_shift).to(torch.uint8))

    def product(self, rounded: Tensor) -> Tensor:
        """Of rows `[rows, in]` uint8 with 128 for 0; still to be multiplied with what they were
        divided by. Needs `packed`."""
        if self._dense is not None and rounded.shape[0] <= FEW:
            return self._dense.products(rounded, self.weight.t(), self._zeros, self.scale)
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, _ZERO,
            self.packed, self.scale, self.zeros, None,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return y


def _can_pack() -> bool:
    """Whether the processor has dot products of bytes: without them their sums may saturate."""
    return bool(torch._C._has_mkldnn and torch.cpu._is_vnni_supported())


def _amax(x: Tensor) -> Tensor:
    """The largest magnitude of each row, `[rows, 1]`. Where it is 0, the row is rounded to some
    bytes or others, but what they give is multiplied with this 0."""
    return x.abs().amax(1, keepdim=True)


def _rounded(x: Tensor, amax: Tensor, shift: Tensor) -> Tensor:
    """Integers whose lowest byte is the nearest to 127 · x / amax, or that plus 128.

    The sum of a float32 and `shift` is rounded to the integer (half-way ones to the even one) and
    has it in its lowest bits. So one pass rounds and another takes the bytes, in two thirds of the
    time of `round` and a conversion.
    """
    return torch.addcmul(shift, x, amax.reciprocal(), value=127).view(torch.int32)
