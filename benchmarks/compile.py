"""How compiling grows: seconds and memory of -O1 for 1,000, 10,000 and 100,000 unrolled calls.

    python benchmarks/compile.py [--calls 1000 --calls 10000] [--passes]

The program is one flow without loops: reports of ten findings each, every finding a call of its
own with a shared system message, constants that differ, and the values of the call before it.
Each size runs in a process of its own, so that its peak memory is its own. What was measured is
kept in `results/compile.json`. Exit 1 if a bound of `BOUNDS` is exceeded or time grows faster than
calls to the power `SLOPE`.
"""

import json
import resource
import subprocess
import sys
import time
from itertools import pairwise
from math import log
from pathlib import Path

import click

from parrotc.ir.ops import (
    Apply,
    Block,
    Call,
    Const,
    End,
    Fill,
    Flow,
    Function,
    Generate,
    Message,
    Model,
    Module,
    Op,
    Param,
    Text,
    Value,
)
from parrotc.ir.types import CONTEXT, STR, ListOf
from parrotc.passes.table import PIPELINES, run
from parrotc.passes.target import ModelTarget, Target
from parrotc.runtime.template import Template
from parrotc.runtime.tokenizer import ByteTokenizer

RESULTS = Path(__file__).parent / "results"
BOUNDS = {10_000: (10.0, 6.0), 100_000: (120.0, 6.0)}  # calls → seconds, GiB
SLOPE = 1.15
FINDINGS = 10  # calls of one report
SYSTEM = "You review one change at a time. Name what could break, and how you would find out."


def unrolled(calls: int) -> Module:
    """A module of one flow with that many calls."""
    ops: list[Op] = []
    last = Value("diff", STR)
    shown: list[Value] = []
    for number in range(calls):
        if number % FINDINGS == 0:
            last = Value("diff", STR)
        topic, found = Value(f"topic.{number}", STR), Value(f"found.{number}", STR)
        ops.append(Const(results=(topic,), json=json.dumps(f"Look at part {number}.")))
        args = (topic, last)
        ops.append(
            Call(results=(found,), function="review", args=args, model="m", site=f"main.{number}")
        )
        last = found
        if number % FINDINGS == FINDINGS - 1 or number == calls - 1:
            shown.append(last)
    result = Value("result", ListOf(STR))
    ops.append(Apply(results=(result,), function="list", args=tuple(shown)))
    diff = Value("diff", STR)
    flow = Flow("main", (Param(diff),), Block((diff,), tuple(ops), (result,)))
    model = Model("m", "reference", "")
    return Module("unrolled", models=(model,), functions=(_review(),), flows=(flow,))


def _review() -> Function:
    """`system …; user "{{topic}} The change: {{before}}"; assistant "{{gen}}"`."""
    c = [Value(f"c.{n}", CONTEXT) for n in range(10)]
    topic, before, answer = Value("topic", STR), Value("before", STR), Value("answer", STR)
    ops: tuple[Op, ...] = (
        Message(results=(c[1],), context=c[0], role="system"),
        Fill(results=(c[2],), context=c[1], parts=(Text(SYSTEM),)),
        End(results=(c[3],), context=c[2]),
        Message(results=(c[4],), context=c[3], role="user"),
        Fill(results=(c[5],), context=c[4], parts=(topic, Text("\nThe change:\n"), before)),
        End(results=(c[6],), context=c[5]),
        Message(results=(c[7],), context=c[6], role="assistant"),
        Generate(results=(c[8], answer), context=c[7], site="0", max_tokens=64),
        End(results=(c[9],), context=c[8]),
    )
    return Function("review", ("",), Block((c[0], topic, before), ops, (answer,)))


def target() -> Target:
    tokenizer = ByteTokenizer()
    return Target({"m": ModelTarget(tokenizer, Template(tokenizer.template).render)})


def measure(calls: int) -> dict[str, object]:
    """Seconds for all of O1 with the verifier after each pass, and the process's peak memory."""
    module = unrolled(calls)
    times: list[tuple[str, float]] = []
    start = time.process_time()
    run(module, target(), PIPELINES["O1"], times=times)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB
    return {"calls": calls, "seconds": seconds, "gib": peak, "passes": times}


@click.command()
@click.option("--calls", multiple=True, type=int, default=(1_000, 10_000, 100_000))
@click.option("--passes", is_flag=True, help="Also print the seconds of each pass.")
@click.option("--alone", is_flag=True, hidden=True)
def main(calls: tuple[int, ...], passes: bool, alone: bool) -> None:
    """Measure, print a table, and exit with 1 if a bound is exceeded."""
    if alone:
        print(json.dumps(measure(*calls)))
        return
    rows = []
    for count in calls:
        command = [sys.executable, __file__, "--alone", "--calls", str(count)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows.append(json.loads(out))
        row = rows[-1]
        print(f"{count:>8,} calls  {row['seconds']:8.2f} s  {row['gib']:6.2f} GiB")
        for name, seconds in row["passes"] if passes else ():
            print(f"{'':>16} {seconds:8.2f} s  {name}")
    kept = [{name: row[name] for name in ("calls", "seconds", "gib")} for row in rows]
    (RESULTS / "compile.json").write_text(json.dumps({"measures": kept}, indent=1) + "\n", "utf-8")
    sys.exit(1 if list(_exceeded(rows)) else 0)


def _exceeded(rows: list[dict[str, float]]) -> "list[str]":
    found = []
    for row in rows:
        seconds, gib = BOUNDS.get(int(row["calls"]), (float("inf"), float("inf")))
        if row["seconds"] > seconds or row["gib"] > gib:
            found.append(f"{row['calls']:,} calls exceed {seconds} s or {gib} GiB")
    for before, after in pairwise(rows):
        slope = log(after["seconds"] / before["seconds"]) / log(after["calls"] / before["calls"])
        print(f"{'':>8} slope {slope:.2f}")
        if slope > SLOPE:
            found.append(f"the slope {slope:.2f} exceeds {SLOPE}")
    for line in found:
        print(line, file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
