"""One layer of shared-prefix decode attention: ours, ours without sharing, and others.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/attention.py    # the device at hand, into results/
    python benchmarks/attention.py --device cpu --quick --output /tmp/quick.json

Everything runs in one process over the same physical blocks. On a GPU each call is captured in a
CUDA graph where it can be, and timed with the L2 cache warm and flushed. Gigabytes a second are of
*unique* bytes: each block once, whoever reads it, against a copy measured in the same run. The
crossover is where sharing begins to pay, beside where the measured gate would open.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from attention_peers import Problem, Run, Tree, peers
from attention_timers import CpuTimer, GpuTimer, copy_bandwidth
from torch import Tensor

from parrotc.kernels.attention import attend as torch_attend
from parrotc.kernels.gate import Attend, measure_gate
from parrotc.kernels.native import native
from parrotc.kernels.worklist import Gate, plan_work
from parrotc.runtime.models import cache_folder

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Shape:
    """A model's heads and a step's tree."""

    name: str
    heads: tuple[int, int, int]  # query heads, key heads, dim
    tree: Tree


@dataclass
class Measure:
    """One way to compute one shape. Times in microseconds; `error` against dense float64."""

    shape: str
    way: str
    warm: float
    flushed: float | None
    unique_megabytes: float
    gigabytes_per_second: float
    of_copy: float
    teraflops: float  # a second, of all queries over all their keys
    error: float


@dataclass
class Record:
    """`load` is the machine's load average of a minute before and after."""

    machine: str
    torch: str
    threads: int
    load: list[float]
    copy_gigabytes_per_second: float
    gates: dict[str, dict[str, Any]] = field(default_factory=dict)
    measures: list[Measure] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    crossover: list[dict[str, Any]] = field(default_factory=list)


def star(readers: int, prefix: int, own: int) -> Tree:
    return Tree(((1, prefix), (readers, own)))


def gpu_shapes() -> list[Shape]:
    """The table of the design, an agent tree of two levels, a copilot, and other head counts."""
    llama = (32, 8, 128)
    shapes = [
        Shape(f"B={b} P={p} U={u}", llama, star(b, p, u))
        for b, p, u in (
            (64, 8192, 256), (8, 8192, 256), (16, 8192, 256), (256, 8192, 256),
            (64, 2048, 256), (64, 32768, 256), (64, 8192, 1024),
        )
    ]  # fmt: skip
    roles = Tree(((1, 2048), (8, 4096), (64, 256)))
    shapes.append(Shape("8 roles of 4096 below 2048, B=64", llama, roles))
    for readers in (8, 16, 32, 64):
        shapes.append(Shape(f"copilot, B={readers}", (32, 32, 128), copilot(readers, 1)))
    for heads in ((32, 32, 128), (16, 1, 128)):
        shapes.append(Shape(f"heads {heads[0]}/{heads[1]}", heads, star(64, 8192, 256)))
    return shapes


