"""Attention over a work list in Triton: what runs on CUDA.

Two launches whatever the depth of sharing. `_partials` is a persistent grid over the tasks of
`schedule.py`: online softmax in base 2, float32 accumulators, a partial result and its base-2
log-sum-exp for each query and head. `_merge` then puts the partial results of each query together,
in the order of their keys' positions.

Everything a launch reads is in `Buffers`, of a size that does not change, with the number of tasks
and tokens on the device. So a captured CUDA graph runs any step that fits its buffers.

Source: FlashAttention-2, arXiv:2307.08691, and its split over keys; sharing as in Hydragen,
arXiv:2402.05099. GQA packing: row r of a tile is query r // G and head r % G of the group.
"""

from dataclasses import dataclass, fields

import torch
import triton
import triton.language as tl
from torch import Tensor

from parrotc.kernels.limits import refuse
from parrotc.kernels.schedule import COLUMNS, Schedule, Tiles, schedule
from parrotc.kernels.worklist import WorkList

LOG2_E = 1.4426950408889634
WIDTH = tl.constexpr(len(COLUMNS))


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    work: WorkList,
    *,
    scale: float | None = None,
    tiles: Tiles | None = None,
) -> Tensor:
    """What each query finds in the keys of all its items, put together.

    Shapes, with T tokens, H heads over K key heads (query head h reads key head h · K // H):
        queries: [T, H, dim] float32, bfloat16 or float16; may be a slice of wider rows
        keys, values: [blocks, block, K, dim], contiguous, in the dtype of `queries`
        returns: [T, H, dim] in the dtype of `queries`

    `scale` is dim ** -0.5 if not given. dim is 16 to 256, H // K at most the rows of a narrow tile.
    Within 2e-6 (float32), 2e-3 (float16) and 2e-2 (bfloat16) of `reference.attend`. With a work
    list of `align` above 1 a query's result does not depend, to the bit, on what else is in the
    step or on what is shared. Raises `ValueError` for anything else, 8-bit floats among it.
    """
    check(queries, keys, values)
    if len(queries) != work.tokens or keys.shape[1] != work.block:
        raise ValueError(f"queries {list(queries.shape)} for {work.tokens} tokens")
    tiles = tiles or Tiles()
    heads, dim = queries.shape[1:]
    buffers = work.once(_buffers, queries.device, heads, keys.shape[2], dim, tiles)
    out = torch.empty(queries.shape, dtype=queries.dtype, device=queries.device)
    return launch(queries, keys, values, buffers, out, scale=scale, tiles=tiles)


@dataclass(frozen=True, slots=True)
class Size:
    """What buffers have room for."""

    tasks: int
    blocks: int
    rows: int
    tokens: int
    partials: int

    @staticmethod
    def of(plan: Schedule) -> "Size":
        """Just enough for one schedule."""
        return Size(
            len(plan.tasks), len(plan.blocks), len(plan.rows), len(plan.positions), plan.partials
        )


class Buffers:
    """A schedule on the device and room for its partial results, at addresses that stay.

    `load` replaces the schedule by another one that fits; what is left of each buffer becomes zero,
    so that nothing of a larger step before is ever read.
    """

    def __init__(self, size: Size, heads: int, dim: int, device: torch.device) -> None:
        def whole(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int32, device=device)

        self.size = size
        self.count = whole(2)  # tasks, tokens
        self.tasks = whole(size.tasks, len(COLUMNS))
        self.blocks, self.rows = whole(size.blocks), whole(size.rows)
        self.positions, self.starts = whole(size.tokens), whole(size.tokens + 1)
        self.parts = whole(size.partials)
        self.partial = torch.empty((size.partials, heads, dim), device=device)
        self.lse2 = torch.empty((size.partials, heads), device=device)

    def load(self, plan: Schedule) -> "Buffers":
        """Raises `ValueError` if the schedule does not fit, and changes nothing then."""
        needed = Size.of(plan)
        for field in fields(Size):
            if getattr(needed, field.name) > getattr(self.size, field.name):
                raise ValueError(f"{needed} does not fit {self.size}")
        for name in ("tasks", "blocks", "rows", "positions", "starts", "parts"):
            room, new = getattr(self, name), getattr(plan, name)
            room[: len(new)].copy_(new, non_blocking=True)
            room[len(new) :].zero_()
        self.count.copy_(torch.tensor([needed.tasks, needed.tokens], dtype=torch.int32))
        return self


