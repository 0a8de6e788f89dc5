"""`parrotc test`: the `test` blocks of programs, run and told of as pytest tells of tests."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parrotc.cli.command import Command, format_option, report
from parrotc.cli.findings import in_colour

if TYPE_CHECKING:
    from parrotc.ir.diagnostic import Diagnostic
    from parrotc.settings import Settings
    from parrotc.testing.suite import Outcome, Suite

WIDTH = 80  # of a line of results that is filled


@click.command("test", cls=Command)
@click.argument("paths", nargs=-1, type=click.Path(), metavar="[PATHS]...")
@click.option(
    "-k", "expression", metavar="EXPR", help="Only tests whose id matches: `vote and not tree`."
)
@click.option("-x", "--exitfirst", is_flag=True, help="Stop at the first failure.")
@click.option("--imported", is_flag=True, help="Test the files that those of PATHS import too.")
@click.option(
    "--live",
    metavar="ENGINE",
    default="",
    help="Run what is not mocked on this engine: embedded, transformers, or a URL.",
)
@click.option("--record", type=click.Path(dir_okay=False), help="Keep its answers in this file.")
@click.option("--replay", type=click.Path(dir_okay=False), help="Take the answers from this file.")
@click.option("--seed", type=int, help="The seed of sampled generations (default 0).")
@click.option("--junit", type=click.Path(dir_okay=False), help="Write JUnit XML to this file.")
@click.option("-v", "--verbose", is_flag=True, help="A line for each test.")
@click.option("-q", "--quiet", is_flag=True, help="Only what failed, and the last line.")
@format_option
@click.pass_context
def command(
    ctx: click.Context,
    paths: Sequence[str],
    *,
    expression: str | None,
    exitfirst: bool,
    imported: bool,
    live: str,
    record: str | None,
    replay: str | None,
    seed: int | None,
    junit: str | None,
    verbose: bool,
    quiet: bool,
) -> None:
    """Run the `test` blocks of programs.

    PATHS are .pfn files, folders (all .pfn files in them) or single tests, as FILE::TITLE; without
    any, this folder. What a test does not mock runs on the reference engine: instantly, without a
    model. Exits with 1 if a test fails or a file does not compile.
    """
    from parrotc.settings import load

    settings = load(seed=seed, record=record, replay=replay)
    wanted = _wanted(paths or (".",), expression)
    run = _Run(ctx, _Terse() if quiet else _Lines() if verbose else _Dots(), wanted)
    run.all(_files(paths or (".",)), settings, live, imported=imported, exitfirst=exitfirst)
    if junit:
        from parrotc.testing.junit import as_junit

        Path(junit).write_text(as_junit(run.outcomes, run.broken), "utf-8")
    run.finish()


def _files(paths: Sequence[str]) -> list[str]:
    from parrotc.testing.collect import files

    return files(path.partition("::")[0] for path in paths)


def _wanted(paths: Sequence[str], expression: str | None) -> Callable[[str], bool]:
    """Whether the test of an id is to be run."""
    from parrotc.testing.select import ExpressionError, selection

    try:
        selected = selection(expression) if expression else lambda _: True
    except ExpressionError as error:
        raise click.UsageError(f"-k {expression}: {error}") from None
    single = {path for path in paths if "::" in path}
    whole = {path for path in paths if "::" not in path}
    files = {path.partition("::")[0] for path in single if path.partition("::")[0] not in whole}

    def wanted(name: str) -> bool:
        return selected(name) and (name.partition("::")[0] not in files or name in single)

    return wanted


@dataclass
class _Run:
    """Everything that came of it so far."""

    ctx: click.Context
    shown: "_Dots"
    wanted: Callable[[str], bool]
    outcomes: "dict[str, list[Outcome]]" = field(default_factory=dict)
    broken: "dict[str, Sequence[Diagnostic]]" = field(default_factory=dict)
    deselected: int = 0
    started: float = field(default_factory=time.perf_counter)

    def all(
        self, files: list[str], settings: "Settings", live: str, *, imported: bool, exitfirst: bool
    ) -> None:
        """Run the tests of some files, and of those that they import if that is asked for."""
        from parrotc.testing.collect import imported as imports

        for file in files:  # grows while it is walked
            with self._suite(file, settings, live, imported) as suite:
                if suite is not None and imported:
                    files += [name for name in imports(suite.program) if name not in files]
                for failed in self._tests(file, suite):
                    if failed and exitfirst:
                        return
            if exitfirst and file in self.broken:
                return

    def _suite(self, file: str, settings: "Settings", live: str, follows: bool) -> "_Opened":
        """The tests of a file. One without tests is compiled only if its imports are followed."""
        from parrotc.driver import read_source
        from parrotc.ir.diagnostic import CompileError
        from parrotc.testing.collect import has_tests
        from parrotc.testing.suite import Suite

        try:
            source = read_source(file)
            is_worth = has_tests(source) or follows
            return _Opened(Suite(source, settings, live=live) if is_worth else None)
        except CompileError as error:
            self.broken[file] = error.diagnostics
            self.shown.broken(file)
            return _Opened(None)

    def _tests(self, file: str, suite: "Suite | None") -> Iterator[bool]:
        """Run the tests of a file, and say of each whether it failed."""
        for test in suite.tests if suite is not None else ():
            if not self.wanted(f"{file}::{test.name}"):
                self.deselected += 1
                continue
            assert suite is not None
            outcome = suite.run(test)
            self.outcomes.setdefault(file, []).append(outcome)
            self.shown.test(file, outcome)
            yield not outcome.passed
        self.shown.end()

    def finish(self) -> None:
        """Tell what failed, count everything, and leave with the status."""
        self.shown.end()
        for file, errors in self.broken.items():
            self._tell(file, errors)
        for file, outcomes in self.outcomes.items():
            for outcome in outcomes:
                self._tell(f"{file}::{outcome.test.name}", outcome.failures + outcome.warnings)
        flat = [outcome for outcomes in self.outcomes.values() for outcome in outcomes]
        if not flat and not self.broken:
            raise click.UsageError("there are no such tests")
        failed = sum(not outcome.passed for outcome in flat)
        broken, warned = len(self.broken), sum(len(outcome.warnings) for outcome in flat)
        counts = {
            "failed": failed,
            "passed": len(flat) - failed,
            "deselected": self.deselected,
            f"file{'s' * (broken != 1)} with errors": broken,
            f"warning{'s' * (warned != 1)}": warned,
        }
        listed = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        is_bad = bool(failed or self.broken)
        seconds = time.perf_counter() - self.started
        _say(f"{listed} in {seconds:.2f} s", "red" if is_bad else "green", bold=True)
        if is_bad:
            sys.exit(1)

    def _tell(self, name: str, found: "Sequence[Diagnostic]") -> None:
        if not found:
            return
        if self.ctx.meta.get("parrotc.format", "text") == "text":
            click.echo(f"── {name} ".ljust(WIDTH, "─") + "\n", err=True)
        report(self.ctx, found)


class _Opened:
    """A suite to be closed, or none."""

    def __init__(self, suite: "Suite | None") -> None:
        self._suite = suite

    def __enter__(self) -> "Suite | None":
        return self._suite

    def __exit__(self, *_: object) -> None:
        if self._suite is not None:
            self._suite.close()


class _Dots:
    """A line for each file, with a letter for each of its tests."""

    def __init__(self) -> None:
        self._file = ""

    def test(self, file: str, outcome: "Outcome") -> None:
        if file != self._file:
            click.echo(f"{file} ", nl=False)
            self._file = file
        mark, colour = _mark(outcome)
        _say(mark, colour, nl=False)

    def broken(self, file: str) -> None:
        click.echo(f"{file} ", nl=False)
        _say("E", "red")

    def end(self) -> None:
        """The file has no more tests."""
        if self._file:
            click.echo()
        self._file = ""


class _Lines(_Dots):
    """A line for each test."""

    def test(self, file: str, outcome: "Outcome") -> None:
        word, colour = ("passed", "green") if outcome.passed else ("FAILED", "red")
        click.echo(f"{file}::{outcome.test.name} ", nl=False)
        _say(word, colour, nl=False)
        click.echo(f" ({outcome.seconds:.2f} s)")


class _Terse(_Dots):
    """Nothing until the end."""

    def test(self, file: str, outcome: "Outcome") -> None:
        pass

    def broken(self, file: str) -> None:
        pass


def _mark(outcome: "Outcome") -> tuple[str, str]:
    if not outcome.passed:
        return "F", "red"
    return (".", "yellow") if outcome.warnings else (".", "green")


def _say(text: str, colour: str, *, bold: bool = False, nl: bool = True) -> None:
    styled = click.style(text, fg=colour, bold=bold) if in_colour(sys.stdout) else text
    click.echo(styled, nl=nl, color=in_colour(sys.stdout))
