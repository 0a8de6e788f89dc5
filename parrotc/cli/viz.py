"""`parrotc viz`: a picture of a flow."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from parrotc.cli.arguments import Choices, Place, PlaceType, target_options
from parrotc.cli.command import Command

if TYPE_CHECKING:
    from parrotc.viz.graph import Picture

FORMATS = ("svg", "dot", "mermaid")


@click.command("viz", cls=Command)
@click.argument("program", type=PlaceType(), metavar="FILE[:FLOW]")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Where it goes; else stdout.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: by --output, or svg.")
@target_options
def command(program: Place, choices: Choices, *, output: str | None, form: str | None) -> None:
    """Draw a flow as the compiler sees it.

    The flow as written and the optimised one side by side; with -O, only that one.
    """
    from parrotc.viz.dot import as_dot
    from parrotc.viz.mermaid import as_mermaid

    form = form or {".dot": "dot", ".gv": "dot", ".mmd": "mermaid"}.get(
        Path(output or "").suffix, "svg"
    )
    pictures = _pictures(program, choices)
    text = as_mermaid(pictures) if form == "mermaid" else as_dot(pictures)
    if form == "svg":
        text = _drawn(text)
    if output:
        Path(output).write_text(text, "utf-8")
    else:
        click.echo(text, nl=False)


def _drawn(dot: str) -> str:
    from parrotc.viz.svg import NoGraphviz, as_svg

    try:
        return as_svg(dot)
    except NoGraphviz:
        raise click.UsageError(
            "SVG needs Graphviz: pip install 'parrotc[viz]', or ask for --format dot or mermaid"
        ) from None


def _pictures(program: Place, choices: Choices) -> list["Picture"]:
    from parrotc.cli.loading import choose, lowered, settings_for
    from parrotc.targets import targets
    from parrotc.viz.pictures import LEVELS, pictures

    written = lowered(program.path, choices, settings_for(choices))
    name = choose("flow", program.name, {flow.name: flow.name for flow in written.flows})
    levels = [choices.level] if choices.level else list(LEVELS)
    return pictures(written, name, targets(written), levels)
