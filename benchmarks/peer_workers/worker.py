"""What every peer's worker does: read workloads, run each, print the seconds.

    python NAME_worker.py MODEL WORKLOADS.json

The peers live in environments of their own, so this file needs nothing but Python.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

Run = Callable[[list[str], int], int]  # prompts, tokens to add to each → tokens that were added


def work(run: Run) -> None:
    """Run every workload once, after a short one that warms up; print one JSON list."""
    run(["A short text to warm up with."] * 4, 8)
    found = []
    for workload in json.loads(Path(sys.argv[2]).read_text("utf-8")):
        prompts = ["".join(segments) for segments in workload["prompts"]]
        start = time.perf_counter()
        tokens = run(prompts, workload["new_tokens"])
        found.append(
            {"name": workload["name"], "seconds": time.perf_counter() - start, "tokens": tokens}
        )
    print("RESULT " + json.dumps(found), flush=True)
