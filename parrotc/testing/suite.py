"""The tests of one file: compiled together, run one by one.

    with Suite(read_source("app.pfn"), Settings()) as suite:
        for test in suite.tests:
            outcome = suite.run(test)

A test is a flow like any other, compiled without optimisation, so that its calls are those that
are written. Without `live` it runs on the reference engine, which needs no model.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from parrotc.driver import checked, compile_module
from parrotc.ir.diagnostic import CompileError, Diagnostic
from parrotc.ir.source import Source
from parrotc.lower.testing import Tests, lower_tests
from parrotc.program import LoadedProgram, standard_function
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.engines.recording import RecordingError
from parrotc.runtime.errors import RunError
from parrotc.runtime.natives import Caller
from parrotc.runtime.plan import Plan, PlanError
from parrotc.settings import Settings
from parrotc.syntax.tree import TestDecl
from parrotc.targets import REFERENCE, ModelOverrides
from parrotc.testing import explain
from parrotc.testing.figures import Plans
from parrotc.testing.stand import Stand, TestNatives


@dataclass(frozen=True)
class Outcome:
    """How a test ended. It has passed if nothing failed; a warning is no failure."""

    test: TestDecl
    seconds: float
    failures: tuple[Diagnostic, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failures


class Suite:
    """The tests of a file. Close it, or use it in a `with`, to give its engines back."""

    def __init__(self, source: Source, settings: Settings, *, live: str = "") -> None:
        """Check and compile the file. `live` is the engine for what is not mocked, as in
        `--engine`. Raises `CompileError`."""
        settings = replace(settings, engine=live or ("" if settings.replay else REFERENCE))
        self.program, _ = checked(source)
        self.tests = tuple(d for d in self.program.root.items if isinstance(d, TestDecl))
        self._lowered: Tests = lower_tests(self.program, self.tests)
        models = ModelOverrides.of(settings)
        compiled = compile_module(
            self._lowered.module, sources=self.program.sources(), level="O0", models=models
        )
        plans = Plans(self.program, models, standard_function)
        self._stand = Stand(self._lowered.hooks, plans)
        folder = Path(source.name).resolve().parent
        self._runner = _Runner(compiled.plan, self._stand, folder=folder, settings=settings)

    def run(self, test: TestDecl) -> Outcome:
        """Run one test. Raises only what is a bug of ours, and `KeyboardInterrupt`."""
        started = time.perf_counter()
        self._stand.begin()
        failures = self._failures(self._lowered.flows[test].name)
        unasked = [mock for mock in self._stand.mocks if not mock.drawn]
        return Outcome(
            test,
            time.perf_counter() - started,
            failures,
            () if failures else tuple(map(explain.never_called, unasked)),
        )

    def _failures(self, flow: str) -> tuple[Diagnostic, ...]:
        try:
            getattr(self._runner, flow).plain({})
        except (CompileError, PlanError, RecordingError) as error:  # of a plan, of an engine
            return error.diagnostics
        except RunError as error:
            return (self._explained(error.diagnostic),)
        return ()

    def _explained(self, diagnostic: Diagnostic) -> Diagnostic:
        if self._stand.failed is not None:
            return explain.false_assertion(self._stand.failed)
        found = explain.at_home(diagnostic, self.program.sources())
        if self._stand.exhausted is not None and found.code == "E0802":
            return explain.exhausted(found, self._stand.exhausted)
        return found

    def close(self) -> None:
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Runner(LoadedProgram):
    """A program whose flows are tests."""

    def __init__(self, plan: Plan, stand: Stand, *, folder: Path, settings: Settings) -> None:
        super().__init__(plan, folder=folder, settings=settings)
        self._stand = stand

    def _natives(self, engines: Mapping[str, Engine]) -> Caller:
        return TestNatives(super()._natives(engines), self._stand)
