"""A core under everything at once: mixed sessions while engines are killed, hang and come back.

    python benchmarks/soak.py --minutes 30

Some engines are processes of `parrotc engine` that register with the core; they are killed, or
stopped for a while, and started again. Others are in the core's process and fail, lie, break off or
forget. Clients run plans, semantic calls and OpenAI's chat and completions, plainly and as streams,
slowly too; some cancel or go away. Every answer is compared with that of an engine that was always
well: the reference engine's next token is a hash of all tokens before it, so a token that is lost,
doubled or computed after the wrong prompt shows. At every mark, a minute each, nothing is asked for
a moment: then every engine must hold what the core knows of, and no more.

Must: nothing lost, nothing hung, nothing wrong, nothing left, and memory flat (see `grown`).
"""

import argparse
import asyncio
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from soak_parts.report import problems, table
from soak_parts.soaking import soak

RESULTS = Path(__file__).parent / "results"
LEAST = 4  # marks


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--engines", type=int, default=2, help="in the core's process")
    parser.add_argument("--processes", type=int, default=3, help="engines in processes")
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--every", type=float, default=15, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "soak.json")
    args = parser.parse_args()
    logging.getLogger("parrotc").setLevel(logging.CRITICAL)
    settings = {name: given for name, given in vars(args).items() if name not in ("minutes", "out")}
    stops = max(LEAST, round(args.minutes))
    report = asyncio.run(soak(60 * args.minutes, stops=stops, tell=_tell, **settings))
    record = {"minutes": args.minutes, **settings, **asdict(report)}
    args.out.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    print(table(report))
    if found := problems(report):
        sys.exit("\n".join(found))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
