"""Random steps of attention: readers over a tree of block tables, and tensors for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from parrotc.kernels import reference
from parrotc.kernels.worklist import Gate, Reader, WorkList, plan_work


@dataclass(frozen=True)
class Case:
    """Tensors of one step. The pool has garbage wherever no reader has a key."""

    readers: tuple[Reader, ...]
    block: int
    queries: Tensor
    keys: Tensor
    values: Tensor

    def work(self, gate: Gate, align: int = 1) -> WorkList:
        return plan_work(self.readers, self.block, gate, align=align)

    def expected(self) -> Tensor:
        """Dense attention of every reader for itself, in float64."""
        work = self.work(Gate.never())
        return reference.attend(self.queries.double(), self.keys, self.values, work)


def case(
    readers: Sequence[Reader],
    block: int,
    *,
    kv_heads: int = 2,
    group: int = 3,
    dim: int = 16,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    seed: int = 0,
    garbage: float = 0.0,
) -> Case:
    """Random tensors for `readers`; `garbage` fills every row of the pool that is no reader's key.

    All of it is rounded to `dtype` once, so the expected result starts from the same numbers.
    """
    rng = torch.Generator().manual_seed(seed)
    pool = (2 + max(max(reader.blocks) for reader in readers), block, kv_heads, dim)
    tokens = sum(reader.count for reader in readers)
    queries = torch.randn(tokens, kv_heads * group, dim, generator=rng, dtype=torch.float64)
    unused = torch.ones(pool[:2], dtype=torch.bool)
    for reader in readers:
        for position in range(reader.before + reader.count):
            unused[reader.blocks[position // block], position % block] = False
    keys, values = (torch.randn(pool, generator=rng, dtype=torch.float64) for _ in "kv")
    for pooled in (keys, values):
        pooled[unused] = garbage
    parts = (x.to(dtype).to(device) for x in (queries, keys, values))
    return Case(tuple(readers), block, *parts)


def random_readers(rng: Random, block: int, *, scattered: bool, longest: int) -> list[Reader]:
    """Readers forked from each other at full blocks, with suffixes of many kinds."""
    free = list(range(2000))
    if scattered:
        rng.shuffle(free)
    chains = [[free.pop(0) for _ in range(rng.randrange(longest // block + 1))]]
    readers = []
    for _ in range(rng.randrange(1, 9)):
        chain = rng.choice(chains)
        shared = chain[: rng.randrange(len(chain) + 1)]
        count = rng.choice((1, 1, 1, 1, 2, 5, longest))
        total = len(shared) * block + rng.randrange(longest) + count
        own = [free.pop(0) for _ in range(-(-total // block) - len(shared))]
        table = shared + own
        chains.append(table[: total // block])
        # room for tokens to come is allowed
        readers.append(Reader(table + [free.pop(0)] * rng.randrange(2), total - count, count))
    return readers


def decoding(block: int, prefix: int, suffixes: Sequence[int]) -> list[Reader]:
    """Readers of a common prefix of `prefix` blocks, with that many own keys each, next to next."""
    at, readers = prefix, []
    for keys in suffixes:
        blocks = -(-keys // block)
        table = [*range(prefix), *range(at, at + blocks)]
        readers.append(Reader(table, prefix * block + keys - 1))
        at += blocks
    return readers
