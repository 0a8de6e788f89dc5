"""The pytest plugin: `pytest app.pfn` runs the `test` blocks of a program; `mock_engine` is an
engine that Python tests of `@pfunc` and `@flow` tell what to say.

Loading it loads nothing else: a program is read when its file is collected.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from parrotc.ir.diagnostic import Diagnostic
    from parrotc.syntax.tree import TestDecl
    from parrotc.testing.mocking import MockEngine
    from parrotc.testing.suite import Suite

_MOCKED = "reference:mock"  # compiled as for the reference engine, and no other program's engine


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parrotc", "tests of parrotc programs")
    for name, value, help_ in (
        ("live", "ENGINE", "run what a .pfn test does not mock on this engine"),
        ("record", "FILE", "keep what engines answer to .pfn tests in this file"),
        ("replay", "FILE", "take the answers to .pfn tests from this file"),
    ):
        group.addoption(f"--parrotc-{name}", metavar=value, help=help_)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "ProgramFile | None":
    if file_path.suffix != ".pfn":
        return None
    collected: ProgramFile = ProgramFile.from_parent(parent, path=file_path)
    return collected


class ProgramFile(pytest.File):
    """A `.pfn` file: compiled when it is collected, its engines given back after its tests."""

    suite: "Suite | None" = None

    def collect(self) -> "Iterable[ProgramTest]":
        from parrotc.driver import read_source
        from parrotc.ir.diagnostic import CompileError
        from parrotc.settings import load
        from parrotc.testing.collect import has_tests
        from parrotc.testing.suite import Suite

        option = self.config.option
        settings = load(record=option.parrotc_record, replay=option.parrotc_replay)
        try:
            source = read_source(_shown(self.path))
            if not has_tests(source):
                return
            self.suite = Suite(source, settings, live=option.parrotc_live or "")
        except CompileError as error:
            raise self.CollectError(str(error)) from None
        for test in self.suite.tests:
            yield ProgramTest.from_parent(self, name=test.name, test=test)

    def teardown(self) -> None:
        if self.suite is not None:
            self.suite.close()


class ProgramTest(pytest.Item):
    """A `test` block."""

    def __init__(self, *, test: "TestDecl", **given: Any) -> None:
        super().__init__(**given)
        self.test = test

    def runtest(self) -> None:
        assert isinstance(self.parent, ProgramFile) and self.parent.suite is not None
        outcome = self.parent.suite.run(self.test)
        for warning in outcome.warnings:
            self.warn(ProgramWarning(warning.render()))
        if not outcome.passed:
            raise ProgramFailed(outcome.failures)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, ProgramFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.test.span.position()[0] - 1, self.name


class ProgramFailed(Exception):
    """A `test` block that failed, with what it has to say."""

    def __init__(self, diagnostics: "Iterable[Diagnostic]") -> None:
        super().__init__("\n\n".join(one.render() for one in diagnostics))


class ProgramWarning(UserWarning):
    """What a `test` block warns of."""


def _shown(path: Path) -> Path:
    """The path as a user would write it: from here, if it is below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@pytest.fixture(scope="session")
def _mocked_engine() -> "MockEngine":
    """One for all tests: the programs that they run keep it."""
    from parrotc.testing.mocking import MockEngine

    return MockEngine()


@pytest.fixture
def mock_engine(
    _mocked_engine: "MockEngine", monkeypatch: pytest.MonkeyPatch
) -> "Iterator[MockEngine]":
    """An engine for every `@pfunc` and `@flow` that is called in this test, sync or async.

    `mock_engine.answer(function, …)` says what it says, `mock_engine.calls` what it was asked.
    """
    from parrotc.testing.mocking import MockedEngine

    monkeypatch.setenv("PARROTC_ENGINE", _MOCKED)
    monkeypatch.setattr("parrotc.engines.open_model", lambda *_: MockedEngine(_mocked_engine))
    _mocked_engine.reset()
    yield _mocked_engine
    _mocked_engine.reset()
