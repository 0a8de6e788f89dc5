"""`parrotc passes`: the passes and the pipelines."""

import click

from parrotc.cli.command import Command


@click.command("passes", cls=Command)
def command() -> None:
    """List the passes and the pipelines."""
    from parrotc.passes.table import PASSES, PIPELINES
    from parrotc.report import aligned

    click.echo(aligned([[name, one.summary] for name, one in PASSES.items()]))
    for level, names in PIPELINES.items():
        click.echo(f"\n-{level}: {', '.join(names)}")
