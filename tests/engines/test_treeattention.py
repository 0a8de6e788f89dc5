"""Attention over a tree against dense attention over each query's whole path."""

import math
from itertools import pairwise
from random import Random

import pytest

torch = pytest.importorskip("torch")

from parrotc.kernels.treeattention import Read, attend  # noqa: E402

KV_HEADS, GROUP, DIM = 2, 3, 16
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 3e-2}


def keys_of(length: int, rng: "torch.Generator", dtype: "torch.dtype", rows: int = 1):
    shape = (rows, KV_HEADS, length, DIM)
    return (torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype) for _ in "kv")


def expected(queries, paths):
    """Each query alone over the keys of its path, in float64."""
    out = []
    for query, path in zip(queries.double(), paths, strict=True):
        keys, values = (torch.cat([part[n] for part in path], dim=1).double() for n in (0, 1))
        keys, values = (x.repeat_interleave(GROUP, dim=0) for x in (keys, values))
        scores = torch.einsum("hd,hld->hl", query, keys) / math.sqrt(DIM)
        out.append(torch.einsum("hl,hld->hd", scores.softmax(-1), values))
    return torch.stack(out)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("seed", range(6))
def test_a_tree_of_reads(dtype, seed):
    """Shared, private and own keys of decoding queries, with a prompt of several tokens."""
    rng, numbers = torch.Generator().manual_seed(seed), Random(seed)
    rows, prompt = numbers.randrange(1, 6), numbers.randrange(1, 40)
    total = rows + prompt
    queries = torch.randn(total, KV_HEADS * GROUP, DIM, generator=rng).to(dtype)
    scale = numbers.choice((1, 30))  # 30: scores far apart, so that one key takes nearly all
    queries *= scale
    paths = [[] for _ in range(total)]
    reads, order = [], []

    longest = 9
    own = list(keys_of(longest, rng, dtype, rows))
    lengths = torch.tensor([numbers.randrange(1, longest + 1) for _ in range(rows)])
    mask = torch.zeros(rows, longest, dtype=dtype)
    mask.masked_fill_(torch.arange(longest) >= lengths[:, None], -math.inf)
    reads.append(Read(own[0], own[1], rows, mask=mask[:, None, None]))
    order += range(rows)
    for row in range(rows):
        paths[row].append(tuple(x[row, :, : lengths[row]] for x in own))

    for _ in range(numbers.randrange(1, 6)):
        keys, values = keys_of(numbers.choice((1, 2, 15, 16, 17, 100)), rng, dtype)
        readers = sorted(numbers.sample(range(total), numbers.randrange(1, total + 1)))
        reads.append(Read(keys, values, len(readers)))
        order += readers
        for reader in readers:
            paths[reader].append((keys[0], values[0]))

    keys, values = keys_of(prompt, rng, dtype)
    reads.append(Read(keys, values, prompt, causal=True))
    order += range(rows, total)
    for n in range(prompt):
        paths[rows + n].append((keys[0, :, : n + 1], values[0, :, : n + 1]))

    found = attend(queries, reads, torch.tensor(order))
    assert found.dtype == dtype
    difference = (found.double() - expected(queries, paths)).abs().max()
    assert difference < TOLERANCE[dtype] * scale


def test_keys_that_are_views_with_gaps():
    """A slice of a longer table, and a transposed one, read like contiguous keys."""
    rng = torch.Generator().manual_seed(1)
    table, values = keys_of(20, rng, torch.float64)
    queries = torch.randn(2, KV_HEADS * GROUP, DIM, generator=rng, dtype=torch.float64)
    rows = torch.arange(2)
    sliced = attend(queries, [Read(table[:, :, 3:11], values[:, :, 3:11], 2)], rows)
    copied = Read(table[:, :, 3:11].contiguous(), values[:, :, 3:11].contiguous(), 2)
    assert torch.equal(sliced, attend(queries, [copied], rows))


def test_how_keys_are_cut_does_not_matter():
    rng = torch.Generator().manual_seed(2)
    keys, values = keys_of(64, rng, torch.float64)
    queries = torch.randn(3, KV_HEADS * GROUP, DIM, generator=rng, dtype=torch.float64)
    whole = attend(queries, [Read(keys, values, 3)], torch.arange(3))
    for cuts in ((1,), (13, 40), (5, 6, 7)):
        bounds = (0, *cuts, 64)
        reads = [Read(keys[:, :, a:b], values[:, :, a:b], 3) for a, b in pairwise(bounds)]
        cut = attend(queries, reads, torch.arange(3).repeat(len(reads)))
        assert (cut - whole).abs().max() < 1e-14


def test_scores_that_overflow_an_exponential():
    rng = torch.Generator().manual_seed(4)
    keys, values = keys_of(8, rng, torch.float32)
    queries = torch.full((1, KV_HEADS * GROUP, DIM), 300.0)
    halves = [Read(keys[:, :, :4], values[:, :, :4], 1), Read(keys[:, :, 4:], values[:, :, 4:], 1)]
    found = attend(queries, halves, torch.tensor([0, 0]))
    assert torch.isfinite(found).all()
    whole = [(keys[0], values[0])]
    assert (found.double() - expected(queries, [whole])).abs().max() < 1e-5
