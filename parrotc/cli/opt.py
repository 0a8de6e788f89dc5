"""`parrotc opt`: passes over IR text, for those who write passes."""

from pathlib import Path

import click

from parrotc.cli.arguments import Choices, target_options
from parrotc.cli.command import Command, format_option


@click.command("opt", cls=Command)
@click.argument("file", type=click.Path())
@click.option("--pass", "names", metavar="A,B", help="These passes, in this order.")
@click.option("--print-after-all", is_flag=True, help="Print the module after each pass (stderr).")
@click.option(
    "--verify-each/--no-verify-each",
    default=True,
    show_default=True,
    help="Check the module after each pass.",
)
@click.option("--time-passes", is_flag=True, help="Print how long each pass took (stderr).")
@click.option("--remarks", is_flag=True, help="Print what passes did and did not do (stderr).")
@target_options
@format_option
def command(
    file: str,
    choices: Choices,
    *,
    names: str | None,
    print_after_all: bool,
    verify_each: bool,
    time_passes: bool,
    remarks: bool,
) -> None:
    """Run passes over a program's IR and print the result.

    FILE is a program (.pfn) or IR (.pir). Without --pass, the pipeline of the level runs.
    """
    from parrotc.cli.loading import lowered, settings_for
    from parrotc.ir.ops import Module
    from parrotc.ir.printer import print_module
    from parrotc.passes.remark import Remark
    from parrotc.passes.table import PASSES, PIPELINES, run
    from parrotc.report import aligned
    from parrotc.targets import targets

    settings = settings_for(choices)
    chosen = tuple(names.split(",")) if names else PIPELINES[settings.level]
    for name in chosen:
        if name not in PASSES:
            raise click.UsageError(f"there is no pass `{name}`; there are {', '.join(PASSES)}")
    module = lowered(file, choices, settings)
    found: list[Remark] = []
    times: list[tuple[str, float]] = []

    def after(name: str, module: Module) -> None:
        if print_after_all:
            click.echo(f"// after {name}\n{print_module(module)}", err=True)

    module = run(
        module,
        targets(module),
        chosen,
        verify_each=verify_each,
        after=after,
        remarks=found,
        times=times,
        crash_folder=lambda: Path(".crash"),
    )
    for remark in found if remarks else ():
        click.echo(str(remark), err=True)
    if time_passes:
        rows = [[name, f"{seconds * 1000:.1f} ms"] for name, seconds in times]
        click.echo(aligned(rows), err=True)
    click.echo(print_module(module), nl=False)
