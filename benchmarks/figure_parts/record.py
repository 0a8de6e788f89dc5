"""What all figures measured, as it is kept in `results/figures.json`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from figure_parts import machine
from figure_parts.measuring import SUSTAINED, Measure, Outcome, Times
from figure_parts.systems import ROUND_TRIP

STORED = Path(__file__).parents[1] / "results" / "figures.json"
_CONSTANTS = ("BANDWIDTH", "FLOPS", "MEMORY", "OVERHEAD", "ROWS", "CHUNK", "PLANNED")


@dataclass
class Record:
    """Measures, those of a figure one after another; `answers` are digests of what was said."""

    measures: list[Measure] = field(default_factory=list)
    answers: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Raises `RuntimeError` if a system does not answer a case as others did."""
        for measure, answers in outcomes:
            if self.answers.setdefault((measure.figure, measure.setting), answers) != answers:
                raise RuntimeError(f"{measure.system} answers otherwise: {measure.setting}")
            self.measures.append(measure)

    def of(self, figure: str) -> list[Measure]:
        return [measure for measure in self.measures if measure.figure == figure]

    def sustained(self, system: str) -> float:
        """The highest rate of figure 16, in applications a second, that the system sustained."""
        return max(
            (
                measure.numbers[0]
                for measure in self.of("16")
                if measure.system == system and measure.of("GPT").per_token <= SUSTAINED
            ),
            default=0.0,
        )

    def save(self, path: Path = STORED) -> None:
        path.write_text(json.dumps(self._json(), indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path = STORED) -> "Record":
        stored = json.loads(path.read_text("utf-8"))
        return cls(list(map(_measure, stored["measures"])))

    def _json(self) -> dict[str, Any]:
        """With the machine of which it is true."""
        models = {model.name: asdict(model) for model in (machine.LLAMA_7B, machine.LLAMA_13B)}
        return {
            "machine": {name.lower(): getattr(machine, name) for name in _CONSTANTS},
            "models": models,
            "round_trip": ROUND_TRIP,
            "sustained_below": SUSTAINED,
            "measures": [asdict(measure) for measure in self.measures],
        }


def _measure(stored: Mapping[str, Any]) -> Measure:
    times = tuple(Times(**each) for each in stored["times"])
    return Measure(**{**stored, "times": times})


def systems(measures: Sequence[Measure]) -> list[str]:
    """The names of the systems, in the order in which they were measured."""
    return list(dict.fromkeys(measure.system for measure in measures))


def kinds(measures: Sequence[Measure]) -> list[str]:
    """Of applications."""
    return list(dict.fromkeys(times.kind for measure in measures for times in measure.times))


def pairs(
    measures: Sequence[Measure], one: str, other: str, kind: str
) -> Iterator[tuple[Measure, Measure]]:
    """The measures of two systems, where both were measured in the same setting."""
    found = {m.setting: m for m in measures if m.system == other and m.has(kind)}
    for measure in measures:
        if measure.system == one and measure.setting in found and measure.has(kind):
            yield measure, found[measure.setting]
