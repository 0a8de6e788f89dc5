"""Attention over a work list in vectorised torch: what runs on a CPU.

`reads.py` turns the items of a step into a short list of calls of torch's fused attention, which
also gives the log-sum-exp (natural here) by which their results are merged. Heads that share a key
head are rows of one product; keys are read where they lie, or gathered once a layer into a buffer
that lasts for the step.

Source: the softmax rescaling of Milakov and Gimelshein, arXiv:1805.02867, used for shared prefixes
as in Hydragen, arXiv:2402.05099.
"""

import torch
from torch import Tensor

from parrotc.kernels.limits import DTYPES, require_shapes
from parrotc.kernels.reads import Batch, Read, reads_of
from parrotc.kernels.worklist import WorkList

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, work: WorkList, *, scale: float | None = None
) -> Tensor:
    """What each query finds in the keys of all its items, put together.

    Shapes, with T tokens, H heads over K key heads (query head h reads key head h · K // H):
        queries: [T, H, dim] float32, float64, bfloat16 or float16; may be a slice of wider rows
        keys, values: [blocks, block, K, dim], contiguous, in the dtype of `queries`; finite also
            where nothing was written yet, because a padded read multiplies that by 0
        returns: [T, H, dim] in the dtype of `queries`

    `scale` is dim ** -0.5 if not given. Accumulates in float32, or float64 for float64. Within 1e-6
    (float32), 1e-14 (float64) and 1e-2 (bfloat16, float16) of `reference.attend`. Equal inputs give
    equal bits. Raises `ValueError` when shapes, dtypes or layout differ from the above.
    """
    _check(queries, keys, values, work)
    plan = work.once(reads_of, len(keys), keys.dtype)
    buffer = work.once(_buffer, keys.shape, keys.dtype)
    pools = keys.flatten(0, 1), values.flatten(0, 1)
    gathered = pools
    if plan.gather is not None:
        for pool, room in zip((keys, values), buffer, strict=True):
            torch.index_select(pool, 0, plan.gather, out=room)
        gathered = buffer[0].flatten(0, 1), buffer[1].flatten(0, 1)
    grouped = queries.view(len(queries), keys.shape[2], -1, queries.shape[2])
    state: tuple[Tensor, Tensor] | None = None
    for read in plan.reads:
        own, source = grouped[read.rows], gathered if read.gathered else pools
        if isinstance(read, Batch):
            part = _batch(own, *source, read, scale)
        else:
            part = (_causal if read.causal else _all)(own, *source, read, scale)
        if state is None:
            state = _begun(grouped, read, *part)
        else:
            _merge(*state, read, *part)
    if state is None:  # a step without tokens
        return torch.empty_like(queries)
    return state[0].to(queries.dtype).reshape(queries.shape)


def _all(
    queries: Tensor, keys: Tensor, values: Tensor, read: Read, scale: float | None
) -> tuple[Tensor, Tensor]:
    """Queries `[n, K, G, dim]` over one stretch of `[rows, K, dim]`: result, and log-sum-exp."""
    count, heads, group, dim = queries.shape
    folded = queries.transpose(0, 1).reshape(1, heads, count * group, dim)
    own, found = (x[read.start : read.start + read.length].transpose(0, 1) for x in (keys, values))
    out, lse = _flash(folded, own[None], found[None], scale=scale)
    out, lse = out.view(heads, count, group, dim), lse.view(heads, count, group)
    return out.transpose(0, 1), lse.transpose(0, 1)


def _causal(
    queries: Tensor, keys: Tensor, values: Tensor, read: Read, scale: float | None
) -> tuple[Tensor, Tensor]:
    """As `_all`, but query i sees i + 1 keys: so the heads of a group cannot be rows of one."""
    _, heads, group, dim = queries.shape
    own, found = (
        x[read.start : read.start + read.length]
        .transpose(0, 1)[:, None]
        .expand(heads, group, read.length, dim)
        for x in (keys, values)
    )
    out, lse = _flash(queries.permute(1, 2, 0, 3), own, found, is_causal=True, scale=scale)
    return out.permute(2, 0, 1, 3), lse.permute(2, 0, 1)


def _batch(
    queries: Tensor, keys: Tensor, values: Tensor, read: Batch, scale: float | None
) -> tuple[Tensor, Tensor]:
    """As `_all`, but each query has a stretch of its own."""
    count, heads, group, dim = queries.shape
    shape, width = (count, heads, read.length, dim), heads * dim
    stride, start = (read.step * width, dim, width, 1), read.start * width
    own, found = (x.as_strided(shape, stride, x.storage_offset() + start) for x in (keys, values))
    mask = None if read.mask is None else read.mask.expand(-1, -1, group, -1)
    out, lse = _flash(queries, own, found, attn_mask=mask, scale=scale)
    return out, lse


def _begun(queries: Tensor, read: Read | Batch, part: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
    """Result and log-sum-exp of all rows after the first read: 0 and -inf where it was not."""
    precise = lse.dtype
    if read.rows == slice(0, len(queries)):
        return part.to(precise), lse
    out = torch.zeros(queries.shape, dtype=precise)
    whole = torch.full(queries.shape[:3], float("-inf"), dtype=precise)
    out[read.rows], whole[read.rows] = part.to(precise), lse
    return out, whole


def _merge(out: Tensor, lse: Tensor, read: Read | Batch, part: Tensor, part_lse: Tensor) -> None:
    """Put a partial result into the rows of what was found so far.

    A row without anything has -inf and 0: sigmoid(x + inf) = 1 then takes the new part as it is.
    """
    rows, part = read.rows, part.to(out.dtype)
    if read.fresh:
        out[rows], lse[rows] = part, part_lse
        return
    before = lse[rows]
    weight = torch.sigmoid(part_lse - before)[..., None]
    if isinstance(rows, slice):  # views: in place
        torch.logaddexp(before, part_lse, out=before)
        out[rows].lerp_(part, weight)
    else:
        lse[rows] = torch.logaddexp(before, part_lse)
        out[rows] = torch.lerp(out[rows], part, weight)


def _buffer(work: WorkList, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Room for the gathered keys and values of one layer, used again by the next."""
    gather = work.once(reads_of, shape[0], dtype).gather
    return torch.empty((2, 0 if gather is None else len(gather), *shape[1:]), dtype=dtype)


def _check(queries: Tensor, keys: Tensor, values: Tensor, work: WorkList) -> None:
    require_shapes(queries, keys, values, work)
    if not queries.dtype == keys.dtype == values.dtype or queries.dtype not in DTYPES:
        raise ValueError(f"dtypes {queries.dtype}, {keys.dtype}, {values.dtype}")
    if not (keys.is_contiguous() and values.is_contiguous() and queries.stride(2) == 1):
        raise ValueError("keys and values must be contiguous, queries in their last dimension")
