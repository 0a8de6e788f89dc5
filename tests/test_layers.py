"""The layers, as a table: which room may import which, and where the heavy libraries stay.

    parrotc/ → everything · passes/ → ir · runtime/ → kernels and the leaves of ir · ir/ → lark

A leaf of `ir` imports only leaves, so the runtime knows plans and nothing of the IR. Of the kernels
`parrotc` knows how they are compiled, which needs no torch.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("ir", "passes", "kernels", "runtime", "stdlib")
LEAVES = {
    f"ir.{name}"
    for name in (
        "diagnostic", "hashregex", "hashvalue", "scalar", "scalar_checks", "scalar_data",
        "scalar_text", "schema", "source", "tokenhash", "types",
    )
}  # fmt: skip

ALLOWED: dict[str, set[str]] = {
    "ir": {"ir", "lark"},
    "passes": {"passes", "ir", "networkx"},
    "kernels": {"kernels", "torch", "triton"},
    "runtime": {"runtime", "kernels", *LEAVES, "pydantic", "tokenizers", "jinja2"},
    "runtime/engines": {
        "runtime", "kernels", *LEAVES,
        "torch", "numpy", "gguf", "safetensors", "llguidance", "transformers",
        "aiohttp", "pydantic", "pydantic_core",
    },
    "runtime/engines/openai": {"runtime", *LEAVES, "openai"},
    "runtime/server": {
        "runtime", *LEAVES, "aiohttp", "pydantic", "pydantic_core", "prometheus_client",
    },
    "stdlib": {"parrotc.Scored", "parrotc.python.decorators", "parrotc.python.standard"},
    "parrotc": {
        "parrotc", "ir", "passes", "runtime", "stdlib", "kernels.compiled",
        "lark", "networkx", "pydantic", "click", "rich", "graphviz",
    },
}  # fmt: skip
OPTIONAL = {  # imported where they are used, if they are there
    "parrotc/compat/parrot/core.py": {"aiohttp"},
    "parrotc/machine.py": {"aiohttp"},
    "runtime/models.py": {"huggingface_hub"},
    "parrotc/testing/plugin.py": {"pytest"},
}


def files() -> Iterator[tuple[str, Path]]:
    """Every module with the row of the table that it is in: the longest that fits."""
    for path in sorted(ROOT.glob("*/**/*.py")):
        name = path.relative_to(ROOT).as_posix()
        inside = name.removeprefix("parrotc/").split("/")[0] if name.startswith("parrotc/") else ""
        rows = [row for row in ALLOWED if name.startswith(f"{row}/")]
        if rows and inside not in ROOMS:
            yield max(rows, key=len), path


def imported(path: Path) -> Iterator[str]:
    """What a file imports, anywhere in it: rooms by the name of the room."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (_room(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            if node.module == "parrotc" or node.module == "parrotc.ir":
                yield from (_room(f"{node.module}.{alias.name}") for alias in node.names)
            else:
                yield _room(node.module)


def _room(module: str) -> str:
    own = module.removeprefix("parrotc.")
    return own if own.split(".")[0] in ROOMS and own != module else module


def is_allowed(module: str, allowed: set[str]) -> bool:
    parts = module.split(".")
    if parts[0] in sys.stdlib_module_names:
        return True
    return any(".".join(parts[:n]) in allowed for n in range(1, len(parts) + 1))


FILES = list(files())


@pytest.mark.parametrize(
    ("row", "path"), FILES, ids=[path.relative_to(ROOT).as_posix() for _, path in FILES]
)
def test_imports_follow_the_table(row: str, path: Path) -> None:
    allowed = ALLOWED[row] | OPTIONAL.get(path.relative_to(ROOT).as_posix(), set())
    forbidden = [name for name in imported(path) if not is_allowed(name, allowed)]
    assert forbidden == []


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_leaves_import_leaves(leaf: str) -> None:
    path = ROOT / f"{leaf.replace('.', '/')}.py"
    assert [name for name in imported(path) if not is_allowed(name, LEAVES)] == []


@pytest.mark.parametrize(
    "file",
    [
        "runtime/native_worker.py",  # it is started as a file, and user code runs beside it
        "kernels/compiled.py",
    ],
)
def test_what_needs_the_standard_library_alone(file: str) -> None:
    path = ROOT / file
    assert [name for name in imported(path) if not is_allowed(name, set())] == []


def test_the_table_can_refuse(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("def f():\n    from parrotc.ir.ops import Op\n    import torch.nn\n")
    refused = [name for name in imported(path) if not is_allowed(name, ALLOWED["runtime"])]
    assert refused == ["ir.ops", "torch.nn"]
    assert {row for row, _ in FILES} == set(ALLOWED)
