"""Finding tests: the `.pfn` files under some paths, and those that they import."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from parrotc.check.loader import is_standard
from parrotc.check.program import Program
from parrotc.ir.diagnostic import CompileError, Diagnostic
from parrotc.ir.source import Source

SUFFIX = ".pfn"


def files(paths: Iterable[str]) -> list[str]:
    """The programs at these paths, each once: a file as it is named, of a folder all that are in
    it, hidden folders left out. Raises `CompileError` for a path that is neither."""
    found: dict[str, None] = {}
    for path in paths:
        found.update(dict.fromkeys(_below(Path(path)) if Path(path).is_dir() else [_file(path)]))
    return list(found)


def _below(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not is_hidden:
            yield str(path)


def _file(path: str) -> str:
    if not Path(path).is_file():
        raise CompileError([Diagnostic("E0100", f"there is no file or folder {path}")])
    if not path.endswith(SUFFIX):
        message = f"{path} is no {SUFFIX} file: tests stand in those"
        help_ = "test Python programs with pytest, and the fixture `mock_engine`"
        raise CompileError([Diagnostic("E0100", message, help=help_)])
    return path


def has_tests(source: Source) -> bool:
    """Whether a file may have tests. A file that has none is not compiled."""
    return any(line.startswith("test") for line in source.text.splitlines())


def imported(program: Program) -> list[str]:
    """The files that a program imports, without those of the standard library."""
    sources = (tree.source for tree in program.trees if tree is not program.root)
    return [s.name for s in sources if not is_standard(s) and s.name.endswith(SUFFIX)]
