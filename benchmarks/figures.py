"""The workloads of Parrot's figures 11 to 13 and 16 to 18, on several systems of simulated A100s.

    python benchmarks/figures.py                     # measures all, and shows it in the documents
    python benchmarks/figures.py --only 16 18        # prints the tables of some, and keeps nothing
    python benchmarks/figures.py --quick             # likewise, small versions of all, in seconds
    python benchmarks/figures.py --plots             # shows again what is in results/figures.json

`figure_parts` has the machine (`machine.py`), the applications (`programs.py`), who comes when
(`cases.py`) and what the systems are (`systems.py`). All of them run the same plans through the
router and the scheduler that serve, on virtual time, so results are exact and do not depend on the
machine that computes them; that all systems give the same answers is checked. What goes on at the
same time are cases, each in a process of its own. Plots need the extra `bench`.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from math import inf

from document import ROOT, show
from figure_parts import cases
from figure_parts.measuring import Outcome, measured, swept
from figure_parts.record import Record
from figure_parts.systems import SYSTEMS, System
from figure_parts.tables import TITLES, blocks

FOUR = ("fifo", "cache", "parrot", "ours")
TUNED = ("fifo", "fifo-latency", "cache", "cache-latency", "parrot", "ours")
# 16: what is due to attention alone; 17, 18: Parrot's authors tuned the baseline in two ways
SYSTEMS_OF = {"16": ("fifo", "cache", "cache-once", "parrot", "ours"), "17": TUNED, "18": TUNED}
RATES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # applications a second
PICTURES = ROOT / "docs" / "figures"


@dataclass(frozen=True)
class Job:
    """What a process does at a time. `size` is about how long that takes."""

    name: str
    size: float
    run: Callable[[], list[Outcome]]


def jobs(quick: bool, only: Sequence[str]) -> Iterator[Job]:
    """In the order of the figures: each case on each system, and the sweeps of figure 16."""
    for case in cases.cases(quick):
        size = sum(len(str(each.args)) + each.tokens for each in case.arrivals)
        for system in _systems(case.figure) if case.figure in only else ():
            name = f"{case.figure}: {case.setting}, {system.name}"
            yield Job(name, size, partial(measured, case, system))
    rates, seconds = ((4.0,), 5.0) if quick else (RATES, 30.0)
    for system in _systems("16") if "16" in only else ():
        yield Job(f"16: {system.name}", inf, partial(swept, rates, seconds, system))


def _systems(figure: str) -> list[System]:
    return [SYSTEMS[key] for key in SYSTEMS_OF.get(figure, FOUR)]


def measure_all(quick: bool, only: Sequence[str], processes: int = 1) -> Record:
    """Raises `RuntimeError` if systems answer differently."""
    wanted = list(jobs(quick, only))
    record = Record()
    if processes == 1:
        for job in wanted:
            record.add(job.run())
        return record
    with ProcessPoolExecutor(processes) as pool:
        by_size = sorted(wanted, key=lambda job: -job.size)  # or a long one would be left alone
        running = {pool.submit(job.run): job.name for job in by_size}
        try:
            _tell(running)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    found = {name: future.result() for future, name in running.items()}
    for job in wanted:
        record.add(found[job.name])
    return record


def _tell(running: Mapping[Future[list[Outcome]], str]) -> None:
    """Say what is done, until all is. Raises what a process raised."""
    begun = time.monotonic()
    for done, future in enumerate(as_completed(running), 1):
        future.result()
        so_far = f"{time.monotonic() - begun:4.0f} s  {done:3}/{len(running)}"
        print(f"{so_far}  {running[future]}", file=sys.stderr, flush=True)


def draw(record: Record) -> None:
    """Write the plots. Raises `ImportError` without the extra `bench`."""
    from figure_parts.plots import plots  # matplotlib, which nothing else needs

    PICTURES.mkdir(exist_ok=True)
    for name, text in plots(record).items():
        (PICTURES / name).write_text(text, "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plots", action="store_true", help="show what is stored, measure nothing")
    parser.add_argument("--quick", action="store_true", help="small versions, nothing is saved")
    parser.add_argument("--only", nargs="+", choices=TITLES, help="these, and nothing is saved")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    if not args.plots:
        record = measure_all(args.quick, args.only or list(TITLES), args.processes)
        print("\n\n".join(blocks(record).values()))
        if args.quick or args.only:
            return 0
        record.save()
    draw(Record.load())
    show()
    return 0


if __name__ == "__main__":
    sys.exit(main())
