"""`import parrotc.importer`, and `from app import summarise` finds `app.pfn` as it finds `app.py`.

A `.pfn` file is found where Python looks for modules, behind everything that Python itself finds.
Its flows are attributes that can be called, awaited and streamed, a semantic function is a flow of
one call, and its classes and enums are those of the results. It is compiled when one of these is
first used, for the settings of the process (`parrotc.settings`).
"""

import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

_COMPILING = Lock()


class PfnFinder(MetaPathFinder):
    """Finds `.pfn` files on `sys.path`, or in the folders of a package."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name = fullname.rpartition(".")[2]
        for folder in sys.path if path is None else path:
            file = Path(folder, f"{name}.pfn")
            if file.is_file():
                return spec_from_loader(fullname, PfnLoader(file), origin=str(file))
        return None


class PfnLoader(Loader):
    """Gives a module the names of one file. Nothing is compiled yet."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def exec_module(self, module: ModuleType) -> None:
        names = _names(self._file, module.__name__)
        module.__file__ = str(self._file)
        module.__getattr__ = lambda name: _named(names, module, name)  # type: ignore[method-assign]
        module.__dir__ = lambda: sorted({*vars(module), *names()})  # type: ignore[method-assign]


def _named(names: Callable[[], dict[str, Any]], module: ModuleType, name: str) -> Any:
    if name.startswith("__") and name != "__all__":  # asked for by the import system
        raise AttributeError(name)
    with _COMPILING:
        known = names()
    if name == "__all__":
        return sorted(known)
    if name not in known:
        there = ", ".join(sorted(known)) or "nothing"
        raise AttributeError(f"{module.__file__} declares no `{name}`; it declares {there}")
    return known[name]


def _names(file: Path, module: str) -> Callable[[], dict[str, Any]]:
    @cache
    def names() -> dict[str, Any]:
        """What the file declares, compiled at the first call. Raises `CompileError`."""
        from parrotc import settings
        from parrotc.driver import compile_source, read_source
        from parrotc.program import LoadedProgram
        from parrotc.runtime.results import PythonTypes
        from parrotc.targets import ModelOverrides

        given = settings.load()
        models = ModelOverrides.of(given)
        compiled = compile_source(read_source(file), level=given.level, models=models, alone=True)
        types = PythonTypes()
        folder = file.resolve().parent
        program = LoadedProgram(compiled.plan, folder=folder, settings=given, types=types)
        flows = {flow.name: getattr(program, flow.name) for flow in program.plan.flows}
        classes = _classes(program.plan.type_table, types)
        for made in classes.values():
            made.__module__ = module
        return {**classes, **flows}

    return names


def _classes(table: Sequence[Any], types: Any) -> dict[str, Any]:
    """The classes of the types that have a name, those of other files left out."""
    from parrotc.ir.types import named

    found = {one.name: one for type_ in table for one in named(type_)}
    return {name: types.of(one) for name, one in found.items() if "." not in name}


sys.meta_path.append(PfnFinder())
