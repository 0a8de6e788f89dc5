"""What every command shares: errors become diagnostics and an exit status in this one place."""

import errno
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from parrotc.cli.crash import write_report
from parrotc.cli.findings import FORMATS, write
from parrotc.ir.diagnostic import Diagnostic

F = TypeVar("F", bound=Callable[..., Any])
_FORMAT = "parrotc.format"


class Command(click.Command):
    """A command whose body may raise anything.

    Exceptions that carry `diagnostics` are the user's to mend: they are printed, and the status is
    1 (2 for settings, which are usage). Any other exception is a bug of ours: `I0001`, status 2.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("stopped; what was going on has been cancelled", err=True)
            ctx.exit(130)  # as shells have it: 128 and the number of the signal
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader of a pipe has enough: click ends quietly
            failed: Exception = error
        except Exception as error:
            failed = error
        diagnostics = getattr(failed, "diagnostics", None)
        if diagnostics is None:
            report(ctx, [write_report(failed)])
            ctx.exit(2)
        report(ctx, diagnostics)
        ctx.exit(2 if type(failed).__name__ == "SettingsError" else 1)


def report(ctx: click.Context, diagnostics: Sequence[Diagnostic]) -> None:
    """Print diagnostics on stderr, in the format that `--format` asks for."""
    write(diagnostics, ctx.meta.get(_FORMAT, "text"))


def format_option(function: F) -> F:
    """`--format`: how diagnostics are written."""

    def remember(ctx: click.Context, _: click.Parameter, value: str) -> str:
        ctx.meta[_FORMAT] = value
        return value

    return click.option(
        "--format",
        "format_",
        type=click.Choice(FORMATS),
        default="text",
        show_default=True,
        expose_value=False,
        callback=remember,
        help="How diagnostics are written.",
    )(function)
