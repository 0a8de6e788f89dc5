"""What the attention of this package cannot do, refused by name.

A model that asks for one of these gets an error and never an approximation.
"""

import torch
from torch import Tensor

from parrotc.kernels.worklist import WorkList

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def refuse(
    dtype: torch.dtype,
    *,
    soft_cap: float | None = None,
    window: int | None = None,
    alibi: bool = False,
) -> None:
    """Raise `ValueError` for what is not supported.

    `soft_cap` bounds the scores by tanh, `window` is how many last keys a query sees, `alibi` adds
    a slope by distance; 8-bit floats are refused by their dtype.
    """
    if dtype not in DTYPES:
        raise ValueError(f"attention over {dtype} keys is not supported")
    if soft_cap:
        raise ValueError(f"attention with a soft cap ({soft_cap}) is not supported")
    if window is not None:
        raise ValueError(f"attention with a sliding window ({window}) is not supported")
    if alibi:
        raise ValueError("attention with ALiBi slopes is not supported")


def require_shapes(queries: Tensor, keys: Tensor, values: Tensor, work: WorkList) -> None:
    """Raise `ValueError` unless the shapes are those that attention on a CPU has for `work`."""
    if keys.shape != values.shape or keys.dim() != 4 or keys.shape[1] != work.block:
        raise ValueError(f"keys {list(keys.shape)}, values {list(values.shape)}")
    if queries.shape[0] != work.tokens or queries.shape[2] != keys.shape[3]:
        raise ValueError(f"queries {list(queries.shape)} for {work.tokens} tokens")
    if queries.shape[1] % keys.shape[2]:
        raise ValueError(f"{queries.shape[1]} heads over {keys.shape[2]} key heads")
