"""Running the command line in this process, as a test sees it."""

from dataclasses import dataclass

from click.testing import CliRunner

from parrotc.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit status."""

    code: int
    out: str
    err: str


def parrotc(*args: str, stdin: str = "", env: dict[str, str] | None = None) -> Done:
    """Run `parrotc ARGS`. An exception that escapes is raised here: users see none."""
    runner = CliRunner(env={"NO_COLOR": "1", **(env or {})})
    result = runner.invoke(main, args, input=stdin, catch_exceptions=False)
    return Done(result.exit_code, result.stdout, result.stderr)
