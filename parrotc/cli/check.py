"""`parrotc check`: every mistake and warning of some files."""

import sys

import click

from parrotc.cli.command import Command, format_option, report


@click.command("check", cls=Command)
@click.argument("files", nargs=-1, required=True, type=click.Path())
@format_option
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...]) -> None:
    """Find the mistakes in a program without running it.

    Reads each of FILES and what it imports. Exits with 1 if anything is an error.
    """
    from parrotc.driver import findings, read_source
    from parrotc.ir.diagnostic import CompileError, Diagnostic, Level

    found: list[Diagnostic] = []
    for file in files:
        try:
            found += findings(read_source(file))
        except CompileError as error:
            found += error.diagnostics
    report(ctx, found)
    if any(diagnostic.level is Level.ERROR for diagnostic in found):
        sys.exit(1)
