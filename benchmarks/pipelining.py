"""What filling before a prompt is whole saves: three programs with and without the two passes.

    python benchmarks/pipelining.py                  # simulated on two cost models, and embedded
    python benchmarks/pipelining.py --engines simulated
    python benchmarks/pipelining.py --rounds 5 --max-new-tokens 48

A chain of summaries (each reads a part of a document and the summary before it), retrieval with a
slow retriever, and a chain of agents, alone and with eight users at once. `tokens` is the program
with `handover=tokens`, which means other tokens and is compared with itself. Every way of compiling
a program must give the same results; the simulated engine's seconds are exact, those of the
embedded model are of a shared machine: the ways take turns, and the median of the ratios counts.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from parrotc.driver import compile_source
from parrotc.ir.source import Source
from parrotc.passes.table import OFF, ORDER
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.engines.registry import open_engine
from parrotc.runtime.engines.simulated import CPU, GPU, CostModel, SimulatedEngine
from parrotc.runtime.engines.virtualtime import VirtualTimeLoop
from parrotc.runtime.executor import Executor
from parrotc.runtime.models import EMBEDDED, load_tokenizer, resolve
from parrotc.targets import ModelOverrides

EXAMPLES = Path(__file__).parent.parent / "examples"
RESULTS = Path(__file__).parent / "results"
RETRIEVER = 2.0  # seconds

PASSES = ("prefill-split", "stream-through")
WAYS = {"off": (), "prefill-split": PASSES[:1], "stream-through": PASSES[1:], "both": PASSES}
COSTS = {"simulated CPU": CPU, "simulated GPU": GPU}

CHAIN = """
pfunc update(part: str, summary: str) -> str:
    system "You keep the summary of a long document that is read part by part. Be brief and exact."
    user:
        "The next part:"
        "{{part}}"
        "The summary so far:"
        "{{summary}}"
        "Write the new summary."
    assistant "{{gen max_tokens=120}}"

flow main(parts: list[str]) -> str:
    summary = "Nothing has been read."
    for part in parts:
        summary = update(part, summary)HANDOVER
    return summary
"""
RETRIEVAL = """
extern def retrieve(question: str) -> str = "retriever:retrieve"

pfunc answer(record: str, facts: str, question: str) -> str:
    system "You answer questions of one customer at a time. Use the record and the facts only."
    user:
        "The customer's record:"
        "{{record}}"
        "Facts:"
        "{{facts}}"
        "Question: {{question}}"
    assistant "{{gen max_tokens=120}}"

flow main(record: str, question: str) -> str:
    return answer(record, retrieve(question), question)
"""
AGENTS = """
pfunc plan(task: str) -> str:
    system "You are the planner of a team. Say in short steps what is to be done, in order."
    user "The task: {{task}}"
    assistant "{{gen max_tokens=120}}"

pfunc work(role: str, task: str, draft: str) -> str:
    system "You are one of a team of experts. You get what the one before you wrote and improve it."
    user:
        "Your role: {{role}}"
        "The task: {{task}}"
        "What the one before you wrote:"
        "{{draft}}"
        "Now write your version."
    assistant "{{gen max_tokens=120}}"

flow main(task: str) -> str:
    outline = plan(task)
    draft = work("the author, who writes the first text", task, outline)HANDOVER
    checked = work("the critic, who finds what is wrong", task, draft)HANDOVER
    return work("the editor, who has the last word", task, checked)HANDOVER
"""


@dataclass(frozen=True)
class Workload:
    """`inputs` are those of one user; others have their own first words."""

    name: str
    text: str
    inputs: dict[str, Any]

    def users(self, count: int, mark: str) -> list[dict[str, Any]]:
        """Inputs that begin differently, so that nobody finds another's prompts filled."""

        def own(value: Any, user: int) -> Any:
            if isinstance(value, list):
                return [own(one, user) for one in value]
            return f"{mark}{user}: {value}"

        return [{name: own(v, user) for name, v in self.inputs.items()} for user in range(count)]


def workloads(scale: float = 1.0) -> list[Workload]:
    """The three programs, two of them in both modes. `scale` is of the lengths of texts."""
    size = int(3000 * scale)
    document = (EXAMPLES / "data" / "kennedy_1962.txt").read_text("utf-8")
    parts = [document[at : at + size] for at in range(0, 4 * size, size)]
    task = f"Make a short speech for children of what was said here: {document[: size // 2]}"
    question = "What did I order last, and when does it come?"
    inputs = {"record": document[: 2 * size], "question": question}
    return [
        Workload("chain summary", CHAIN.replace("HANDOVER", ""), {"parts": parts}),
        Workload("chain, tokens", _handing(CHAIN), {"parts": parts}),
        Workload("retrieval", RETRIEVAL, inputs),
        Workload("agents", AGENTS.replace("HANDOVER", ""), {"task": task}),
        Workload("agents, tokens", _handing(AGENTS), {"task": task}),
    ]


def _handing(text: str) -> str:
    return text.replace("HANDOVER", " with (handover=tokens)")


class Retriever:
    """Stands for `Natives`: the extern sleeps in the loop, so that its seconds may be virtual."""

    async def call(self, native: Any, result: Any, args: Sequence[Any]) -> str:
        await asyncio.sleep(RETRIEVER)
        return f"Orders on this question ({args[0][:40]}): two lamps, sent on Monday. " * 8

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class Measure:
    """One workload, compiled one way: the mean seconds of its users' runs, and what was filled.

    `first` are those of a run with nothing filled before, `later` of one where the prefixes of
    the plan are there (not measured on the embedded model).
    """

    engine: str
    workload: str
    users: int
    way: str
    first: float
    later: float | None
    filled: int


