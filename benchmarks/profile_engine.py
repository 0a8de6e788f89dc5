"""Where the built-in engine's time goes on a CPU: matrix products, attention, and the rest.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/profile_engine.py --precision int8 --threads 1

The embedded model fills 2,000 tokens in chunks of 512, then 16 sequences with that prompt in common
step 32 times, and one with a short prompt 64 times. Products and attention are timed where they are
called; the rest is all other time, that of Python among it. It is time of the processor, of the
shortest of some rounds, so that what else the machine does counts little. With one thread nothing
is hidden in waiting.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import process_time
from typing import Any

import torch

from parrotc.kernels.dense import dense
from parrotc.runtime.engines.embedded.contexts import Sequence as Context
from parrotc.runtime.engines.embedded.jobs import Job
from parrotc.runtime.engines.embedded.linear import PackedLinear, PlainLinear
from parrotc.runtime.engines.embedded.memory import Memory
from parrotc.runtime.engines.embedded.model import Model
from parrotc.runtime.engines.embedded.planner import Limits, Plan, Slice
from parrotc.runtime.engines.embedded.quantised import Int8Linear
from parrotc.runtime.engines.embedded.runner import Runner, attention_for
from parrotc.runtime.engines.embedded.shape import load_shape
from parrotc.runtime.engines.embedded.weights import load_weights
from parrotc.runtime.models import EMBEDDED, cache_folder, resolve

PRODUCTS, ATTENTION = "matrix products", "attention"
# what multiplies by a matrix, with the sum or the rounding that is part of the same call
CALLS = (
    (PackedLinear, "__call__"), (PackedLinear, "plus"), (PlainLinear, "__call__"),
    (Int8Linear, "product"), (torch, "_int_mm"),
)  # fmt: skip


class Stopwatch:
    """The processor's seconds in each kind of call."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.reset()
        for owner, name in CALLS:
            setattr(owner, name, self.timed(PRODUCTS, getattr(owner, name)))

    def reset(self) -> None:
        self.seconds = {PRODUCTS: 0.0, ATTENTION: 0.0}

    def timed(self, kind: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            start = process_time()
            found = work(*args)
            self.seconds[kind] += process_time() - start
            return found

        return run


class Bench:
    """The model with its memory, driven by hand: no requests, no sampling."""

    def __init__(self, precision: str) -> None:
        files = resolve(EMBEDDED)
        shape = load_shape(files)
        limits = Limits(max_total_tokens=8192)
        self.memory = Memory(limits.blocks, limits.block_size)
        kernels = cache_folder() / "kernels"
        model = Model(shape, load_weights(files, shape), precision, "cpu", dense(kernels))
        self.watch = Stopwatch()
        attention = attention_for(model, kernels)
        attend = self.watch.timed(ATTENTION, attention.attend)
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

    def measure(self, name: str, work: Callable[[], None], rounds: int) -> None:
        """Print the seconds for `work`, and how they divide."""
        best: tuple[float, dict[str, float]] = (float("inf"), {})
        for _ in range(rounds):
            self.watch.reset()
            start = process_time()
            work()
            best = min(best, (process_time() - start, self.watch.seconds), key=lambda one: one[0])
        total, seconds = best
        seconds["the rest"] = total - sum(seconds.values())
        parts = ", ".join(
            f"{kind} {one:.2f} s ({one / total:.0%})" for kind, one in seconds.items()
        )
        print(f"{name}: {total:.2f} s: {parts}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with torch.inference_mode():
        bench = Bench(args.precision)
        bench.fill(Context(None, tuple(range(100, 700))))  # warms up
        first = itertools.count(1000, 2000)

        def fill() -> Context:
            """A prompt that nobody has filled before."""
            start = next(first)
            prompt = Context(None, tuple(range(start, start + 2000)))
            bench.fill(prompt)
            return prompt

        bench.measure(
            f"{args.precision}, fill 2,000", lambda: bench.memory.release(fill()), args.rounds
        )
        prompt = fill()
        contexts = [Context(prompt, (n,)) for n in range(16)]
        bench.step([(context, 1) for context in contexts])
        bench.measure(f"{args.precision}, 16 x 32", lambda: bench.decode(contexts, 32), args.rounds)
        alone = [Context(None, tuple(range(500, 564)))]
        bench.fill(alone[0])
        bench.measure(f"{args.precision}, 1 x 64", lambda: bench.decode(alone, 64), args.rounds)


if __name__ == "__main__":
    main()
