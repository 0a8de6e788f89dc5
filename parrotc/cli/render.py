"""`parrotc render`: the exact prompt of a semantic function, without running it."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from parrotc.cli.arguments import Choices, Place, PlaceType, input_arguments, target_options
from parrotc.cli.command import Command, format_option
from parrotc.cli.findings import in_colour

if TYPE_CHECKING:
    from parrotc.rendering import Piece


@click.command("render", cls=Command)
@click.argument("program", type=PlaceType(), metavar="FILE[:FUNCTION]")
@input_arguments
@click.option("--tokens", "as_tokens", is_flag=True, help="One token a line, with its id.")
@click.option("--json", "as_json", is_flag=True, help="The ids and texts of all tokens as JSON.")
@target_options
@format_option
def command(
    program: Place,
    inputs: Sequence[tuple[str, str]],
    choices: Choices,
    *,
    as_tokens: bool,
    as_json: bool,
) -> None:
    """Print the exact prompt of a semantic function.

    Every token as the model would read it, those of the chat template too; what the model would
    write stands as {{gen name}}. Nothing is run.
    """
    from parrotc.cli.loading import choose, lowered, read_inputs, settings_for
    from parrotc.rendering import render
    from parrotc.targets import targets

    module = lowered(program.path, choices, settings_for(choices))
    function = choose("function", program.name, {one.name: one for one in module.functions})
    types = {param.name: param.type for param in function.body.params[1:]}
    pieces = render(module, function, read_inputs(inputs, types), targets(module))
    if as_json:
        listed = [{"ids": [one for one, _ in p.tokens], "text": p.text} for p in pieces]
        click.echo(json.dumps(listed, ensure_ascii=False, indent=1))
    elif as_tokens:
        for piece in pieces:
            for token, text in piece.tokens or [("", piece.text)]:
                click.echo(f"{token:>7}  {json.dumps(text, ensure_ascii=False)}")
    else:
        click.echo("".join(map(_coloured if in_colour(sys.stdout) else _plain, pieces)))
        click.echo(f"{sum(len(piece.tokens) for piece in pieces):,} tokens", err=True)


def _plain(piece: "Piece") -> str:
    return piece.text


def _coloured(piece: "Piece") -> str:
    """Special tokens and places to generate in colours of their own."""
    if not piece.tokens:
        return click.style(piece.text, fg="green", bold=True)
    return click.style(piece.text, fg="magenta") if piece.is_special else piece.text
