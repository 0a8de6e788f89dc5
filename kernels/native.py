"""Attention over a work list by `attention.c`: what runs on a CPU where it could be compiled.

Keys are read where they lie, through the block table, whoever shares them: nothing is gathered or
padded. Items are cut into segments of keys and tiles of rows, which threads take one after another;
what a row finds in each of its segments is merged at the end.

A pool may be in bfloat16 while queries and results are in float32. That halves what a decode step
reads, and where the processor multiplies pairs of bfloat16 a prefill gains as well.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from parrotc.kernels.compiled import load
from parrotc.kernels.limits import require_shapes
from parrotc.kernels.worklist import Item, WorkList

_VECTORS = {1, 2, 4, 5, 6, 8}  # of 16 numbers in a head: the sizes that there is code for
_LANES = 16
_SEGMENT = 2048  # keys of a segment that many rows read, at most, and at least:
_LEAST = 256
_SHARES = 4  # pieces of work for each thread, so that none waits long for the last

Attend = Callable[[Tensor, Tensor, Tensor, WorkList], Tensor]


@cache
def native(folder: Path, group: int = 1) -> Attend | None:
    """The kernel, compiled into `folder` if need be; None where it cannot be, and where more than
    fit, `group` queries, share a key head."""
    library = load("attention.c", folder)
    if library is None:
        return None
    library.attend.argtypes = (ctypes.POINTER(_Step), ctypes.c_int, ctypes.c_int)
    library.scratch_size.restype = ctypes.c_int64
    library.scratch_size.argtypes = (ctypes.c_int64,)
    sizes = _Sizes(*(ctypes.c_int64.in_dll(library, name).value for name in _Sizes._fields))
    if group > sizes.tile:
        return None

    def attend(
        queries: Tensor, keys: Tensor, values: Tensor, work: WorkList, *, scale: float | None = None
    ) -> Tensor:
        return _attend(library, sizes, queries, keys, values, work, scale)

    return attend


def supports(dim: int, queries: torch.dtype) -> bool:
    """Whether there is code for heads of `dim` numbers with queries of that type."""
    vectors, rest = divmod(dim, _LANES)
    return not rest and vectors in _VECTORS and queries == torch.float32


class _Step(ctypes.Structure):
    """`step` of attention.c."""

    _fields_ = (
        ("queries", ctypes.c_void_p),
        ("query_stride", ctypes.c_int64),
        ("keys", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("heads", ctypes.c_int64),
        ("kv_heads", ctypes.c_int64),
        ("dim", ctypes.c_int64),
        ("block", ctypes.c_int64),
        ("scale", ctypes.c_float),
        ("table", ctypes.c_void_p),
        ("rows", ctypes.c_void_p),
        ("positions", ctypes.c_void_p),
        ("segments", ctypes.c_void_p),
        ("units", ctypes.c_void_p),
        ("unit_count", ctypes.c_int64),
        ("parts", ctypes.c_void_p),
        ("part_lse", ctypes.c_void_p),
        ("row_begin", ctypes.c_void_p),
        ("row_parts", ctypes.c_void_p),
        ("tokens", ctypes.c_int64),
        ("out", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
        ("scratch_size", ctypes.c_int64),
    )


class _Sizes(NamedTuple):
    """What attention.c is made for: folded rows that are not packed, keys that they read at once,
    and folded rows that share a packing."""

    few: int
    span: int
    tile: int


def _attend(
    library: ctypes.CDLL,
    sizes: _Sizes,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    work: WorkList,
    scale: float | None,
) -> Tensor:
    """As `attention.attend`: `[T, heads, dim]` float32, pools float32 or bfloat16.

    Within 1e-6 of `reference.attend` for a pool of float32, 1e-2 for one of bfloat16.
    """
    _check(queries, keys, values, work)
    tokens, heads, dim = queries.shape
    out = torch.empty((tokens, heads, dim))
    if not tokens:
        return out
    threads, group = torch.get_num_threads(), heads // keys.shape[2]
    if group > sizes.tile:
        raise ValueError(f"{group} queries share a key head; {sizes.tile} may")
    cuts = work.once(cuts_of, group, threads, sizes)
    size = library.scratch_size(dim)
    room = work.once(_room, heads, dim, cuts.parts, threads * size)
    step = _Step(
        queries.data_ptr(), queries.stride(0), keys.data_ptr(), values.data_ptr(),
        heads, keys.shape[2], dim, work.block, dim**-0.5 if scale is None else scale,
        cuts.table.data_ptr(), cuts.rows.data_ptr(), cuts.positions.data_ptr(),
        cuts.segments.data_ptr(), cuts.units.data_ptr(), cuts.units.shape[0],
        room.parts.data_ptr(), room.lse.data_ptr(),
        cuts.row_begin.data_ptr(), cuts.row_parts.data_ptr(), tokens, out.data_ptr(),
        room.scratch.data_ptr(), size,
    )  # fmt: skip
    library.attend(ctypes.byref(step), keys.dtype == torch.bfloat16, threads)
    return out


@dataclass(frozen=True, slots=True)
class Cuts:
    """A work list as arrays of int64, as attention.c reads them. `parts` counts partial results:
    `row_parts[row_begin[t] : row_begin[t + 1]]` are those of token t."""

    table: Tensor
    rows: Tensor
    positions: Tensor
    segments: Tensor
    units: Tensor
    row_begin: Tensor
    row_parts: Tensor
    parts: int


@dataclass(frozen=True, slots=True)
class _Room:
    """What is written during a layer, and used again by the next."""

    parts: Tensor
    lse: Tensor
    scratch: Tensor


def _room(work: WorkList, heads: int, dim: int, parts: int, scratch: int) -> _Room:
    return _Room(
        torch.empty((parts, heads, dim)),
        torch.empty((parts, heads)),
        torch.empty(scratch, dtype=torch.uint8),
    )


def cuts_of(work: WorkList, group: int, threads: int, sizes: _Sizes) -> Cuts:
    """The segments and units of a step, the dearest first; `group` queries share a key head."""
    table: list[int] = []
    rows: list[int] = []
    segments: list[tuple[int, ...]] = []
    units: list[tuple[int, tuple[int, int, int]]] = []
    of_row: list[list[int]] = [[] for _ in range(work.tokens)]
    parts = 0
    tile = sizes.tile // group
    share = _cost(work.items, group) // (threads * _SHARES)
    for item in work.items:
        count = len(item.rows)
        begin, span = len(table), _span(item, group, share, work.block, sizes)
        table += item.blocks
        rows += item.rows
        for first in range(0, item.length, span):
            length = min(span, item.length - first)
            position = item.first + first
            place = len(rows) - count
            segments.append(
                (begin + first // work.block, position, length, item.masked, place, count, parts)
            )
            for number, row in enumerate(item.rows, start=parts):
                of_row[row].append(number)
            parts += count
            for row in range(0, count, tile):
                own = min(tile, count - row)
                units.append((own * group * length, (len(segments) - 1, row, own)))
    units.sort(key=lambda unit: -unit[0])
    begins = [0]
    for found in of_row:
        begins.append(begins[-1] + len(found))
    return Cuts(
        _ints(table),
        _ints(rows),
        _ints(work.positions),
        _ints(segments),
        _ints([unit for _, unit in units]),
        _ints(begins),
        _ints([number for found in of_row for number in found]),
        parts,
    )


def _cost(items: tuple[Item, ...], group: int) -> int:
    """Products of the step, in folded rows times keys."""
    return sum(len(item.rows) * group * item.length for item in items)


def _span(item: Item, group: int, share: int, block: int, sizes: _Sizes) -> int:
    """Keys of a segment of this item: as many as keep a tile's work below a `share`."""
    folded = min(len(item.rows), sizes.tile // group) * group
    few = folded <= sizes.few
    most, least = (sizes.span, sizes.span // 4) if few else (_SEGMENT, _LEAST)
    span = max(least, min(most, share // folded))
    return max(1, span // block) * block


def _ints(numbers: list[int] | list[tuple[int, ...]] | list[tuple[int, int, int]]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


def _check(queries: Tensor, keys: Tensor, values: Tensor, work: WorkList) -> None:
    require_shapes(queries, keys, values, work)
    if keys.dtype != values.dtype or keys.dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"pools of {keys.dtype} and {values.dtype}")
    if not supports(queries.shape[2], queries.dtype):
        raise ValueError(f"queries of {queries.shape[2]} numbers in {queries.dtype}")
    if not (keys.is_contiguous() and values.is_contiguous()):
        raise ValueError("keys and values must be contiguous")
    if queries.stride(2) != 1 or queries.stride(1) != queries.shape[2]:
        raise ValueError("the heads of a query must lie side by side")