def cpu_shapes(quick: bool) -> list[Shape]:
    """The embedded model's heads; `quick`: small enough for a test."""
    smol, part = (9, 3, 64), 8 if quick else 1
    return [
        *(
            Shape(f"B={b} P={1024 // part} U=64", smol, star(b, 1024 // part, 64))
            for b in ((2, 8) if quick else (1, 8, 32, 64))
        ),
        Shape(
            f"8 roles of {512 // part} below {1024 // part}",
            smol,
            Tree(((1, 1024 // part), (8, 512 // part), (64, 64))),
        ),
        Shape("copilot, B=16", smol, copilot(16, 2 * part)),
    ]  # fmt: skip


def copilot(readers: int, part: int) -> Tree:
    """Parrot's figures 14 and 15: 5,107 shared tokens, prompts of 5.2k to 7.5k, whole blocks."""
    rng, shared = Random(0), 5104 // part // 16 * 16
    own = tuple(rng.randrange(96, 2400) // part // 16 * 16 + 16 for _ in range(readers))
    return Tree(((1, shared), (readers, 0)), own)


def problem_of(shape: Shape, dtype: torch.dtype, device: torch.device) -> Problem:
    heads, kv_heads, dim = shape.heads
    readers = shape.tree.readers()
    blocks = 1 + max(max(reader.blocks) for reader in readers)
    generator = torch.Generator(device).manual_seed(0)
    random = partial(torch.randn, dtype=dtype, device=device, generator=generator)
    pool = (blocks, shape.tree.block, kv_heads, dim)
    return Problem(shape.tree, random(len(readers), heads, dim), random(pool), random(pool))


def ours(problem: Problem, attend: Attend, gate: Gate) -> Run:
    work = plan_work(problem.tree.readers(), problem.tree.block, gate)
    return lambda: attend(problem.queries, problem.keys, problem.values, work)


def dense(problem: Problem) -> Tensor:
    """The right answer, one reader at a time, so that long contexts fit."""
    rows = []
    heads, kv_heads = problem.queries.shape[1], problem.keys.shape[2]
    for query, reader in zip(problem.queries.double(), problem.tree.readers(), strict=True):
        index = torch.tensor(reader.blocks, device=query.device)
        keys, values = (x[index].flatten(0, 1).double() for x in (problem.keys, problem.values))
        grouped = query.view(kv_heads, heads // kv_heads, -1)
        scores = torch.einsum("kgd,nkd->kgn", grouped, keys) * query.shape[-1] ** -0.5
        rows.append(torch.einsum("kgn,nkd->kgd", scores.softmax(-1), values).flatten(0, 1))
    return torch.stack(rows)


def measure(shape: Shape, record: Record, bench: "Bench") -> None:
    """All ways of one shape, in one loop. What fails is recorded, and the others go on."""
    problem = problem_of(shape, bench.dtype, bench.device)
    gate = bench.gate(shape.heads, record)
    ways: dict[str, Callable[[], Run]] = {
        "ours, gate": lambda: ours(problem, bench.attend, gate),
        "ours, all shared": lambda: ours(problem, bench.attend, Gate.always()),
        "ours, none shared": lambda: ours(problem, bench.attend, Gate.never()),
        **{
            f"ours {name}": partial(ours, problem, attend, gate)
            for name, attend in bench.others.items()
        },
        **peers(problem),
    }
    expected, runs, errors = dense(problem), {}, {}
    for way, prepare in ways.items():
        try:
            run = prepare()
            errors[way] = float((run().double() - expected).abs().max())
            runs[way] = run
        except Exception as error:  # a peer's own limits must not end the others' measures
            reason = f"{type(error).__name__}: {error}"[:300]
            record.failed.append({"shape": shape.name, "way": way, "reason": reason})
    readers = shape.tree.readers()
    tokens = len({block for reader in readers for block in reader.blocks}) * shape.tree.block
    seen = sum(len(reader.blocks) for reader in readers) * shape.tree.block
    operations = 4 * shape.heads[0] * shape.heads[2] * seen
    unique = tokens * 2 * shape.heads[1] * shape.heads[2] * bench.dtype.itemsize
    for way, (warm, flushed) in zip(runs, bench.timer.times(list(runs.values())), strict=True):
        rate, speed = (work / (flushed or warm) for work in (unique, operations))
        one = Measure(
            shape.name, way, round(warm * 1e6, 1), flushed and round(flushed * 1e6, 1),
            round(unique / 1e6, 2), round(rate / 1e9, 2),
            round(rate / 1e9 / record.copy_gigabytes_per_second, 3), round(speed / 1e12, 4),
            errors[way],
        )  # fmt: skip
        record.measures.append(one)
        print(
            f"{one.shape:32}{one.way:28}{one.warm:>10.1f}{one.flushed or 0:>10.1f}"
            f"{one.gigabytes_per_second:>9.1f}{one.of_copy:>8.1%}{one.teraflops:>10.3f}"
            f"{one.error:>10.1e}",
            flush=True,
        )


def crossover(
    heads: tuple[int, int, int], prefixes: Sequence[int], record: Record, bench: "Bench"
) -> None:
    """Shared against unshared by prefix length, and what the gate would say."""
    gate = bench.gate(heads, record)
    print(f"\n{'readers':>8}{'prefix':>8}{'shared us':>12}{'apart us':>12}  the gate shares")
    for readers in (2, 8, 64):
        for prefix in prefixes:
            shape = Shape("", heads, star(readers, prefix, 64))
            problem = problem_of(shape, bench.dtype, bench.device)
            runs = [ours(problem, bench.attend, g) for g in (Gate.always(), Gate.never())]
            (shared, _), (alone, _) = bench.timer.times(runs)
            row = {
                "readers": readers,
                "prefix": prefix,
                "shared": round(shared * 1e6, 1),
                "unshared": round(alone * 1e6, 1),
                "gate_shares": gate.shares(readers, readers, prefix),
            }
            record.crossover.append(row)
            print("{:8}{:8}{:12}{:12}  {}".format(*row.values()), flush=True)


class Bench:
    """The device, the implementation that the engine has there, the other ones of ours, and the
    timer of a run; gates are measured once a shape."""

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device = device
        self.others: dict[str, Attend] = {}
        if device.type == "cuda":
            from parrotc.kernels.triton_attention import attend as triton_attend

            self.attend: Attend = triton_attend
            self.dtype = torch.bfloat16
            self.timer: CpuTimer | GpuTimer = GpuTimer(repeats)
        else:
            compiled = native(cache_folder() / "kernels")
            self.attend = compiled or torch_attend
            if compiled is not None:
                self.others["in torch, gate"] = torch_attend
            self.dtype = torch.float32
            self.timer = CpuTimer(repeats)
        self._gates: dict[tuple[int, int, int], Gate] = {}

    def gate(self, heads: tuple[int, int, int], record: Record) -> Gate:
        if heads not in self._gates:
            self._gates[heads] = measure_gate(
                self.attend, heads=heads[0], kv_heads=heads[1], dim=heads[2],
                dtype=self.dtype, device=self.device,
            )  # fmt: skip
            numbers = asdict(self._gates[heads])
            if numbers["overhead"] == float("inf"):
                numbers["overhead"] = None  # the gate stays shut; JSON has no infinity
            record.gates["/".join(map(str, heads))] = numbers
        return self._gates[heads]


@torch.inference_mode()
def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="small shapes, few repeats")
    parser.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    parser.add_argument("--output", type=Path, help="instead of results/attention_DEVICE.json")
    args = parser.parse_args()

    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    cuda = device.type == "cuda"
    bench = Bench(device, 5 if args.quick else 50 if cuda else 15)
    name = torch.cuda.get_device_name(device) if cuda else _processor()
    rate = round(copy_bandwidth(device, bench.timer) / 1e9, 2)
    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    record = Record(name, torch.__version__, threads, [round(load, 2)], rate)
    print(
        f"{name}, torch {torch.__version__}, {threads} threads, copy {rate} GB/s, load {load:.1f}"
    )
    print(
        f"{'shape':32}{'way':28}{'warm us':>10}{'flushed':>10}{'GB/s':>9}{'copy':>8}"
        f"{'TFLOP/s':>10}{'error':>10}"
    )
    for shape in gpu_shapes() if cuda else cpu_shapes(args.quick):
        measure(shape, record, bench)
    lengths = (64, 256) if args.quick else (16, 64, 128, 256, 512, 1024, 2048)
    heads = (32, 8, 128) if cuda else (9, 3, 64)
    crossover(heads, lengths, record, bench)
    record.load.append(round(os.getloadavg()[0], 2))
    output = args.output or RESULTS / f"attention_{device.type}.json"
    output.write_text(json.dumps(asdict(record), indent=1) + "\n")
    return 0


def _processor() -> str:
    """What kind of processor this is, as `peers.py` says it, with its widest vectors."""
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()}, {os.cpu_count()} cores, {vectors}"


if __name__ == "__main__":
    sys.exit(main())
