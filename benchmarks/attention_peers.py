"""Other ways to attend over a tree of contexts, each as a function of no arguments to be timed.

All of them read the same physical blocks as ours: copies of a prefix would leave the caches and
make sharing look better than it is.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from parrotc.kernels.worklist import Reader

Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Tree:
    """A decode step: on each level some nodes of the same number of tokens, whole blocks.

    Each node of a level has equally many children on the next; those of the last are the readers,
    and `own` replaces the last level's length where they differ.
    """

    levels: tuple[tuple[int, int], ...]  # nodes, tokens
    own: tuple[int, ...] = ()
    block: int = 16

    def paths(self) -> list[list[list[int]]]:
        """For each reader the blocks of its nodes, from the root on."""
        at, nodes = 0, []
        for level, (count, tokens) in enumerate(self.levels):
            last = level == len(self.levels) - 1
            lengths = self.own if self.own and last else (tokens,) * count
            row = []
            for length in lengths:
                row.append(list(range(at, at + length // self.block)))
                at += length // self.block
            nodes.append(row)
        readers = len(nodes[-1])
        return [[row[number * len(row) // readers] for row in nodes] for number in range(readers)]

    def readers(self) -> list[Reader]:
        """Each path as a table whose last key is the new one."""
        tables = [[block for node in path for block in node] for path in self.paths()]
        return [Reader(table, len(table) * self.block - 1) for table in tables]


@dataclass(frozen=True)
class Problem:
    """A tree with the tensors of one layer."""

    tree: Tree
    queries: Tensor
    keys: Tensor
    values: Tensor


def peers(problem: Problem) -> dict[str, Callable[[], Run]]:
    """What can run here, by name: a call prepares, and gives what is to be timed."""
    found: dict[str, Callable[[], Run]] = {"sdpa over gathered keys": lambda: _sdpa(problem)}
    if problem.queries.is_cuda:
        found["flex over the packed tree"] = lambda: _flex(problem)
        if importlib.util.find_spec("flashinfer"):
            found["flashinfer batch decode"] = lambda: _flashinfer_decode(problem)
            found["flashinfer cascade"] = lambda: _flashinfer_cascade(problem)
            found["flashinfer batch attention"] = lambda: _flashinfer_batch(problem)
    return found


def _sdpa(problem: Problem) -> Run:
    """Gather every reader's keys, padded to the longest, then torch's fused attention."""
    device, tables = problem.queries.device, [r.blocks for r in problem.tree.readers()]
    longest = max(map(len, tables))
    padded = [[*table, *[table[-1]] * (longest - len(table))] for table in tables]
    index = torch.tensor(padded, device=device)
    lengths = torch.tensor([len(table) for table in tables], device=device)
    mask = None
    if int(lengths.min()) < longest:
        keys = torch.arange(longest * problem.tree.block, device=device)
        mask = (keys < lengths[:, None] * problem.tree.block)[:, None, None]
    queries = problem.queries[:, :, None]

    def run() -> Tensor:
        keys, values = (x[index].flatten(1, 2).transpose(1, 2) for x in _pools(problem))
        out = F.scaled_dot_product_attention(queries, keys, values, mask, enable_gqa=True)
        return out[:, :, 0]

    return run


def _flex(problem: Problem) -> Run:
    """FlexAttention: one sequence of all blocks, and a mask that says who may see which."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    device, size = problem.queries.device, problem.tree.block
    readers = problem.tree.readers()
    visible = torch.zeros(len(readers), len(problem.keys), dtype=torch.bool, device=device)
    for number, reader in enumerate(readers):
        visible[number, torch.tensor(reader.blocks, device=device)] = True

    def seen(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return visible[query, key // size]

    total = len(problem.keys) * size
    mask = create_block_mask(seen, None, None, len(readers), total, device=str(device))
    compiled = torch.compile(flex_attention, dynamic=False)
    queries = problem.queries.transpose(0, 1)[None]
    keys, values = (x.flatten(0, 1).transpose(0, 1)[None] for x in _pools(problem))

    def run() -> Tensor:
        out = compiled(queries, keys, values, block_mask=mask, enable_gqa=True)
        assert isinstance(out, Tensor)
        return out[0].transpose(0, 1)

    return run


def _flashinfer_decode(problem: Problem) -> Run:
    import flashinfer

    device = problem.queries.device
    tables = [list(reader.blocks) for reader in problem.tree.readers()]
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(
        _workspace(device), "NHD", use_tensor_cores=True
    )
    wrapper.plan(
        *_csr(tables, device), _full(tables, problem.tree.block, device), *_shape(problem),
        q_data_type=problem.queries.dtype, kv_data_type=problem.keys.dtype,
    )  # fmt: skip
    return lambda: wrapper.run(problem.queries, _pools(problem))


def _flashinfer_cascade(problem: Problem) -> Run:
    """One level of the cascade for each level of the tree, by its distinct nodes."""
    import flashinfer

    device, paths = problem.queries.device, problem.tree.paths()
    starts, csr, full = [], [], []
    for level in range(len(problem.tree.levels)):
        nodes = [path[level] for path in paths]
        new = [n for n in range(len(nodes)) if n == 0 or nodes[n] is not nodes[n - 1]]
        starts.append(torch.tensor([*new, len(nodes)], dtype=torch.int32, device=device))
        distinct = [nodes[number] for number in new]
        csr.append(_csr(distinct, device))
        full.append(_full(distinct, problem.tree.block, device))
    wrapper = flashinfer.MultiLevelCascadeAttentionWrapper(len(starts), _workspace(device), "NHD")
    wrapper.plan(
        starts, [indptr for indptr, _ in csr], [indices for _, indices in csr], full,
        *_shape(problem), q_data_type=problem.queries.dtype,
    )  # fmt: skip
    return lambda: wrapper.run(problem.queries, _pools(problem))


def _flashinfer_batch(problem: Problem) -> Run:
    """Its persistent kernel, which balances work of any lengths over the device."""
    import flashinfer

    device, block = problem.queries.device, problem.tree.block
    tables = [list(reader.blocks) for reader in problem.tree.readers()]
    heads, kv_heads, dim, _ = _shape(problem)
    lengths = torch.tensor([len(table) * block for table in tables], dtype=torch.int32)
    each = torch.arange(len(tables) + 1, dtype=torch.int32, device=device)
    wrapper = flashinfer.BatchAttention("NHD", str(device))
    wrapper.plan(
        each, *_csr(tables, device), lengths.to(device), heads, kv_heads, dim, dim, block,
        q_data_type=problem.queries.dtype, kv_data_type=problem.keys.dtype,
    )  # fmt: skip
    return lambda: wrapper.run(problem.queries, _pools(problem))[0]


def _pools(problem: Problem) -> tuple[Tensor, Tensor]:
    return problem.keys, problem.values


def _shape(problem: Problem) -> tuple[int, int, int, int]:
    """Query heads, key heads, dim and block size, in the order of FlashInfer's plans."""
    return (
        problem.queries.shape[1],
        problem.keys.shape[2],
        problem.keys.shape[3],
        problem.tree.block,
    )


def _csr(tables: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    starts = [0]
    for table in tables:
        starts.append(starts[-1] + len(table))
    flat = [block for table in tables for block in table]
    indptr, indices = (torch.tensor(x, dtype=torch.int32, device=device) for x in (starts, flat))
    return indptr, indices


def _full(tables: list[list[int]], block: int, device: torch.device) -> Tensor:
    return torch.full((len(tables),), block, dtype=torch.int32, device=device)


def _workspace(device: torch.device) -> Tensor:
    return torch.zeros(512 * 2**20, dtype=torch.uint8, device=device)
