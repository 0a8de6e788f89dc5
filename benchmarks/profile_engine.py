"""Where the built-in engine's time goes on a CPU: matrix products, attention, and the rest.

    python benchmarks/profile_engine.py --precision int8 --threads 1

The embedded model fills 2,000 tokens in chunks of 512, then 16 sequences with that prompt in common
step 32 times, and one with a short prompt 64 times. Products and attention as torch's profiler
counts them; the rest is all other time, that of Python and of the profiler among it. With one
thread nothing is hidden in waiting.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from parrotc.kernels.dense import dense
from parrotc.runtime.engines.embedded.contexts import Sequence as Context
from parrotc.runtime.engines.embedded.jobs import Job
from parrotc.runtime.engines.embedded.memory import Memory
from parrotc.runtime.engines.embedded.model import Model
from parrotc.runtime.engines.embedded.planner import Limits, Plan, Slice
from parrotc.runtime.engines.embedded.runner import Runner, attention_for
from parrotc.runtime.engines.embedded.shape import load_shape
from parrotc.runtime.engines.embedded.weights import load_weights
from parrotc.runtime.models import EMBEDDED, cache_folder, resolve

KINDS = {
    "matrix products": ("linear", "mm", "matmul", "compiled products"),
    "attention": ("scaled_dot_product", "flash", "compiled attention"),
}


def recorded(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """The profiler sees torch's operators alone, and this."""

    def run(*args: Any) -> Any:
        with record_function(name):
            return work(*args)

    return run


class Bench:
    """The model with its memory, driven by hand: no requests, no sampling."""

    def __init__(self, precision: str) -> None:
        files = resolve(EMBEDDED)
        shape = load_shape(files)
        limits = Limits(max_total_tokens=8192)
        self.memory = Memory(limits.blocks, limits.block_size)
        kernels = cache_folder() / "kernels"
        passes = dense(kernels)
        if passes is not None:
            passes._products = recorded("compiled products", passes._products)
        model = Model(shape, load_weights(files, shape), precision, "cpu", passes)
        attention = attention_for(model, kernels)
        attend = recorded("compiled attention", attention.attend)
        self.runner = Runner(model, limits, replace(attention, attend=attend))

    def step(self, work: Sequence[tuple[Context, int]]) -> None:
        """One forward pass that computes so many more tokens of each."""
        plan = Plan()
        self.memory.copies = plan.copies
        for context, count in work:
            if not context.computed:
                self.memory.share(context, context.end - 1)
            if not self.memory.reserve(context, context.computed + count):
                raise MemoryError("the pool is too small for this benchmark")
            plan.slices.append(Slice(Job(context, (False, 0.0, 0)), context.computed, count))
            self.memory.advance(context, count)
        states = self.runner.run(plan)
        self.memory.confirm()
        if all(count == 1 for _, count in work):
            self.runner.logits(states)

    def fill(self, context: Context) -> None:
        while context.missing:
            self.step([(context, min(512, context.missing))])

    def decode(self, contexts: Sequence[Context], steps: int) -> None:
        for number in range(steps):
            for context in contexts:
                context.ids.append(100 + number)
            self.step([(context, 1) for context in contexts])


def measured(name: str, work: Callable[[], None]) -> None:
    with profile(activities=[ProfilerActivity.CPU]) as found:
        start = time.perf_counter()
        work()
        total = time.perf_counter() - start
    seconds = dict.fromkeys(KINDS, 0.0)
    for row in found.key_averages():
        kind = next((k for k, words in KINDS.items() if any(w in row.key for w in words)), None)
        if kind is not None:
            seconds[kind] += row.self_cpu_time_total / 1e6
    seconds["the rest"] = total - sum(seconds.values())
    parts = ", ".join(f"{kind} {one:.2f} s ({one / total:.0%})" for kind, one in seconds.items())
    print(f"{name}: {total:.2f} s: {parts}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with torch.inference_mode():
        bench = Bench(args.precision)
        bench.fill(Context(None, tuple(range(100, 700))))  # warms up
        prompt = Context(None, tuple(range(1000, 3000)))
        measured(f"{args.precision}, fill 2,000", lambda: bench.fill(prompt))
        contexts = [Context(prompt, (n,)) for n in range(16)]
        bench.step([(context, 1) for context in contexts])
        measured(f"{args.precision}, 16 x 32", lambda: bench.decode(contexts, 32))
        alone = [Context(None, tuple(range(5000, 5064)))]
        bench.fill(alone[0])
        measured(f"{args.precision}, 1 x 64", lambda: bench.decode(alone, 64))


if __name__ == "__main__":
    main()
