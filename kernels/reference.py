"""Attention as it is defined: a plain softmax over each reader's own keys, in float64.

It looks at the readers of a work list and not at its items: nothing is shared, cut or merged. So it
judges the plan as well as the kernel, and every other implementation is measured against it.
"""

import torch
from torch import Tensor

from parrotc.kernels.worklist import WorkList


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, work: WorkList, *, scale: float | None = None
) -> Tensor:
    """What the query at each position finds in the keys of its reader up to that position.

    Shapes, with T tokens, H heads over K key heads (query head h reads key head h · K // H):
        queries: [T, H, dim], any float dtype
        keys, values: [blocks, block, K, dim]
        returns: [T, H, dim] in the dtype of `queries`

    `scale` is dim ** -0.5 if not given.
    """
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    out, row = [], 0
    for reader in work.readers:
        total = reader.before + reader.count
        own, found = (x[list(reader.blocks)].flatten(0, 1)[:total] for x in (keys, values))
        rows = queries[row : row + reader.count].double()
        out.append(_softmax(rows, own.double(), found.double(), scale))
        row += reader.count
    return torch.cat(out).to(queries.dtype)


def _softmax(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """The last queries `[count, H, dim]` of a sequence over all its `[n, K, dim]`."""
    count, length, heads = len(queries), len(keys), keys.shape[1]
    grouped = queries.view(count, heads, -1, queries.shape[2])
    scores = torch.einsum("qkgd,nkd->kgqn", grouped, keys) * scale
    beyond = torch.ones(count, length, device=keys.device).triu(length - count + 1).bool()
    weights = scores.masked_fill(beyond, float("-inf")).softmax(-1)
    return torch.einsum("kgqn,nkd->qkgd", weights, values).flatten(1, 2)
