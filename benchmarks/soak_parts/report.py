"""What a soak has found, what of it must not be, and a table of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

OBJECTS, RESIDENT = 1.02, 1.05  # times as much as before, which is still flat
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Mark:
    """A moment in which nothing was asked: `contexts` on all engines, `objects` that Python holds
    after a collection, bytes of the process that are `resident`."""

    seconds: float
    contexts: int
    objects: int
    resident: int


@dataclass
class Report:
    """What was asked and what went wrong. `late` is how late the loop and the machine were, in
    seconds (see `Lateness`)."""

    asked: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    retries: int = 0
    lost: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # what was still there when all had ended
    late: dict[str, float] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)


def problems(report: Report) -> list[str]:
    """What must not be."""
    found = [
        f"{what}: {one}"
        for what in ("lost", "hung", "wrong", "left")
        for one in getattr(report, what)
    ]
    for what, numbers, limit in (
        ("objects", [mark.objects for mark in report.marks], OBJECTS),
        ("resident bytes", [mark.resident for mark in report.marks], RESIDENT),
    ):
        if (times := grown(numbers)) > limit:
            found.append(f"memory grew: {times:.3f} times as many {what} at the end as before")
    return found


def grown(numbers: Sequence[float]) -> float:
    """How many times as much there is in the end.

    After the first third, in which caches fill: the median of the later half over that of the
    earlier one. So a leak of any constant rate shows, and no single moment decides.
    """
    settled = numbers[len(numbers) // 3 :]
    half = len(settled) // 2
    return median(settled[half:]) / median(settled[:half]) if half else 1.0


def table(report: Report) -> str:
    return "\n".join(f"{name:<24}{value:>14}" for name, value in _rows(report))


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    for kind, count in report.asked.items():
        yield f"asked: {kind}", f"{count:,}"
    yield "asked", f"{sum(report.asked.values()):,}"
    for fault, count in report.faults.items():
        yield f"fault: {fault}", f"{count:,}"
    yield "faults", f"{sum(report.faults.values()):,}"
    yield "calls tried again", f"{report.retries:,}"
    for what in ("lost", "hung", "wrong", "left"):
        yield what, f"{len(getattr(report, what)):,}"
    for when, mark in (("first", report.marks[0]), ("last", report.marks[-1])):
        yield f"{when}: contexts", f"{mark.contexts:,}"
        yield f"{when}: objects", f"{mark.objects:,}"
        yield f"{when}: resident", f"{mark.resident / MEGABYTE:.1f} MB"
    for name, seconds in report.late.items():
        yield f"late: {name}", f"{1000 * seconds:.1f} ms"
