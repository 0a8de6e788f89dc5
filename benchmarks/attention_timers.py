"""How long calls take: on a CPU all ways in turn, on a GPU replays of a captured graph."""

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from attention_peers import Run


class CpuTimer:
    """The shortest of runs, all ways in turn, so that a busy machine favours none."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats

    def times(self, runs: Sequence[Run]) -> list[tuple[float, float | None]]:
        seconds: list[list[float]] = [[] for _ in runs]
        for _ in range(self.repeats):
            for run, found in zip(runs, seconds, strict=True):
                start = time.perf_counter()
                run()
                found.append(time.perf_counter() - start)
        return [(min(found), None) for found in seconds]


class GpuTimer:
    """Graph replays between events: back to back, and each after the L2 cache was flushed."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self._flush = torch.empty(256 * 2**20, dtype=torch.int8, device="cuda")

    def times(self, runs: Sequence[Run]) -> list[tuple[float, float | None]]:
        return [self._one(_captured(run)) for run in runs]

    def _one(self, run: Callable[[], object]) -> tuple[float, float | None]:
        def event() -> torch.cuda.Event:
            return torch.cuda.Event(enable_timing=True)

        start, end = event(), event()
        start.record()
        for _ in range(self.repeats):
            run()
        end.record()
        pairs = []
        for _ in range(self.repeats):
            self._flush.zero_()
            pairs.append((event(), event()))
            pairs[-1][0].record()
            run()
            pairs[-1][1].record()
        torch.cuda.synchronize()
        flushed = statistics.median(first.elapsed_time(last) for first, last in pairs)
        return start.elapsed_time(end) / self.repeats / 1e3, flushed / 1e3


def _captured(run: Run) -> Callable[[], object]:
    """A replay of the call's graph; the call itself where it cannot be captured."""
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            run()
    except RuntimeError:
        torch.cuda.synchronize()
        return run
    return graph.replay


def copy_bandwidth(device: torch.device, timer: CpuTimer | GpuTimer) -> float:
    """Bytes read and written a second by a copy that fits no cache."""
    size = 2**30 if device.type == "cuda" else 2**27
    source = torch.ones(size, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    ((seconds, _),) = timer.times([lambda: target.copy_(source)])
    return 2 * size / seconds
