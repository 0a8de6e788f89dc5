"""The two numbers of the sharing gate, measured on the device at hand.

The same readers attend to a common prefix twice: as one shared item, and each for itself over the
same physical blocks. What sharing gains grows with the prefix's length l; for r readers

    gain(l) = (r - 1) · l · token_bytes / bandwidth - overhead - partials / bandwidth

so its slope gives the bandwidth and what is left the overhead. Both sides read the same blocks:
copies of the prefix would leave the caches and make sharing look better than it is.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from parrotc.kernels.worklist import Gate, Reader, WorkList, plan_work

Attend = Callable[[Tensor, Tensor, Tensor, WorkList], Tensor]  # any of the implementations


def measure_gate(
    attend: Attend,
    *,
    heads: int,
    kv_heads: int,
    dim: int,
    dtype: torch.dtype,
    pool: torch.dtype | None = None,
    device: torch.device,
    block: int = 16,
    readers: int = 8,
    lengths: tuple[int, int] = (256, 2048),
    splits: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Gate:
    """The gate of a device and a model's shape, from about 0.1 s of measurements.

    Queries have `dtype`, keys and values that of the `pool` if it has another.
    Where sharing gains nothing with length, the gate never opens.
    """
    pool = pool or dtype
    gate = Gate(1.0, 0.0, 2 * kv_heads * dim * pool.itemsize, heads, dim, splits)
    gains = []
    for length in lengths:
        work = _readers(readers, length // block, block)
        size = (1 + max(max(reader.blocks) for reader in work), block, kv_heads, dim)
        keys, values = (torch.randn(size, device=device).to(pool) for _ in "kv")
        queries = torch.randn(readers, heads, dim, device=device).to(dtype)
        plans = [plan_work(work, block, choice) for choice in (Gate.always(), Gate.never())]
        shared, alone = _seconds(partial(attend, queries, keys, values), plans, device, clock)
        gains.append(alone - shared)
    return _fit(gate, readers, lengths, gains)


def _readers(count: int, prefix: int, block: int) -> list[Reader]:
    """Readers of `prefix` common blocks, each with one full block of its own."""
    common = list(range(prefix))
    return [
        Reader([*common, prefix + number], before=(prefix + 1) * block - 1)
        for number in range(count)
    ]


def _fit(gate: Gate, readers: int, lengths: tuple[int, int], gains: list[float]) -> Gate:
    """The gate under which `readers` gain what was measured at the two lengths."""
    slope = (gains[1] - gains[0]) / (lengths[1] - lengths[0])
    if slope <= 0:
        return replace(gate, overhead=float("inf"))
    bandwidth = (readers - 1) * gate.token_bytes / slope
    partials = 2 * readers * gate.heads * (gate.dim + 1) * 4 * gate.splits
    overhead = slope * lengths[0] - gains[0] - partials / bandwidth
    return replace(gate, bandwidth=bandwidth, overhead=max(0.0, overhead))


def _seconds(
    run: Callable[[WorkList], Tensor],
    plans: list[WorkList],
    device: torch.device,
    clock: Callable[[], float],
    repeats: int = 9,
) -> list[float]:
    """The shortest of some runs of each plan, in turn, so that a busy machine favours none."""
    best = [float("inf")] * len(plans)
    for _ in range(repeats):
        for number, plan in enumerate(plans):
            start = clock()
            run(plan)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best[number] = min(best[number], clock() - start)
    return best
