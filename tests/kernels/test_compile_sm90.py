"""Every Triton kernel compiles for Hopper, without a GPU, and spills nothing."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton", reason="triton is not installed")

from parrotc.kernels import triton_attention, triton_ops


@pytest.fixture(scope="module")
def usages() -> list[dict[str, object]]:
    """In a process of its own: the interpreter, once chosen, replaces the compiler."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "parrotc.kernels.ahead", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    for usage in found:
        print(*usage.values(), sep="\t")
    return found


def test_nothing_spills(usages: list[dict[str, object]]) -> None:
    for usage in usages:
        assert 0 < int(str(usage["registers"])) <= 255
        assert usage["stack"] == 0, usage


def test_shared_memory_fits_two_programs_on_a_multiprocessor(
    usages: list[dict[str, object]],
) -> None:
    assert max(int(str(usage["shared"])) for usage in usages) <= 227 * 1024 // 2


def test_every_kernel_is_compiled(usages: list[dict[str, object]]) -> None:
    """The launched ones: a jitted function that only others call is compiled inside them."""
    compiled = {str(usage["kernel"]).split()[0] for usage in usages}
    jitted = {
        name
        for module in (triton_attention, triton_ops)
        for name, value in vars(module).items()
        if type(value).__name__ in ("JITFunction", "InterpretedFunction")
    }
    assert compiled == jitted - {"_tile"}
