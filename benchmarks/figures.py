"""The workloads of Parrot's figures 11 to 13 and 16 to 18, on four systems of simulated A100s.

    python benchmarks/figures.py                     # everything, about eight minutes
    python benchmarks/figures.py --only 16 18
    python benchmarks/figures.py --quick             # small versions of all, in seconds

`figure_parts` has the machine (`machine.py`), the applications (`programs.py`), who comes when
(`cases.py`) and what the systems are (`systems.py`). All of them run the same plans through the
router and the scheduler that serve, on virtual time, so results are exact and do not depend on the
machine that computes them; that all systems give the same answers is checked.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from figure_parts import cases, machine
from figure_parts.measuring import SUSTAINED, Measure, measured
from figure_parts.systems import ROUND_TRIP, SYSTEMS, System

RESULTS = Path(__file__).parent / "results"
FOUR = ("fifo", "cache", "parrot", "ours")
TUNED = ("fifo", "fifo-latency", "cache", "cache-latency", "parrot", "ours")
# 16: what is due to attention alone; 17, 18: Parrot's authors tuned the baseline in two ways
SYSTEMS_OF = {"16": ("fifo", "cache", "cache-once", "parrot", "ours"), "17": TUNED, "18": TUNED}
RATES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # applications a second
TITLES = {
    "11": "Figure 11, a chain of summaries alone",
    "12a": "Figure 12, a chain of summaries beside chats",
    "12b": "Figure 12, many chains of summaries at once",
    "13": "Figure 13, a map-reduce summary alone",
    "16": "Figure 16, four GPTs",
    "17": "Figure 17, agents write a project",
    "18": "Figure 18, chats beside map-reduce jobs",
}


@dataclass
class Record:
    """`sustained`: the highest rate of figure 16 that each system has sustained."""

    measures: list[Measure] = field(default_factory=list)
    sustained: dict[str, float] = field(default_factory=dict)
    answers: dict[tuple[str, str], list[Any]] = field(default_factory=dict)

    def run(self, case: cases.Case, system: System) -> Measure:
        """Measure a case. Raises `RuntimeError` if the system does not answer as others did."""
        measure, answers = measured(case, system)
        if self.answers.setdefault((case.figure, case.setting), answers) != answers:
            raise RuntimeError(f"{measure.system} answers otherwise: {case.setting}")
        self.measures.append(measure)
        return measure

    def sweep(self, system: System, rates: Sequence[float], seconds: float) -> None:
        """Measure rising rates of figure 16, up to the first that `system` does not sustain."""
        for rate in rates:
            measure = self.run(cases.gpts(rate, seconds), system)
            if measure.of("GPT").per_token > SUSTAINED:
                return
            self.sustained[system.name] = rate


def tables(record: Record) -> Iterator[str]:
    """A table in Markdown for each figure."""
    by_figure = groupby(record.measures, key=lambda measure: measure.figure)
    for figure, found in by_figure:
        measures = list(found)
        rows = _rates(measures, record) if figure == "16" else _rows(measures)
        names = list(dict.fromkeys(measure.system for measure in measures))
        head = ["", *names]
        yield "\n".join([f"**{TITLES[figure]}**", "", _row(head), _row(["---"] * len(head)), *rows])


def _rows(measures: Sequence[Measure]) -> Iterator[str]:
    """Mean / median / 99th percentile of each setting and kind, one number for one application."""
    for setting, group in groupby(measures, key=lambda measure: measure.setting):
        found = list(group)
        for times in found[0].times:
            cells = [f"{setting}: {times.kind}" if len(found[0].times) > 1 else setting]
            for measure in found:
                own = measure.of(times.kind)
                spread = f" / {own.p50:.2f} / {own.p99:.2f}" if own.count > 1 else ""
                cells.append(f"{own.mean:.2f}{spread}")
            yield _row(cells)


def _rates(measures: Sequence[Measure], record: Record) -> Iterator[str]:
    """Milliseconds for each token of an answer, by rate; then the rates that were sustained."""
    names = list(dict.fromkeys(measure.system for measure in measures))
    for setting in dict.fromkeys(measure.setting for measure in measures):
        found = {each.system: each.of("GPT") for each in measures if each.setting == setting}
        cells = [f"{1e3 * found[n].per_token:.1f}" if n in found else "" for n in names]
        yield _row([setting, *cells])
    yield _row(["sustained, a second", *(f"{record.sustained.get(n, 0):g}" for n in names)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def measure_all(quick: bool, only: Sequence[str]) -> Record:
    record = Record()
    for case in cases.cases(quick):
        if case.figure in only:
            for key in SYSTEMS_OF.get(case.figure, FOUR):
                record.run(case, SYSTEMS[key])
            print(f"{case.figure}: {case.setting}", file=sys.stderr, flush=True)
    if "16" in only:
        rates, seconds = ((4.0,), 5.0) if quick else (RATES, 30.0)
        for system in map(SYSTEMS.__getitem__, SYSTEMS_OF["16"]):
            record.sweep(system, rates, seconds)
            print(f"16: {system.name}", file=sys.stderr, flush=True)
    return record


def saved(record: Record) -> dict[str, Any]:
    """What goes into the file: what was measured, and of what machine."""
    models = {model.name: asdict(model) for model in (machine.LLAMA_7B, machine.LLAMA_13B)}
    constants = ("BANDWIDTH", "FLOPS", "MEMORY", "OVERHEAD", "ROWS", "CHUNK", "PLANNED")
    return {
        "machine": {name.lower(): getattr(machine, name) for name in constants},
        "models": models,
        "round_trip": ROUND_TRIP,
        "sustained_below": SUSTAINED,
        "sustained": record.sustained,
        "measures": [asdict(measure) for measure in record.measures],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small versions, nothing is saved")
    parser.add_argument("--only", nargs="+", choices=TITLES, default=list(TITLES))
    parser.add_argument("--out", type=Path, default=RESULTS / "figures.json")
    args = parser.parse_args()
    record = measure_all(args.quick, args.only)
    print("\n\n".join(tables(record)))
    if not args.quick:
        args.out.write_text(json.dumps(saved(record), indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
