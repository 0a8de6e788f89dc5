"""The passes of an int8 step that lie between its products, by `dense.c`.

    rounded, tops = dense.norm(x, product, scale, weight, epsilon)
    product = matrix(rounded)                   y[t, o] still to be multiplied with tops[t]

Each reads and writes a row once, where torch would take five to ten passes. Hidden states and
products are float32 and contiguous, `rounded` is uint8 with 128 for 0, `scale` and `tops` are
`[rows]`. Widths are multiples of 16. A pass writes into the `room` that it is given; without one it
makes its own.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from parrotc.kernels.compiled import load

LANES = 16
FEW = 4  # rows that `products` takes
_POINTER, _INT, _LONG, _FLOAT = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_float

Rounded = tuple[Tensor, Tensor]  # [rows, width] uint8, and the largest magnitude of each row


@cache
def dense(folder: Path) -> "Dense | None":
    """The kernels, compiled into `folder` if need be; None where they cannot be."""
    library = load("dense.c", folder)
    return None if library is None else Dense(library)


class Dense:
    def __init__(self, library: ctypes.CDLL) -> None:
        p, i, n = _POINTER, _INT, _LONG
        self._norm = _function(library.norm_round, p, p, p, p, _FLOAT, p, p, n, n, i)
        self._round = _function(library.round_rows, p, p, p, n, n, i)
        self._gate = _function(library.gate_round, p, p, p, p, n, n, i)
        self._turn = _function(library.turn, p, p, p, p, p, n, n, n, n, n, i)
        self._scatter = _function(library.scatter, p, p, i, p, n, p, n, p, n, n, i)
        self._products = _function(library.few_products, p, p, p, p, p, n, n, n, i)

    def norm(
        self,
        x: Tensor,
        product: Tensor | None,
        scale: Tensor | None,
        weight: Tensor,
        epsilon: float,
        into: Rounded | None = None,
    ) -> Rounded:
        """`x` `[rows, width]` plus `product` times `scale`, written to `x`; then its RMS norm."""
        rounded, tops = into or room(*x.shape)
        self._norm(
            x.data_ptr(), _address(product), _address(scale), weight.data_ptr(), epsilon,
            rounded.data_ptr(), tops.data_ptr(), *x.shape, torch.get_num_threads(),
        )  # fmt: skip
        return rounded, tops

    def round(self, x: Tensor, into: Rounded | None = None) -> Rounded:
        """`x` `[rows, width]` itself."""
        rounded, tops = into or room(*x.shape)
        self._round(
            x.data_ptr(), rounded.data_ptr(), tops.data_ptr(), *x.shape, torch.get_num_threads()
        )
        return rounded, tops

    def gate(self, both: Tensor, scale: Tensor, into: Rounded | None = None) -> Rounded:
        """silu(gate) · value of rows `[gate, value]`; `both` is written over."""
        rows, width = both.shape[0], both.shape[1] // 2
        rounded, tops = into or room(rows, width)
        self._gate(
            both.data_ptr(), scale.data_ptr(), rounded.data_ptr(), tops.data_ptr(), rows, width,
            torch.get_num_threads(),
        )  # fmt: skip
        return rounded, tops

    def turn(
        self,
        mixed: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        turns: Tensor,
        positions: Tensor,
        turned: int,
        dim: int,
    ) -> None:
        """Rows of heads of `dim` numbers, in place: times `scale`, plus `bias`, and the first
        `turned` of them by `turns` `[length, pairs]` (complex64) at `positions`, pairs side by
        side."""
        self._turn(
            mixed.data_ptr(), scale.data_ptr(), _address(bias), turns.data_ptr(),
            positions.data_ptr(), *mixed.shape, turned, dim, 2 * turns.shape[1],
            torch.get_num_threads(),
        )  # fmt: skip

    def scatter(
        self, key_pool: Tensor, value_pool: Tensor, slots: Tensor, keys: Tensor, values: Tensor
    ) -> None:
        """Row i of `keys` and of `values` `[rows, heads, dim]`, which may be slices of wider ones,
        to place `slots[i]` of pools of float32 or bfloat16 `[places, heads, dim]`."""
        self._scatter(
            key_pool.data_ptr(), value_pool.data_ptr(), key_pool.dtype == torch.bfloat16,
            keys.data_ptr(), keys.stride(0), values.data_ptr(), values.stride(0),
            slots.data_ptr(), slots.shape[0], key_pool.shape[1] * key_pool.shape[2],
            torch.get_num_threads(),
        )  # fmt: skip

    def products(self, rounded: Tensor, weight: Tensor, zeros: Tensor, scale: Tensor) -> Tensor:
        """1 to `FEW` rows times `weight` `[outs, width]` int8, times `scale` `[outs]`; `zeros`
        (int32) are 128 times the sums of the weight's rows. `outs` is a multiple of 4."""
        out = torch.empty((rounded.shape[0], weight.shape[0]))
        self._products(
            rounded.data_ptr(), weight.data_ptr(), zeros.data_ptr(), scale.data_ptr(),
            out.data_ptr(), *out.shape, weight.shape[1], torch.get_num_threads(),
        )  # fmt: skip
        return out


def _function(function: Any, *types: type) -> Callable[..., None]:
    function.argtypes = types
    function.restype = None
    return cast(Callable[..., None], function)


def room(rows: int, width: int) -> Rounded:
    """What a pass may be told to write into, with whatever is there."""
    return torch.empty((rows, width), dtype=torch.uint8), torch.empty(rows)


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
