"""What sharing saves: the same programs on the embedded model, shared in three ways, in one run.

    alone    -O0, and an engine that is told to find nothing in its prefix cache
    cache    -O0, and what the engine's prefix cache finds while requests arrive
    plan     -O1: what the compiler found before anything ran, and the cache

    python benchmarks/sharing.py                     # both workloads
    python benchmarks/sharing.py --equality          # and: are the outputs the same, to the token?
    python benchmarks/sharing.py --characters 6000 --users 4 --max-new-tokens 32     # a short one

Map-reduce summarises a real address; retrieval QA answers many users over one long system prompt.
All ways run on the same executor, kernels and batching, each on an engine that has seen nothing
before. Filled tokens are exact; seconds are of a shared machine: read the ratios.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from parrotc.driver import compile_path
from parrotc.program import standard_function
from parrotc.runtime.chat import render_of, renderer
from parrotc.runtime.engines.protocol import (
    Constraint,
    ContextId,
    Engine,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
)
from parrotc.runtime.engines.registry import open_engine
from parrotc.runtime.executor import Executor
from parrotc.runtime.models import EMBEDDED
from parrotc.runtime.natives import Natives
from parrotc.runtime.trace import Trace
from parrotc.targets import ModelOverrides

EXAMPLES = Path(__file__).parent.parent / "examples"
RESULTS = Path(__file__).parent / "results"
LEVELS = ("O0", "O1")
WAYS = {"alone": "O0", "cache": "O0", "plan": "O1"}
QUESTIONS = (
    "How long is the warranty?",
    "Can I return an opened box?",
    "How do I reset the machine?",
    "How often do I change the filter?",
    "Do you ship to Norway?",
    "How do I change my delivery address?",
    "What does the red light mean?",
    "Which model makes hot water?",
    "How do I cancel my subscription?",
    "Can I use it outdoors?",
    "Where do I find the serial number?",
    "How do I descale it?",
    "Who pays for the return?",
    "How large is the tank?",
    "What does error E3 mean?",
    "Does it need plumbing?",
)

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Workload:
    name: str
    program: str
    flow: str
    inputs: tuple[dict[str, Any], ...]  # of the runs, which go on at the same time


@dataclass(frozen=True)
class Measure:
    """One workload, shared in one way. `alone` is what each call's prompt would cost by itself."""

    workload: str
    way: str
    calls: int
    alone: int
    filled: int
    generated: int
    seconds: float


class Forgetful:
    """An engine whose prefix cache finds nothing: each prompt that begins anew has a new salt."""

    def __init__(self, engine: Engine) -> None:
        self.tokenizer = engine.tokenizer
        self.generate = engine.generate
        self.free = engine.free
        self.ping = engine.ping
        self.close = engine.close
        self._engine = engine
        self._salts = count()

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        await self._engine.fill(
            [
                replace(one, salt=str(next(self._salts))) if one.parent is None else one
                for one in requests
            ]
        )


class Recorder:
    """An engine that remembers what each generation read and said."""

    def __init__(self, engine: Engine) -> None:
        self.tokenizer = engine.tokenizer
        self.said: dict[Ids, Ids] = {}
        self._engine = engine
        self._ids: dict[ContextId, Ids] = {}

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        for request in requests:
            before = self._ids[request.parent] if request.parent is not None else ()
            self._ids[request.context] = before + request.ids
        await self._engine.fill(requests)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        prompt = self._ids[request.parent]
        async for item in self._engine.generate(request):
            if isinstance(item, Finished):
                self.said[prompt] = item.ids
                self._ids[request.context] = prompt + item.ids[: item.kept]
            yield item

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        await self._engine.free(contexts, dead)

    async def ping(self) -> EngineInfo:
        return await self._engine.ping()

    async def close(self) -> None:
        await self._engine.close()


def map_reduce(characters: int) -> Workload:
    document = (EXAMPLES / "data" / "kennedy_1962.txt").read_text("utf-8")[:characters]
    return Workload("map_reduce", "map_reduce.pfn", "summarise", ({"doc": document},))


def retrieval(users: int) -> Workload:
    questions = [QUESTIONS[n % len(QUESTIONS)] for n in range(users)]
    inputs = tuple({"question": question} for question in questions)
    return Workload("retrieval_qa", "retrieval_qa.pfn", "ask", inputs)


