"""Blocks of keys and values: which are taken, and where they are.

    pool = Pool(1000)
    table = pool.take(5)      five blocks side by side, each held once
    pool.hold(table)          a fork: the same blocks, held once more
    pool.drop(table[0])       → True when nobody holds it any more …
    pool.free(table[0])       … and then it may be given back (or kept, for its content)

`Pool` only counts. `Pages` has the tensors, so everything about memory can be tested without any.
"""

from collections.abc import Callable, Iterable, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

Write = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None]


def write(
    key_pool: Tensor, value_pool: Tensor, slots: Tensor, keys: Tensor, values: Tensor
) -> None:
    """Store `keys` and `values` `[tokens, kv_heads, dim]` at `slots` of their pools `[places,
    kv_heads, dim]`, in the type of those. Place is block number · block + offset."""
    for pool, given in ((key_pool, keys), (value_pool, values)):
        pool.index_copy_(0, slots, given.to(pool.dtype))


class Pool:
    """Reference counts of `size` blocks. A block is free, held, or resting: taken, held by nobody.

    Blocks go to whoever asks from the lowest address on, so what is filled at once lies side by
    side, and attention reads it as a view instead of gathering it.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = size  # of free blocks
        self.holders = [0] * size
        self._is_free = np.ones(size, dtype=bool)

    def take(self, count: int, after: int = -1) -> list[int]:
        """`count` free blocks, held once: those behind block `after` if they are free, or the
        first run that is long enough, or the longest runs there are. Needs `count` free ones."""
        if count > self.count:
            raise ValueError(f"{count} blocks were asked for and {self.count} are free")
        blocks = self._behind(count, after) or self._first_run(count)
        self._is_free[blocks] = False
        self.count -= count
        for block in blocks:
            self.holders[block] = 1
        return blocks

    def hold(self, blocks: Iterable[int]) -> None:
        """One holder more for each of `blocks`, which are held or resting."""
        for block in blocks:
            self.holders[block] += 1

    def drop(self, block: int) -> bool:
        """One holder less. Whether it was the last: the block rests until it is held or freed."""
        if self.holders[block] == 0:
            raise ValueError(f"block {block} is dropped and nobody holds it")
        self.holders[block] -= 1
        return self.holders[block] == 0

    def free(self, block: int) -> None:
        """Give back a resting block."""
        if self.holders[block] or self._is_free[block]:
            raise ValueError(f"block {block} is freed while it is held or free")
        self._is_free[block] = True
        self.count += 1

    def is_free(self, block: int) -> bool:
        return bool(self._is_free[block])

    def _behind(self, count: int, after: int) -> list[int]:
        first, last = after + 1, after + 1 + count
        if after < 0 or last > self.size or not self._is_free[first:last].all():
            return []
        return list(range(first, last))

    def _first_run(self, count: int) -> list[int]:
        if count == 1:
            return [int(self._is_free.argmax())]
        edges = np.flatnonzero(np.diff(self._is_free, prepend=False, append=False))
        starts, lengths = edges[::2], edges[1::2] - edges[::2]
        fits = np.flatnonzero(lengths >= count)
        if len(fits):
            first = int(starts[fits[0]])
            return list(range(first, first + count))
        blocks: list[int] = []
        for run in np.argsort(-lengths, kind="stable"):
            first = int(starts[run])
            blocks += range(first, first + min(int(lengths[run]), count - len(blocks)))
            if len(blocks) == count:
                break
        return blocks


class Pages:
    """The tensors: `keys[layer]` and `values[layer]` are `[blocks, block, kv_heads, dim]`. `write`
    stores what new tokens have there."""

    def __init__(
        self,
        *,
        layers: int,
        blocks: int,
        block: int,
        kv_heads: int,
        dim: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        write: Write = write,
    ) -> None:
        self.block = block
        self._write = write
        self.device = torch.device(device)
        shape = blocks, block, kv_heads, dim
        self.keys = [_zeros(shape, dtype, self.device) for _ in range(layers)]
        self.values = [_zeros(shape, dtype, self.device) for _ in range(layers)]
        self._places = [
            (keys.flatten(0, 1), values.flatten(0, 1))
            for keys, values in zip(self.keys, self.values, strict=True)
        ]

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy whole blocks, `(source, target)` each; all are read before any is written."""
        if not pairs:
            return
        sources, targets = torch.tensor(pairs, device=self.device).unbind(1)
        for pool in (*self.keys, *self.values):
            pool.index_copy_(0, targets, pool[sources])

    def write(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store `[tokens, kv_heads, dim]` at `slots` [tokens]."""
        self._write(*self._places[layer], slots, keys, values)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, because a masked NaN would still spoil a sum. On a CPU they come from the system,
    which gives a page of memory when it is first written; `torch.zeros` would write them all."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    size = prod(shape) * dtype.itemsize
    return torch.from_numpy(np.zeros(size, dtype=np.uint8)).view(dtype).view(shape)
