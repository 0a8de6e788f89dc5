"""What the Python front end costs: capturing a call, running an equal segment, compiling a flow.

    python benchmarks/frontend.py [--calls 2000]

*capture*: from a call of a `@pfunc` to its variable. *run again*: a segment of one call that was
compiled before, on the reference engine, from capture to value. *first*: with its compilation.
*flow*: from the text of `examples/python/*.py` to a plan. Times are medians, in one thread.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

from parrotc import Graph, assistant, pfunc, system, user
from parrotc.driver import compile_path
from parrotc.targets import ModelOverrides

EXAMPLES = Path(__file__).parent.parent / "examples" / "python"
FLOWS = ("map_reduce", "refine", "code_review", "vote_tree")


@pfunc
def digest(part: str) -> str:
    system("You summarise faithfully.")
    user("Summarise: {{part}}")
    assistant("{{gen max_tokens=8}}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=2000)
    calls = parser.parse_args().calls
    with Graph(engine="reference") as graph:
        start = perf_counter()
        digest("first").get()
        show("first", perf_counter() - start)
        held: list[object] = []
        show("capture", timed(lambda: held.append(digest("A boat left the harbour.")), calls))
        graph.close()
        held.clear()
        show("run again", timed(lambda: digest("A boat.").get(), max(calls // 20, 10)))
    for name in FLOWS:
        path, models = EXAMPLES / f"{name}.py", ModelOverrides("reference")
        show(f"flow {name}", timed(lambda p=path, m=models: compile_path(p, models=m), 5))


def timed(work: Callable[[], object], times: int) -> float:
    """The median of `times` runs, in seconds."""
    found = []
    for _ in range(times):
        start = perf_counter()
        work()
        found.append(perf_counter() - start)
    return median(found)


def show(what: str, seconds: float) -> None:
    sys.stdout.write(f"{what:20} {seconds * 1e6:12,.1f} µs\n")


if __name__ == "__main__":
    main()
