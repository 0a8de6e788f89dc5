"""What a core costs: calls a second through it, and the time of each that no engine spends.

    python benchmarks/serve.py
    python benchmarks/serve.py --http --calls 5000 --engines 1
    python benchmarks/serve.py --journal --calls 5000 --engines 1

Engines answer in one turn of the loop, so that what is measured is what stands before them.
*In process*: through a `Router` alone, its scheduler included. *HTTP*: a whole core in a process of
its own, the client on the same machine; *journal*: the same with one. `serve_parts` says what the
calls are. The must is 1,500 calls/s in process, over HTTP 300 semantic calls/s and 1,000 calls/s of
plans. One part replaces only its own numbers in the file, with the load of the machine before and
after.
"""

import argparse
import json
import os
import platform
from functools import partial
from pathlib import Path
from typing import Any

from serve_parts.in_process import in_process
from serve_parts.over_http import over_http

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--in-process", action="store_true", help="only through a router")
    parser.add_argument("--http", action="store_true", help="only over HTTP")
    parser.add_argument("--journal", action="store_true", help="only over HTTP with a journal")
    parser.add_argument("--engines", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=RESULTS / "serve.json")
    args = parser.parse_args()
    record: dict[str, Any] = json.loads(args.out.read_text("utf-8")) if args.out.exists() else {}
    only = {"in_process": args.in_process, "http": args.http, "journal": args.journal}
    journaled = partial(over_http, journaled=True)
    for name, measure in (("in_process", in_process), ("http", over_http), ("journal", journaled)):
        if only[name] or not any(only.values()):
            load = [os.getloadavg()[0]]
            found = measure(args.engines, args.calls)
            load.append(os.getloadavg()[0])
            python = platform.python_version()
            record[name] = {"python": python, "load": load, "measures": found}
    args.out.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
