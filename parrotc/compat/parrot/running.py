"""`parrotc run --parrot prog.py`: a program as it is, where `import parrot` finds this package."""

import os
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

ALIAS = "parrot"


@dataclass(frozen=True)
class Given:
    """What the command line says of every virtual machine that the program makes. With `is_local`
    they run in this process, whatever address the program names."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    is_local: bool = False


_NOTHING = Given()
_GIVEN: ContextVar[Given] = ContextVar("given", default=_NOTHING)


def given_settings() -> Given:
    return _GIVEN.get()


def run_program(path: str, args: Sequence[str] = (), given: Given = _NOTHING) -> None:
    """Run a file as a script. What it raises is raised."""
    token = _GIVEN.set(given)
    before = sys.argv, sys.path
    sys.argv, sys.path = [path, *args], [os.path.dirname(os.path.abspath(path)), *sys.path]
    try:
        with aliased():
            runpy.run_path(path, run_name="__main__")
    finally:
        sys.argv, sys.path = before
        _GIVEN.reset(token)


@contextmanager
def aliased() -> Iterator[None]:
    """`import parrot` is this package, as long as this is open; nothing else is hidden."""
    held = {name: module for name, module in sys.modules.items() if _is_alias(name)}
    for name in held:
        del sys.modules[name]
    sys.modules[ALIAS] = _package()
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_alias(name)]:
            del sys.modules[name]
        sys.modules.update(held)


def _package() -> ModuleType:
    import parrotc.compat.parrot as package

    return package


def _is_alias(name: str) -> bool:
    return name == ALIAS or name.startswith(f"{ALIAS}.")
