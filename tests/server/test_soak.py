"""Half a minute of what `benchmarks/soak.py` does for half an hour."""

import sys
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LATE = 0.25  # seconds


@pytest.fixture
def soaking(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return run_path(str(BENCHMARKS / "soak.py"))


@pytest.mark.oracle
async def test_nothing_is_lost_hung_wrong_or_left(soaking: dict[str, Any]) -> None:
    report = await soaking["soak"](30, engines=4, clients=16, every=1.5, stops=4, seed=4)
    assert soaking["problems"](report) == []
    assert min(report.asked.values()) > 20 and sum(report.faults.values()) >= 4
    assert report.retries > 0, "nobody met a fault"
    assert report.late < LATE


async def test_what_goes_wrong_is_found(soaking: dict[str, Any]) -> None:
    report = soaking["Report"](
        lost=["a"], hung=["b"], wrong=["c"], left=["d"], blocks=[100, 100, 100, 110]
    )
    found = soaking["problems"](report)
    assert [line.split(":")[0] for line in found] == [
        "lost", "hung", "wrong", "left", "memory grew",
    ]  # fmt: skip
    assert soaking["problems"](soaking["Report"](blocks=[50, 100, 100, 101])) == []


async def test_a_wrong_word_is_seen(
    soaking: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that are right, but for others."""
    parts = sys.modules["soak_parts.soaking"]
    right = parts.quiet_answers

    async def others() -> Any:
        return {(kind, n): said and [*said, "x"] for (kind, n), said in (await right()).items()}

    monkeypatch.setattr(parts, "VARIANTS", 4)
    monkeypatch.setattr(parts, "quiet_answers", others)
    report = await soaking["soak"](1, engines=1, clients=4, every=60, stops=1)
    assert report.wrong and not report.lost
