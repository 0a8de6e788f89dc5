"""What can be set, in one place: defaults, then a file, then `PARROTC_<FIELD>`, then flags.

Settings are given, never found: whoever starts something reads them once and passes them on. A
name nobody declared is an error with a suggestion, wherever it comes from.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from parrotc.ir.diagnostic import Diagnostic

PREFIX = "PARROTC_"
FILE = "parrotc.toml"


class SettingsError(Exception):
    """Settings that cannot be used, as diagnostics for people."""

    def __init__(self, message: str, help: str = "") -> None:
        self.diagnostic = Diagnostic("E0660", message, help=help)
        self.diagnostics = (self.diagnostic,)
        super().__init__(self.diagnostic.render())


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One field a knob. An empty text or 0 means: as the program or the machine says."""

    engine: str = ""  # runs every model of a program instead: embedded, reference
    level: str = "O1"  # how much is optimised: O0, O1
    seed: int = 0  # of sampled generations
    width: int = 128  # iterations of a map, and generations of an engine, at the same time
    max_new_tokens: int = 0  # caps every generated text, for a trial run
    max_wait: int = 86_400  # seconds that a caller waits who says no timeout: every getter ends
    native_path: str = ""  # a folder searched for `extern` modules before the program's own
    native_workers: int = 8  # processes for `extern` functions
    model_cache: str = ""  # the folder in which models are kept
    threads: int = 0  # of the embedded engine
    precision: str = ""  # of the embedded engine's numbers: float32, float64, int8
    max_context: int = 0  # tokens of a context of the embedded engine
    record: str = ""  # a file in which what engines answer is kept
    replay: str = ""  # such a file, which answers instead of engines
    color: str = "auto"  # auto, always, never


def load(environ: Mapping[str, str] = os.environ, folder: Path = Path(), **flags: Any) -> Settings:
    """The settings for this process. Flags that are None were not given. Raises `SettingsError`."""
    settings = Settings()
    for name, value, origin in _given(environ, folder, flags):
        settings = replace(settings, **{name: _converted(name, value, origin)})
    if settings.record and settings.replay:
        raise SettingsError("a run records or replays, not both", "leave one of the two out")
    return settings


def _given(
    environ: Mapping[str, str], folder: Path, flags: Mapping[str, Any]
) -> Iterator[tuple[str, Any, str]]:
    """Every setting from every place as (name, value, where), weakest first."""
    file = folder / FILE
    if file.is_file():
        try:
            data = tomllib.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise SettingsError(f"{file} is not TOML: {error}") from None
        yield from ((name, value, str(file)) for name, value in data.items())
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX):
            yield name.removeprefix(PREFIX).lower(), value, f"the environment variable {name}"
    yield from ((n, v, f"--{n.replace('_', '-')}") for n, v in flags.items() if v is not None)


def _converted(name: str, value: Any, origin: str) -> Any:
    known = {spec.name: spec.type for spec in fields(Settings)}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        help = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(known)}"
        raise SettingsError(f"there is no setting `{name}` ({origin})", help)
    if known[name] is not int:
        return str(value)
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise SettingsError(f"`{name}` must be a whole number, not {value!r} ({origin})")
    return number
