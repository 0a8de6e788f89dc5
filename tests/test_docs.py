"""What README and docs say can be done, done: every program compiles, every command runs."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import parrotc

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "docs" / "cli.md", ROOT / "examples" / "README.md"]
SERVING = r"COMMAND|^parrotc launch"  # goes on until it is told to end: tests/core has its test
TRY = re.compile(r"`(parrotc run examples/[^`]*)`")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


def shell_lines(page: Path) -> list[str]:
    lines = "".join(blocks(page, "sh")).splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.startswith("parrotc ")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the README's program and the files that its commands name."""
    (program,) = blocks(ROOT / "README.md", "pfn")
    for name in ("app.pfn", "other.pfn"):
        (tmp_path / name).write_text(program)
    shutil.copy(ROOT / "examples" / "data" / "kennedy_1962.txt", tmp_path / "report.txt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARROTC_ENGINE", "reference")
    return tmp_path


def test_the_program_of_the_readme_is_the_example() -> None:
    (program,) = blocks(ROOT / "README.md", "pfn")
    example = (ROOT / "examples" / "map_reduce.pfn").read_text()
    for declaration in program.strip().split("\n\n")[2:]:
        body = declaration.removeprefix("@latency\n")
        assert body.rstrip() in example


@pytest.mark.parametrize(
    "line",
    [line for page in PAGES[:2] for line in shell_lines(page) if not re.search(SERVING, line)],
)
def test_a_command(folder: Path, line: str) -> None:
    _, *args = shlex.split(line)
    done = parrotc(*args)
    assert done.code == 0, done.err


def test_the_python_of_the_readme() -> None:
    (script,) = blocks(ROOT / "README.md", "python")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PARROTC_ENGINE": "reference"},
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


@pytest.mark.parametrize("line", TRY.findall(PAGES[2].read_text("utf-8")))
def test_an_example(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    _, *args = shlex.split(line)
    done = parrotc(*args, "--engine", "reference", "--max-new-tokens", "24")
    assert done.code == 0 and done.out.strip(), done.err


@pytest.mark.model
@pytest.mark.parametrize("line", TRY.findall(PAGES[2].read_text("utf-8")))
def test_an_example_on_the_embedded_model(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short texts of a short document. So small a model may not finish a record in its limit."""
    monkeypatch.chdir(ROOT)
    speech = Path("examples/data/kennedy_1962.txt")
    (tmp_path / "speech.txt").write_text(speech.read_text()[:6000])
    line = line.removesuffix(" --engine reference").replace(str(speech), f"{tmp_path}/speech.txt")
    _, *args = shlex.split(line)
    done = parrotc(*args, "--engine", "embedded", "--max-new-tokens", "24")
    assert done.code == 0 or "error[E0605]" in done.err, done.err


def test_every_example_is_listed() -> None:
    page = PAGES[2].read_text("utf-8")
    assert all(path.name in page for path in (ROOT / "examples").glob("*.pfn"))


def test_the_tour() -> None:
    done = subprocess.run(
        [sys.executable, "examples/tour.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [line[4] for line in done.stdout.splitlines() if line.startswith("--- ")] == list(
        "1234567"
    )


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs" / "README.md"], ids=lambda p: str(p)[-20:])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target
