"""`import parrotc` is cheap: names are imported when they are used."""

import subprocess
import sys
from statistics import median

import pytest

HEAVY = (
    "torch",
    "lark",
    "pydantic",
    "rich",
    "click",
    "tokenizers",
    "jinja2",
    "networkx",
    "asyncio",
)


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_importing_loads_nothing_heavy() -> None:
    """R7."""
    loaded = set(python("import parrotc, sys; print(*sys.modules)").split())
    assert "parrotc" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_importing_is_quick() -> None:
    code = "import time; t = time.perf_counter(); import parrotc; print(time.perf_counter() - t)"
    assert median(float(python(code)) for _ in range(5)) < 0.15


def test_compiling_and_running_on_the_reference_engine_needs_no_torch() -> None:
    code = """
import sys, parrotc
program = parrotc.compile('pfunc f(x: str) -> str:\\n    "{{x}} {{gen}}"\\n\\n'
                          'flow main(x: str) -> str:\\n    return f(x)\\n', engine="reference")
print(type(program.main("hello")).__name__)
program.close()
print("torch" in sys.modules)
"""
    assert python(code).split() == ["str", "False"]


def test_the_public_names() -> None:
    import parrotc

    assert set(parrotc.__all__) <= set(dir(parrotc))
    for name in parrotc.__all__:
        assert getattr(parrotc, name) is not None
    with pytest.raises(AttributeError, match="no attribute `nothing`"):
        parrotc.nothing  # noqa: B018