def passes(way: str) -> tuple[str, ...]:
    """O1 with the passes of a way, and without the other ones."""
    return tuple(name for name in ORDER if name not in PASSES or name in WAYS[way])


async def measured(
    name: str, engine: Engine, workload: Workload, users: int, way: str, cap: int, runs: str
) -> tuple[Measure, list[Any]]:
    """A run of every user, for each of `runs`, on a fresh executor; and their results."""
    source = Source(f"{workload.name}.pfn", workload.text)
    models = ModelOverrides(engine="embedded")
    plan = compile_source(source, passes=passes(way), models=models).plan
    engines = {model.name: engine for model in plan.models}
    natives: Any = Retriever()
    executor = Executor(plan, engines, natives, max_new_tokens=cap or None)
    clock = asyncio.get_running_loop().time
    before = (await engine.ping()).filled_tokens
    seconds: list[float] = []

    async def user(inputs: dict[str, Any]) -> tuple[float, Any]:
        began = clock()
        result = await executor.run("main", inputs)
        return clock() - began, result

    results = []
    for mark in runs:
        done = await asyncio.gather(*map(user, workload.users(users, mark)))
        seconds.append(statistics.mean(took for took, _ in done))
        results += [result for _, result in done]
    filled = (await engine.ping()).filled_tokens - before
    await executor.close()
    first, *later = (round(one, 3) for one in seconds)
    last = later[-1] if later else None
    return Measure(name, workload.name, users, way, first, last, filled), results


def simulated(name: str, cost: CostModel, length: int) -> list[Measure]:
    tokenizer = load_tokenizer(resolve(EMBEDDED))
    found: list[Measure] = []
    for workload in workloads():
        for users in (1, 8):
            expected = None
            for way in WAYS:
                with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
                    engine = SimulatedEngine(tokenizer, cost=cost, length=length)
                    work = measured(name, engine, workload, users, way, 0, "AB")
                    measure, results = runner.run(work)
                assert expected in (None, results), f"{workload.name}: {way} changes results"
                expected = results
                found.append(measure)
    return found


async def embedded(rounds: int, cap: int, precision: str) -> list[Measure]:
    """Several rounds, in each of which every way has its turn."""
    engine = open_engine("embedded", EMBEDDED, precision=precision)
    fresh = count()
    found: list[Measure] = []
    for workload in workloads(scale=0.5):
        if "tokens" in workload.name:
            continue
        taken: dict[str, list[Measure]] = {way: [] for way in WAYS}
        for number in range(rounds):
            order = list(WAYS) if number % 2 == 0 else list(WAYS)[::-1]
            for way in order:
                mark = chr(ord("A") + next(fresh))  # the engine still has what others read
                work = measured("embedded", engine, workload, 1, way, cap, mark)
                measure, _ = await work
                taken[way].append(measure)
                print(measure, file=sys.stderr, flush=True)
        for way, measures in taken.items():
            found.append(replace(measures[0], way=way, first=_median(taken["off"], measures)))
    await engine.close()
    return found


def _median(off: Sequence[Measure], way: Sequence[Measure]) -> float:
    """The median seconds without, divided by the median of how many times faster each round was:
    what slows a whole round down does not count."""
    faster = statistics.median(a.first / b.first for a, b in zip(off, way, strict=True))
    return round(statistics.median(one.first for one in off) / faster, 3)


def table(measures: Sequence[Measure]) -> str:
    """Seconds of later runs, and how many times faster each way is: first run / later runs."""
    ways = [way for way in WAYS if way != "off"]
    head = f"{'':14} {'':15} {'users':>5} {'off, s':>14}" + "".join(f"{way:>18}" for way in ways)
    lines = [head]
    for off in measures:
        if off.way != "off":
            continue
        same = {
            m.way: m
            for m in measures
            if (m.engine, m.workload, m.users) == (off.engine, off.workload, off.users)
        }
        line = f"{off.engine:14} {off.workload:15} {off.users:>5}"
        line += f" {off.first:>6.2f} {_shown(off.later)}"
        for way in ways:
            one = same[way]
            later = off.later / one.later if off.later and one.later else None
            line += f"{off.first / one.first:>9.2f}x {_shown(later, 'x')}"
        lines.append(line)
    return "\n".join(lines)


def _shown(number: float | None, unit: str = "") -> str:
    return f"{'-' if number is None else f'{number:.2f}{unit}':>7}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engines", default="simulated,embedded")
    parser.add_argument("--rounds", type=int, default=5, help="of the embedded model")
    parser.add_argument("--max-new-tokens", type=int, default=32, help="of the embedded model")
    parser.add_argument("--length", type=int, default=120, help="of texts of the simulated engine")
    parser.add_argument("--precision", default="float32")
    args = parser.parse_args()

    measures: list[Measure] = []
    began = time.perf_counter()
    if "simulated" in args.engines:
        for name, cost in COSTS.items():
            measures += simulated(name, cost, args.length)
    if "embedded" in args.engines:
        measures += asyncio.run(embedded(args.rounds, args.max_new_tokens, args.precision))
    print(table(measures))
    print(f"off at -O1, as it does not win: {', '.join(name for name in PASSES if name in OFF)}")
    record = {
        "model": EMBEDDED,
        "precision": args.precision,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": os.getloadavg(),
        "seconds": round(time.perf_counter() - began, 1),
        "retriever_seconds": RETRIEVER,
        "costs": {name: asdict(cost) for name, cost in COSTS.items()},
        "rounds": args.rounds,
        "max_new_tokens": args.max_new_tokens,
        "measures": [asdict(one) for one in measures],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "pipelining.json").write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