async def run(workload: Workload, way: str, level: str, engine: Engine, cap: int) -> Measure:
    """All runs of a workload together."""
    models = ModelOverrides(engine="embedded")
    plan = compile_path(EXAMPLES / workload.program, level=level, models=models).plan
    specials = engine.tokenizer.specials
    executor = Executor(
        plan,
        {model.name: engine for model in plan.models},
        Natives([EXAMPLES], standard_function),
        renders={
            m.name: renderer(render_of(m.template), specials) for m in plan.models if m.template
        },
        max_new_tokens=cap or None,
    )
    traces = [Trace() for _ in workload.inputs]
    before, started = await engine.ping(), time.perf_counter()
    await asyncio.gather(
        *(
            executor.run(workload.flow, args, trace=trace)
            for args, trace in zip(workload.inputs, traces, strict=True)
        )
    )
    seconds, after = time.perf_counter() - started, await engine.ping()
    await executor.close()
    return Measure(
        workload.name,
        way,
        calls=sum(trace.counters.calls_done for trace in traces),
        alone=sum(trace.counters.tokens_without_sharing for trace in traces),
        filled=after.filled_tokens - before.filled_tokens,
        generated=after.generated_tokens - before.generated_tokens,
        seconds=round(seconds, 2),
    )


def table(measures: Sequence[Measure]) -> str:
    """Side by side, with the ratios to the first way of each workload."""
    lines = [
        f"{'':20}{'calls':>7}{'filled':>9}{'fewer':>8}{'generated':>11}{'seconds':>9}{'faster':>8}"
    ]
    for one in measures:
        first = next(m for m in measures if m.workload == one.workload)
        lines.append(
            f"{one.workload:<14}{one.way:<6}{one.calls:>7,}{one.filled:>9,}"
            f"{first.filled / one.filled:>7.1f}x{one.generated:>11,}{one.seconds:>9.1f}"
            f"{first.seconds / one.seconds:>7.1f}x"
        )
    return "\n".join(lines)


async def equality(precision: str, workloads: Sequence[Workload], cap: int) -> dict[str, Any]:
    """Whether -O0 and -O1 generate the same tokens, and where they part if they do not."""
    found = {}
    for workload in workloads:
        said = []
        for level in LEVELS:  # each on an engine of its own: no cache of the other's
            engine = open_engine("embedded", EMBEDDED, precision=precision)
            recorder = Recorder(engine)
            await run(workload, level, level, recorder, cap)
            said.append(recorder.said)
            if level != LEVELS[-1]:
                await engine.close()
        tokens = sum(map(len, said[0].values()))
        found[workload.name] = {
            "tokens": tokens,
            "equal": said[0] == said[1],
            "first_difference": await first_difference(engine, said[0], said[1]),
        }
        await engine.close()
        print(f"{workload.name:<14}{precision}: {found[workload.name]}", flush=True)
    return found


async def first_difference(
    engine: Engine, left: dict[Ids, Ids], right: dict[Ids, Ids]
) -> dict[str, Any] | None:
    """The earliest token that differs after equal prompts, and how near the two tokens were."""
    parted = []
    for prompt in left.keys() & right.keys():
        a, b = left[prompt], right[prompt]
        same = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
        if same is not None:
            parted.append((same, prompt))
    if not parted:
        return None
    same, prompt = min(parted)
    decode = engine.tokenizer.decode
    options = tuple(decode([said[prompt][same]]) for said in (left, right))
    await engine.fill([FillRequest(-1, None, prompt + left[prompt][:same])])
    request = GenerateRequest(-2, -1, Sampling(), Constraint(choices=options, scored=True))
    *_, finished = [item async for item in engine.generate(request)]
    await engine.free([-1, -2])
    assert isinstance(finished, Finished)
    (_, p), (_, q) = finished.scores
    return {"after_tokens": same, "texts": options, "margin_in_logits": abs(math.log(p / q))}


async def measure(args: argparse.Namespace) -> list[Measure]:
    measures = []
    for workload in (map_reduce(args.characters), retrieval(args.users)):
        for way, level in WAYS.items():
            engine = open_engine(
                "embedded", EMBEDDED, precision=args.precision, threads=args.threads
            )
            used = Forgetful(engine) if way == "alone" else engine
            measures.append(await run(workload, way, level, used, args.max_new_tokens))
            await engine.close()
            print(measures[-1], file=sys.stderr, flush=True)
    return measures


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=16)
    parser.add_argument("--characters", type=int, default=1_000_000, help="of the document")
    parser.add_argument("--max-new-tokens", type=int, default=0, help="cap of every free text")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=0, help="0: one for each core")
    parser.add_argument("--equality", action="store_true", help="compare tokens of a small part")
    args = parser.parse_args()

    record: dict[str, Any] = {
        "model": EMBEDDED,
        "precision": args.precision,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_before": os.getloadavg(),
    }
    measures = asyncio.run(measure(args))
    print(f"{EMBEDDED}, {args.precision}, {record['machine']}")
    print(table(measures))
    record |= {"measures": [asdict(one) for one in measures], "load_after": os.getloadavg()}
    equal = True
    if args.equality:
        part = (map_reduce(4000), retrieval(2))
        record["equality"] = {p: asyncio.run(equality(p, part, 48)) for p in ("float32", "float64")}
        equal = all(one["equal"] for one in record["equality"]["float64"].values())
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sharing.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
