"""Every Triton kernel compiled for a GPU that need not be there, and what it takes of one.

    $ python -m parrotc.kernels.ahead
    kernel                       registers  stack  shared
    _partials bf16 d=128               243      0   82176

Spilled registers lie on the stack: 0 means that nothing spills. Not to be run with
TRITON_INTERPRET set, which replaces the compiler.
"""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from parrotc.kernels import triton_attention, triton_ops
from parrotc.kernels.schedule import Tiles

HOPPER = 90


@dataclass(frozen=True, slots=True)
class Usage:
    """What one kernel takes: registers of a thread, bytes of stack, bytes of shared memory."""

    kernel: str
    registers: int
    stack: int
    shared: int


@dataclass(frozen=True, slots=True)
class _Build:
    """A kernel with the types of its arguments (`*bf16`, `i32`, …) and its constants."""

    name: str
    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any]
    warps: int = 4
    stages: int = 3


def usages(compute: int = HOPPER) -> list[Usage]:
    """Compile all kernels for compute capability `compute` (90: H100, H200)."""
    return [_compile(build, compute) for build in _builds()]


def _builds() -> list[_Build]:
    builds = []
    for dtype, heads, kv_heads, dim in (("bf16", 32, 8, 128), ("fp16", 9, 3, 64)):
        builds += _attention(dtype, heads, kv_heads, dim) + _small(dtype, dim)
    logits = {"logits_ptr": "*fp32", "temperatures_ptr": "*fp32", "uniforms_ptr": "*fp32"}
    sample = triton_ops._sample
    constants = {"VOCAB": 49152, "WIDTH": 4096}
    return [*builds, _Build("_sample", sample, {**logits, "out_ptr": "*i64"}, constants)]


def _attention(dtype: str, heads: int, kv_heads: int, dim: int) -> list[_Build]:
    tiles, shape = Tiles(), {"HEADS": heads, "DIM": dim, "PADDED": dim}
    pools = {name: f"*{dtype}" for name in ("q_ptr", "k_ptr", "v_ptr")}
    results = {"partial_ptr": "*fp32", "lse2_ptr": "*fp32"}
    partials = _Build(
        f"_partials {dtype} d={dim}",
        triton_attention._partials,
        {**pools, **results, "q_stride": "i32", "scale": "fp32"},
        {
            **shape, "KV_HEADS": kv_heads, "BLOCK": 16, "WIDE": tiles.wide,
            "NARROW": tiles.narrow, "KEYS": tiles.keys, "PRECISION": "tf32",
        },
        tiles.warps,
        tiles.stages,
    )  # fmt: skip
    merge_types = {**results, "out_ptr": f"*{dtype}"}
    merge = _Build(f"_merge {dtype} d={dim}", triton_attention._merge, merge_types, shape, warps=1)
    return [partials, merge]


def _small(dtype: str, dim: int) -> list[_Build]:
    pointer, width = f"*{dtype}", 8 * dim
    norm = {"x_ptr": pointer, "weight_ptr": pointer, "out_ptr": pointer, "epsilon": "fp32"}
    turn = {"x_ptr": pointer, "cos_ptr": pointer, "sin_ptr": pointer, "stride": "i32"}
    write = dict.fromkeys(("key_pool", "value_pool", "keys", "values"), pointer)
    write |= {"slots": "*i64", "key_stride": "i32", "value_stride": "i32"}
    padded = {"WIDTH": width, "PADDED": width}
    halves = {"DIM": dim, "HALF": dim // 2, "PADDED": dim // 2}
    return [
        _Build(f"_rms_norm {dtype}", triton_ops._rms_norm, norm, padded),
        _Build(f"_rotate {dtype}", triton_ops._rotate, turn, halves),
        _Build(f"_write_kv {dtype}", triton_ops._write_kv, write, padded),
    ]


def _compile(build: _Build, compute: int) -> Usage:
    names = build.kernel.arg_names
    # what is neither named nor a constant is a pointer to the int32 tensors of a schedule
    signature = {
        name: "constexpr" if name in build.constants else build.types.get(name, "*i32")
        for name in names
    }
    aligned = {
        (names.index(name),): [["tt.divisibility", 16]]
        for name, kind in signature.items()
        if kind.startswith("*")
    }
    source = ASTSource(build.kernel, signature, constexprs=build.constants, attrs=aligned)
    compiled = triton.compile(
        source,
        target=GPUTarget("cuda", compute, 32),
        options={"num_warps": build.warps, "num_stages": build.stages},
    )
    registers, stack = _resources(compiled.asm["cubin"])
    return Usage(build.name, registers, stack, compiled.metadata.shared)


def _resources(cubin: bytes) -> tuple[int, int]:
    """Registers and stack bytes, as the cuobjdump that comes with Triton reads them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(path)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    if found is None:
        raise RuntimeError(f"no resource usage in {text!r}")
    return int(found[1]), int(found[2])


def main() -> int:
    """Print the table, or with `--json` one list."""
    rows = usages()
    if "--json" in sys.argv[1:]:
        print(json.dumps([asdict(row) for row in rows]))
        return 0
    print(f"{'kernel':28}{'registers':>10}{'stack':>7}{'shared':>8}")
    for row in rows:
        print(f"{row.kernel:28}{row.registers:>10}{row.stack:>7}{row.shared:>8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
