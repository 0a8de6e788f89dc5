"""What a layer of a model is made of."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from parrotc.runtime.engines.embedded.linear import Linear

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
Norm = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Layer:
    attention_norm: Norm
    qkv: Linear
    head_norm: Norm | None  # of queries and keys
    out: Linear
    inner_norm: Norm
    up: Linear
    down: Linear


class RmsNorm:
    """Divides by the root mean square of the last dimension, as computed in float32 at least."""

    def __init__(self, weight: Tensor, epsilon: float, *, is_folded: bool = False) -> None:
        """`is_folded`: the matrix after it has the weight."""
        self.weight = None if is_folded else weight
        self.epsilon = epsilon
        self._wide = torch.promote_types(weight.dtype, torch.float32)
        self._epsilon = torch.full((1, 1), epsilon, dtype=self._wide, device=weight.device)

    def __call__(self, x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=self._wide)
        scale = torch.addcmul(self._epsilon, size, size, value=1 / x.shape[-1]).rsqrt_()
        y = (x * scale).to(x.dtype)
        return y if self.weight is None else y.mul_(self.weight)
