"""Half a minute of what `benchmarks/soak.py` does for half an hour."""

import sys
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from parrotc.runtime.engines.http.remote import open_remote
from parrotc.runtime.engines.protocol import FillRequest, new_context

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LATE = 0.25  # seconds that the loop may be later than the machine is


@pytest.fixture
def soaking(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return run_path(str(BENCHMARKS / "soak.py"))


@pytest.fixture
def parts(soaking: dict[str, Any]) -> dict[str, Any]:
    names = ("soaking", "report", "flaky", "chaos")
    return {name: sys.modules[f"soak_parts.{name}"] for name in names}


@pytest.mark.oracle
async def test_nothing_is_lost_hung_wrong_or_left(
    soaking: dict[str, Any], parts: dict[str, Any]
) -> None:
    report = await soaking["soak"](
        30, engines=2, processes=2, clients=16, every=1.5, stops=3, seed=4
    )
    assert soaking["problems"](report) == []
    assert min(report.asked.values()) > 20
    for kind in (parts["flaky"].Fault, parts["chaos"].Blow):
        assert sum(report.faults[fault] for fault in kind) >= 2
    assert report.retries > 0, "nobody met a fault"
    assert report.late["loop longest"] < report.late["machine longest"] + LATE


async def test_what_goes_wrong_is_found(soaking: dict[str, Any], parts: dict[str, Any]) -> None:
    report, mark = parts["report"].Report, parts["report"].Mark
    bad = report(
        lost=["a"], hung=["b"], wrong=["c"], left=["d"],
        marks=[mark(n, 0, 1000 + 10 * n, 500 + 20 * n) for n in range(12)],
    )  # fmt: skip
    assert [line.split(":")[0] for line in soaking["problems"](bad)] == [
        "lost", "hung", "wrong", "left", "memory grew", "memory grew",
    ]  # fmt: skip
    once = [mark(n, 0, 1000 + 500 * (n == 9), 500 + 10 * min(n, 3)) for n in range(12)]
    assert soaking["problems"](report(marks=once)) == [], "a cache that fills, a single moment"
    assert "12,345" in soaking["table"](report(asked={"chat": 12_345}, marks=once))


async def test_a_wrong_word_is_seen(
    soaking: dict[str, Any], parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that are right, but for others."""
    soaking_ = parts["soaking"]
    right = soaking_.quiet_answers

    async def others() -> Any:
        return {(kind, n): said and [*said, "x"] for (kind, n), said in (await right()).items()}

    monkeypatch.setattr(soaking_, "VARIANTS", 4)
    monkeypatch.setattr(soaking_, "quiet_answers", others)
    report = await soaking["soak"](1, engines=1, processes=0, clients=4, every=60, stops=1)
    assert report.wrong and not report.lost


async def test_a_context_that_nobody_knows_of_is_seen(
    parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an engine in this process, and on one in another."""
    soaking = parts["soaking"]
    monkeypatch.setattr(soaking, "SETTLES", 0.1)
    async with soaking.running(1, 1) as one:
        report = parts["report"].Report()
        await soaking._settled(one, report)
        assert report.left == []
        outside = open_remote(one.processes[0]._url)
        for engine in (one.engines["e0"], outside):
            await engine.fill([FillRequest(new_context(), None, (1,))])
        await soaking._settled(one, report)
        assert [line.split(",")[0] for line in report.left] == [
            "e0 holds 1 contexts", "p0 holds 1 contexts",
        ]  # fmt: skip
        await outside.close()
