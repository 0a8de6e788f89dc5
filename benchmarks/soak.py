"""A core under everything at once: mixed sessions while engines are killed, hang and come back.

    python benchmarks/soak.py --minutes 30

Clients run plans, semantic calls and OpenAI's chat, plainly and as streams, slowly too; some cancel
or go away. Every answer is compared with that of an engine that was always well: the reference
engine's next token is a hash of all tokens before it, so a token that is lost, doubled or computed
after the wrong prompt shows. Must: nothing lost, nothing hung, nothing wrong, nothing left, memory
flat, and a loop that never stands still.
"""

import argparse
import asyncio
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from soak_parts.soaking import Report, soak

GROWS = 1.02  # times as many objects at the last stop as at the first of the second half
STOPS_A_MINUTE = 0.5


def problems(report: Report) -> list[str]:
    """What must not be."""
    found = [f"lost: {one}" for one in report.lost] + [f"hung: {one}" for one in report.hung]
    found += [f"wrong: {one}" for one in report.wrong] + [f"left: {one}" for one in report.left]
    middle, last = report.blocks[len(report.blocks) // 2 - 1], report.blocks[-1]
    if last > GROWS * middle:
        found.append(f"memory grew: {middle:,} objects in the middle, {last:,} at the end")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--engines", type=int, default=4)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--every", type=float, default=30, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    logging.getLogger("parrotc").setLevel(logging.CRITICAL)
    report = asyncio.run(
        soak(
            60 * args.minutes,
            engines=args.engines,
            clients=args.clients,
            every=args.every,
            stops=max(4, round(STOPS_A_MINUTE * args.minutes)),
            seed=args.seed,
        )
    )
    said = json.dumps(asdict(report), indent=2)
    print(said)
    if args.out:
        args.out.write_text(said + "\n", "utf-8")
    if found := problems(report):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
