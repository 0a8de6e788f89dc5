"""Attention over a tree of contexts: what several queries share is read once for all of them.

A step has a list of *reads*. Each is some keys and the queries that look at them; together, the
reads of a query cover its path from the root of the tree. Their results are merged by their
log-sum-exp, which is exact, so how keys are cut into reads does not matter.

    keys    shared prompt ────┬── question 1 ── own tokens        reads: prompt → queries 0, 1
                              └── question 2 ── own tokens               question 1 → query 0, …

Source: the softmax rescaling of Milakov and Gimelshein, arXiv:1805.02867, used for shared prefixes
as in Hydragen, arXiv:2402.05099.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


@dataclass(frozen=True, slots=True)
class Read:
    """Keys and values `[n, kv_heads, length, dim]`, and how many queries read them.

    n = 1: all `count` queries read the same. n = count: each reads its own, as far as its row of
    `mask` (`[n, 1, 1, length]`, 0 or -inf) lets it. `causal` (n = 1, count = length): query i reads
    the first i + 1.
    """

    keys: Tensor
    values: Tensor
    count: int
    causal: bool = False
    mask: Tensor | None = None


def attend(queries: Tensor, reads: Sequence[Read], rows: Tensor) -> Tensor:
    """What each query finds in all that it reads.

    Shapes, with T queries, H heads over K key heads (query head h reads key head h · K // H):
        queries: [T, H, dim] float32, float64 or bfloat16
        rows: [R] int64: the queries of the first read, then of the second, …
        returns: [T, H, dim] in the dtype of `queries`

    Every query is in at least one read, and no read has length 0. Accumulates in float32, or
    float64 for float64. Within 1e-6 (float32) and 1e-14 (float64) of dense attention.
    """
    heads = reads[0].keys.shape[1]
    total, width, dim = queries.shape
    grouped = queries.view(total, heads, width // heads, dim).transpose(0, 1)[:, rows]
    parts = torch.split(grouped, [read.count for read in reads], dim=1)
    found = [_read(part, read) for part, read in zip(parts, reads, strict=True)]
    out = torch.cat([out for out, _ in found], dim=1)
    lse = torch.cat([lse for _, lse in found], dim=1)
    merged = _merge(out, lse, rows, total)
    return merged.transpose(0, 1).reshape(total, width, dim)


def _read(queries: Tensor, read: Read) -> tuple[Tensor, Tensor]:
    """One read by queries `[K, count, G, dim]`: their values and their natural log-sum-exp."""
    heads, count, group, dim = queries.shape
    if read.causal and count > 1:
        return _read_causal(queries, read)
    if read.mask is not None:
        mask = read.mask.expand(count, 1, group, -1)
        out, lse = _flash(queries.transpose(0, 1), read.keys, read.values, attn_mask=mask)
        return out.transpose(0, 1), lse.transpose(0, 1)
    # all queries of a key head in one product, whatever their head in the group
    folded = queries.reshape(1, heads, count * group, dim)
    out, lse = _flash(folded, read.keys, read.values)
    return out.view(heads, count, group, dim), lse.view(heads, count, group)


def _read_causal(queries: Tensor, read: Read) -> tuple[Tensor, Tensor]:
    heads, count, group, dim = queries.shape
    flat = queries.transpose(1, 2).reshape(1, heads * group, count, dim)
    keys, values = (x.repeat_interleave(group, dim=1) for x in (read.keys, read.values))
    out, lse = _flash(flat, keys, values, is_causal=True)
    out = out.view(heads, group, count, dim).transpose(1, 2)
    return out, lse.view(heads, group, count).transpose(1, 2)


def _merge(out: Tensor, lse: Tensor, rows: Tensor, total: int) -> Tensor:
    """`[K, R, G, dim]` partial results by query, as one result `[K, total, G, dim]`."""
    heads, _, group, dim = out.shape
    top = lse.new_full((heads, total, group), float("-inf"))
    top.scatter_reduce_(1, rows[None, :, None].expand_as(lse), lse, "amax")
    weight = torch.exp(lse - top[:, rows])
    norm = weight.new_zeros(top.shape).index_add_(1, rows, weight)
    weight /= norm[:, rows]
    merged = weight.new_zeros(heads, total, group, dim)
    return merged.index_add_(1, rows, out * weight[..., None]).to(out.dtype)
