"""What can be called one call at a time: flows of one module, as yet compiled for no model.

    library = Library.of(source, folder=Path("."))
    digest = library.callee("digest")               # a flow, or a function as a flow of one call

Whoever has programs in another form makes the module itself: nothing here knows of decorators.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from parrotc.check.program import PfuncSymbol, Policy, Program
from parrotc.driver import checked
from parrotc.ir.ops import Flow, Model, Module
from parrotc.ir.source import Source
from parrotc.lower import lower
from parrotc.lower.alone import lower_alone
from parrotc.passes.rewrite import has_effect
from parrotc.runtime.engines.protocol import Sampling
from parrotc.runtime.results import PythonTypes


@dataclass(frozen=True, eq=False)
class Library:
    """`folder` is where native functions are looked for first; `types` makes Python values."""

    module: Module
    folder: Path
    types: PythonTypes = field(default_factory=PythonTypes)
    sources: Sequence[Source] = ()
    embedded: Sequence[tuple[str, str]] = ()  # embedded files: path as written, sha256
    program: Program | None = None  # where the module is from one that was checked
    here: Sequence[Callable[..., Any]] = ()  # functions that it has offered: see `here.py`
    _callees: dict[object, "Callee"] = field(default_factory=dict)

    @classmethod
    def of(cls, source: Source, folder: Path, types: PythonTypes | None = None) -> "Library":
        """All that a file declares. Raises `CompileError`."""
        program, _ = checked(source)
        module = lower(program, alone=True)
        known = {model.name for model in module.models}
        declared = (Model(s.name, s.kind, s.target, s.options) for s in program.models)
        return cls(
            replace(module, models=(*module.models, *(m for m in declared if m.name not in known))),
            folder,
            types or PythonTypes(),
            program.sources(),
            program.embedded,
            program,
        )

    def callee(self, name: str) -> "Callee":
        """The flow of that name. Raises `KeyError`."""
        if name not in self._callees:
            flow = next((flow for flow in self.module.flows if flow.name == name), None)
            if flow is None:
                raise KeyError(name)
            self._callees.setdefault(name, Callee(self, flow))
        return self._callees[name]

    def asked(self, name: str, policy: Policy, count: int | None = None) -> "Callee":
        """A semantic function of a checked program, called with policies."""
        assert self.program is not None
        symbol = self.program.exports[name]
        assert isinstance(symbol, PfuncSymbol)
        wanted = {spec: getattr(policy, spec) for spec in Policy.__dataclass_fields__}
        key = (name, count, *wanted.values())
        if key not in self._callees:
            flow = lower_alone(self.program, symbol, policy, count)
            self._callees.setdefault(key, Callee(self, flow))
        return self._callees[key]


@dataclass(frozen=True, eq=False)
class Callee:
    """A flow of a library. Two are the same only if they are one object.

    `samplings` replace, by site, how the one function draws that it is a flow of.
    """

    library: Library
    flow: Flow
    samplings: Mapping[str, Sampling] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.flow.name

    @cached_property
    def params(self) -> frozenset[str]:
        """The names of its parameters."""
        return frozenset(param.value.name for param in self.flow.params)

    @cached_property
    def is_native(self) -> bool:
        """Whether it is a native function."""
        return any(native.name == self.name for native in self.library.module.natives)

    @cached_property
    def is_alone(self) -> bool:
        """Whether it is a semantic function as a flow of one call."""
        return any(function.name == self.name for function in self.library.module.functions)

    @cached_property
    def has_effect(self) -> bool:
        """Whether it runs even if nobody wants its result."""
        return any(map(has_effect, self.flow.body.ops))
