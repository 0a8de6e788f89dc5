"""Files of a program: where an import leads, and the standard library.

`import a.b` is the file `a/b.pfn` or `a/b.py` beside the importing file, or else `parrotc`'s own
(`std.text` is `stdlib/text.pfn`). `from .a import x` never leads to the standard library; each
further dot goes one folder up.
"""

import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from parrotc.ir.source import Source

Loader = Callable[[str, int, Source], Source | None]

SUFFIXES = (".pfn", ".py")

_STANDARD = "<std>"  # the folder that sources of the standard library name; there is none on disk


def file_loader() -> Loader:
    """A loader that reads files, each at most once.

    It gives None where there is no such module, and raises `OSError` or `UnicodeDecodeError` for
    a file that cannot be read.
    """
    cache: dict[str, Source] = {}

    def load(module: str, level: int, importer: Source) -> Source | None:
        beside = _beside(module, level, importer)
        path = next((path for path in beside if path.is_file()), None)
        if path is not None:
            name = str(path)
            if name not in cache:
                cache[name] = Source(name, read_text(path))
            return cache[name]
        if level == 0 and module.startswith("std."):
            return _standard(module, cache)
        return None

    return load


def read_text(path: Path) -> str:
    """A text file as UTF-8, without a byte-order mark, with every line end as LF."""
    return path.read_text("utf-8-sig")


def why_unreadable(error: Exception) -> str:
    """What is wrong with a file, in words."""
    match error:
        case FileNotFoundError():
            return "there is no such file"
        case UnicodeDecodeError():
            return f"it is not UTF-8 text (byte {error.start})"
        case OSError():
            return (error.strerror or str(error)).lower()
    return "this is no file name"


def modules_near(importer: Source) -> set[str]:
    """Modules that an import could have meant: the standard library's, and files beside it."""
    found = {f"std.{name}" for name in _standard_names()}
    folder = Path(importer.name).parent
    if not is_standard(importer) and folder.is_dir():
        found |= {path.stem for path in folder.iterdir() if path.suffix in SUFFIXES}
    return found


def is_beside(module: str, importer: Source) -> bool:
    """Whether an absolute import leads to a file beside the importing one."""
    return any(path.is_file() for path in _beside(module, 0, importer))


def _beside(module: str, level: int, importer: Source) -> list[Path]:
    """The files that a module may be, the first that is there being the one."""
    if is_standard(importer):
        return []
    folder = Path(importer.name).parent.joinpath(*[".."] * max(0, level - 1))
    parts = [part for part in module.split(".") if part]
    if not parts:
        return []
    # normalised, so that one file reached by two ways has one name and is one module
    files = [folder.joinpath(*parts[:-1], f"{parts[-1]}{suffix}") for suffix in SUFFIXES]
    return [Path(os.path.normpath(file)) for file in files]


def is_standard(source: Source) -> bool:
    """Whether a source is part of the standard library."""
    return source.name.startswith(f"{_STANDARD}/")


def standard_source(name: str) -> Source:
    """The source of a module of the standard library. Raises `OSError` if there is none."""
    text = files("parrotc.stdlib").joinpath(f"{name}.pfn").read_text("utf-8")
    return Source(f"{_STANDARD}/{name}.pfn", text)


def _standard(module: str, cache: dict[str, Source]) -> Source | None:
    name = module.removeprefix("std.")
    if name not in _standard_names():
        return None
    if module not in cache:
        cache[module] = standard_source(name)
    return cache[module]


def _standard_names() -> set[str]:
    entries = files("parrotc.stdlib").iterdir()
    return {entry.name.removesuffix(".pfn") for entry in entries if entry.name.endswith(".pfn")}