def launch(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    buffers: Buffers,
    out: Tensor,
    *,
    scale: float | None = None,
    tiles: Tiles | None = None,
) -> Tensor:
    """`attend` of the schedule in `buffers`, into `out`. Allocates nothing: fit for capture.

    `queries` and `out` may have more rows than the schedule has tokens; those are left alone.
    """
    tiles = tiles or Tiles()
    (_, block, kv_heads, dim), heads = keys.shape, queries.shape[1]
    scale = dim**-0.5 if scale is None else scale
    shape = {"HEADS": heads, "DIM": dim, "PADDED": max(16, triton.next_power_of_2(dim))}
    _partials[(programs_of(queries.device),)](
        queries, queries.stride(0), keys, values, buffers.count, buffers.tasks, buffers.blocks,
        buffers.rows, buffers.positions, buffers.partial, buffers.lse2, scale * LOG2_E,
        KV_HEADS=kv_heads, BLOCK=block, WIDE=tiles.wide, NARROW=tiles.narrow, KEYS=tiles.keys,
        PRECISION="ieee" if queries.dtype == torch.float32 else "tf32",
        num_warps=tiles.warps, num_stages=tiles.stages, **shape,
    )  # fmt: skip
    _merge[(buffers.size.tokens, heads)](
        buffers.count, buffers.starts, buffers.parts, buffers.partial, buffers.lse2, out,
        num_warps=1, **shape,
    )  # fmt: skip
    return out


def programs_of(device: torch.device) -> int:
    """Programs of the persistent grid: two for each multiprocessor, a few in the interpreter."""
    if device.type != "cuda":
        return 4
    return 2 * torch.cuda.get_device_properties(device).multi_processor_count


def check(queries: Tensor, keys: Tensor, values: Tensor) -> None:
    """Raise `ValueError` unless shapes, dtypes, devices and layout are those of `attend`."""
    refuse(keys.dtype)
    if queries.dtype == torch.float64 or not queries.dtype == keys.dtype == values.dtype:
        raise ValueError(f"dtypes {queries.dtype}, {keys.dtype}, {values.dtype}")
    if keys.dim() != 4 or keys.shape != values.shape or queries.dim() != 3:
        raise ValueError(f"shapes {[list(x.shape) for x in (queries, keys, values)]}")
    if queries.shape[2] != keys.shape[3] or queries.shape[1] % keys.shape[2]:
        raise ValueError(f"heads of {list(queries.shape)} over those of {list(keys.shape)}")
    if not 16 <= queries.shape[2] <= 256:
        raise ValueError(f"heads of {queries.shape[2]} numbers; 16 to 256 are supported")
    if not queries.device == keys.device == values.device:
        raise ValueError("queries, keys and values must be on one device")
    if not (keys.is_contiguous() and values.is_contiguous() and queries[0].is_contiguous()):
        raise ValueError("keys, values and each query must be contiguous")


