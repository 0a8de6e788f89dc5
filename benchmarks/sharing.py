"""What sharing saves: the same programs at -O0 and -O1, on the embedded model, in one run.

    python benchmarks/sharing.py                 # both workloads; a few minutes on two cores
    python benchmarks/sharing.py --equality      # and: are the outputs the same, to the token?

Map-reduce summarises a real address; retrieval QA answers sixteen users over one long system
prompt. Both levels run on the same executor, engine and batching, so the difference is what the
optimiser found. Filled tokens are exact; seconds are of a shared machine: read the ratios.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parrotc.driver import compile_path
from parrotc.program import LoadedProgram
from parrotc.runtime.trace import Event
from parrotc.settings import Settings
from parrotc.targets import ModelOverrides

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
RESULTS = Path(__file__).parent / "results"
QUESTIONS = (
    "How long is the warranty?",
    "Can I return an opened box?",
    "How do I reset the device?",
    "Which payments do you accept?",
    "Do you ship to Norway?",
    "How do I change my delivery address?",
    "What does the red light mean?",
    "Is there a student discount?",
    "How do I cancel my subscription?",
    "Can I use it outdoors?",
    "Where do I find the serial number?",
    "How do I update the firmware?",
    "Who pays for the return?",
    "How long does the battery last?",
    "Can I talk to a person?",
    "How is my data protected?",
)


@dataclass
class Measure:
    """One workload at one level. `alone` is what every call's prompt would cost by itself."""

    workload: str
    level: str
    calls: int = 0
    alone: int = 0
    filled: int = 0
    generated: int = 0
    seconds: float = 0.0


class Watch:
    """Adds up the counters of runs that go on at the same time; times from the first event."""

    def __init__(self) -> None:
        self._counters: dict[int, Any] = {}
        self._first: float | None = None

    def watcher(self) -> Callable[[Event], None]:
        key = len(self._counters)
        self._counters[key] = None

        def see(event: Event) -> None:
            self._first = self._first or time.perf_counter()
            self._counters[key] = event.counters

        return see

    def measure(self, workload: str, level: str) -> Measure:
        totals = [counters for counters in self._counters.values() if counters is not None]
        return Measure(
            workload,
            level,
            calls=sum(c.calls_done for c in totals),
            alone=sum(c.tokens_without_sharing for c in totals),
            filled=sum(c.tokens_filled for c in totals),
            generated=sum(c.tokens_generated for c in totals),
            seconds=time.perf_counter() - (self._first or time.perf_counter()),
        )


def open_program(name: str, level: str, precision: str, max_new_tokens: int) -> LoadedProgram:
    models = ModelOverrides(engine="embedded")
    plan = compile_path(EXAMPLES / name, level=level, models=models).plan
    settings = Settings(precision=precision, max_new_tokens=max_new_tokens)
    return LoadedProgram(plan, folder=EXAMPLES, settings=settings)


def map_reduce(
    level: str, precision: str, characters: int, max_new_tokens: int
) -> tuple[Measure, list[Any]]:
    document = next((EXAMPLES / "data").glob("*.txt")).read_text("utf-8")[:characters]
    watch = Watch()
    with open_program("map_reduce.pfn", level, precision, max_new_tokens) as program:
        result = program.summarise.plain({"doc": document}, watcher=watch.watcher())
        return watch.measure("map_reduce", level), [result]


def retrieval(
    level: str, precision: str, users: int, max_new_tokens: int
) -> tuple[Measure, list[Any]]:
    questions = [QUESTIONS[n % len(QUESTIONS)] for n in range(users)]
    watch = Watch()
    with (
        open_program("retrieval_qa.pfn", level, precision, max_new_tokens) as program,
        ThreadPoolExecutor(users) as pool,
    ):
        runs = [
            pool.submit(program.ask.plain, {"question": question}, watcher=watch.watcher())
            for question in questions
        ]
        results = [run.result() for run in runs]
        return watch.measure("retrieval_qa", level), results


def table(measures: Sequence[Measure]) -> str:
    """Side by side, with the ratio of -O0 to -O1."""
    lines = [f"{'':14}{'calls':>7}{'alone':>9}{'filled':>9}{'generated':>11}{'seconds':>9}"]
    for one in measures:
        lines.append(
            f"{one.workload:<11}{one.level:<3}{one.calls:>7,}{one.alone:>9,}{one.filled:>9,}"
            f"{one.generated:>11,}{one.seconds:>9.1f}"
        )
        before = next(m for m in measures if m.workload == one.workload)
        if one is not before:
            fewer, faster = before.filled / one.filled, before.seconds / one.seconds
            lines.append(f"{'':14}{fewer:.1f}x fewer tokens filled, {faster:.1f}x faster")
    return "\n".join(lines)


def equality(precision: str) -> dict[str, bool]:
    """Whether -O0 and -O1 give the same text, on a small part of each workload."""
    same = {}
    for name, run in (
        ("map_reduce", lambda level: map_reduce(level, precision, 4000, 48)),
        ("retrieval_qa", lambda level: retrieval(level, precision, 2, 48)),
    ):
        same[name] = run("O0")[1] == run("O1")[1]
        print(f"{name:<14}{precision}: outputs {'equal' if same[name] else 'differ'}", flush=True)
    return same


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=16)
    parser.add_argument("--characters", type=int, default=1_000_000, help="of the document")
    parser.add_argument("--max-new-tokens", type=int, default=0, help="cap of every text")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--equality", action="store_true", help="compare outputs in float64 too")
    args = parser.parse_args()

    measures = []
    for level in ("O0", "O1"):
        measures.append(map_reduce(level, args.precision, args.characters, args.max_new_tokens)[0])
        print(measures[-1], file=sys.stderr, flush=True)
    for level in ("O0", "O1"):
        measures.append(retrieval(level, args.precision, args.users, args.max_new_tokens)[0])
        print(measures[-1], file=sys.stderr, flush=True)
    print(f"SmolLM2-135M-Instruct, {args.precision}, {platform.machine()}, {os.cpu_count()} cores")
    print(table(measures))
    same = equality("float64") if args.equality else {}
    RESULTS.mkdir(exist_ok=True)
    record = {
        "model": "SmolLM2-135M-Instruct",
        "precision": args.precision,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "load_before": os.getloadavg(),
        "measures": [asdict(one) for one in measures],
        "equal_in_float64": same,
    }
    (RESULTS / "sharing.json").write_text(json.dumps(record, indent=1) + "\n")
    return 0 if all(same.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
