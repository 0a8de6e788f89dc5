"""Passes are near-linear: ten times the program takes about ten times as long."""

import sys
from pathlib import Path
from runpy import run_path

BENCHMARK = run_path(str(Path(__file__).parents[2] / "benchmarks" / "compile.py"))


def test_a_thousand_calls_compile_in_proportion() -> None:
    """Far from exact on a busy machine; a quadratic pass would take a hundred times as long."""
    measure = BENCHMARK["measure"]
    measure(20)  # imports and caches
    small, large = measure(100)["seconds"], measure(1_000)["seconds"]
    assert large < 40 * small, f"{small:.2f} s for 100 calls, {large:.2f} s for 1,000"


def test_a_deep_chain_does_not_exhaust_the_stack() -> None:
    """Passes recurse over regions, never over chains of ops."""
    unrolled, target, run = (BENCHMARK[name] for name in ("unrolled", "target", "run"))
    limit = sys.getrecursionlimit()
    assert limit < 300 * 10
    run(unrolled(300), target(), BENCHMARK["PIPELINES"]["O1"])