def _buffers(
    work: WorkList, device: torch.device, heads: int, kv_heads: int, dim: int, tiles: Tiles
) -> Buffers:
    """The buffers of one step, just large enough."""
    plan = schedule(work, heads // kv_heads, kv_heads, tiles, programs_of(device))
    return Buffers(Size.of(plan), heads, dim, device).load(plan)


@triton.jit
def _partials(
    q_ptr, q_stride, k_ptr, v_ptr, count_ptr, tasks_ptr, blocks_ptr,
    rows_ptr, positions_ptr, partial_ptr, lse2_ptr, scale,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, PADDED: tl.constexpr,
    BLOCK: tl.constexpr, WIDE: tl.constexpr, NARROW: tl.constexpr, KEYS: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Each program takes every n-th pair of a task and a key head."""
    pairs = tl.load(count_ptr) * KV_HEADS
    for pair in range(tl.program_id(0), pairs, tl.num_programs(0)):
        task = tasks_ptr + pair // KV_HEADS * WIDTH
        head = pair % KV_HEADS
        if tl.load(task + 7) == 1:
            _tile(
                q_ptr, q_stride, k_ptr, v_ptr, task, blocks_ptr, rows_ptr, positions_ptr,
                partial_ptr, lse2_ptr, scale, head,
                HEADS, KV_HEADS, DIM, PADDED, BLOCK, WIDE, KEYS, PRECISION,
            )  # fmt: skip
        else:
            _tile(
                q_ptr, q_stride, k_ptr, v_ptr, task, blocks_ptr, rows_ptr, positions_ptr,
                partial_ptr, lse2_ptr, scale, head,
                HEADS, KV_HEADS, DIM, PADDED, BLOCK, NARROW, KEYS, PRECISION,
            )  # fmt: skip


@triton.jit
def _tile(
    q_ptr, q_stride, k_ptr, v_ptr, task, blocks_ptr, rows_ptr, positions_ptr,
    partial_ptr, lse2_ptr, scale, head,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, PADDED: tl.constexpr,
    BLOCK: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One task for one key head: `ROWS // GROUP` queries, packed with the heads of its group."""
    GROUP: tl.constexpr = HEADS // KV_HEADS
    block_at, first, length = tl.load(task), tl.load(task + 1), tl.load(task + 2)
    row_at, row_count = tl.load(task + 3), tl.load(task + 4)
    part_at, masked = tl.load(task + 5), tl.load(task + 6)

    packed = tl.arange(0, ROWS)
    query, own_head = packed // GROUP, head * GROUP + packed % GROUP
    real = query < row_count
    dims = tl.arange(0, PADDED)
    inside = dims < DIM
    row = tl.load(rows_ptr + row_at + query, mask=real, other=0)
    position = tl.load(positions_ptr + row, mask=real, other=0)
    place = row.to(tl.int64) * q_stride + own_head * DIM  # 64 bits: long prefills pass 2**31
    q = tl.load(
        q_ptr + place[:, None] + dims[None, :], mask=real[:, None] & inside[None, :], other=0.0
    )

    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    found = tl.zeros([ROWS, PADDED], tl.float32)
    for start in range(0, length, KEYS):
        key = start + tl.arange(0, KEYS)
        there = key < length
        block = tl.load(blocks_ptr + block_at + key // BLOCK, mask=there, other=0)
        slot = block.to(tl.int64) * BLOCK + key % BLOCK
        address = (slot[:, None] * KV_HEADS + head) * DIM + dims[None, :]
        loaded = there[:, None] & inside[None, :]
        k = tl.load(k_ptr + address, mask=loaded, other=0.0)
        v = tl.load(v_ptr + address, mask=loaded, other=0.0)
        score = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        seen = there[None, :] & ((masked == 0) | (first + key[None, :] <= position[:, None]))
        score = tl.where(seen, score, float("-inf"))
        above = tl.maximum(top, tl.max(score, axis=1))
        finite = tl.where(above == float("-inf"), 0.0, above)  # -inf - -inf is nan
        weight = tl.exp2(score - finite[:, None])
        shrink = tl.exp2(top - finite)
        total = total * shrink + tl.sum(weight, axis=1)
        found = found * shrink[:, None] + tl.dot(weight.to(v.dtype), v, input_precision=PRECISION)
        top = above

    empty = total == 0.0
    found = found / tl.where(empty, 1.0, total)[:, None]
    lse2 = tl.where(empty, float("-inf"), top + tl.log2(tl.where(empty, 1.0, total)))
    part = (part_at + query).to(tl.int64) * HEADS + own_head
    tl.store(
        partial_ptr + part[:, None] * DIM + dims[None, :],
        found,
        mask=real[:, None] & inside[None, :],
    )
    tl.store(lse2_ptr + part, lse2, mask=real)


@triton.jit
def _merge(
    count_ptr, starts_ptr, parts_ptr, partial_ptr, lse2_ptr, out_ptr,
    HEADS: tl.constexpr, DIM: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """One token and head: its partial results, one after the other in the order of the list."""
    row, head = tl.program_id(0), tl.program_id(1)
    if row < tl.load(count_ptr + 1):
        dims = tl.arange(0, PADDED)
        inside = dims < DIM
        top, total = float("-inf"), 0.0
        found = tl.zeros([PADDED], tl.float32)
        for at in range(tl.load(starts_ptr + row), tl.load(starts_ptr + row + 1)):
            part = tl.load(parts_ptr + at).to(tl.int64) * HEADS + head
            lse2 = tl.load(lse2_ptr + part)
            above = tl.maximum(top, lse2)
            finite = tl.where(above == float("-inf"), 0.0, above)
            shrink, weight = tl.exp2(top - finite), tl.exp2(lse2 - finite)
            value = tl.load(partial_ptr + part * DIM + dims, mask=inside, other=0.0)
            found = found * shrink + value * weight
            total = total * shrink + weight
            top = above
        found = found / tl.where(total == 0.0, 1.0, total)
        place = (row.to(tl.int64) * HEADS + head) * DIM + dims
        tl.store(out_ptr + place, found.to(out_ptr.dtype.element_ty), mask=inside)
