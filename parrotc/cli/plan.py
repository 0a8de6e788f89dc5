"""`parrotc plan`: what a flow will cost, and gates on it."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from parrotc.cli.arguments import Choices, Place, PlaceType, input_arguments, target_options
from parrotc.cli.command import Command, format_option, report

if TYPE_CHECKING:
    from parrotc.report import Report


@click.command("plan", cls=Command)
@click.argument("program", type=PlaceType(), metavar="FILE[:FLOW]")
@input_arguments
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--max-calls", type=int, help="Fail if the flow may make more calls.")
@click.option("--max-tokens", type=int, help="Fail if it may read and generate more tokens.")
@click.option("--max-depth", type=int, help="Fail if more calls may follow one another.")
@target_options
@format_option
@click.pass_context
def command(
    ctx: click.Context,
    program: Place,
    inputs: Sequence[tuple[str, str]],
    choices: Choices,
    *,
    as_json: bool,
    max_calls: int | None,
    max_tokens: int | None,
    max_depth: int | None,
) -> None:
    """Show what a flow will cost: calls, tokens, sharing, depth.

    Nothing is run. Figures that depend on inputs are written as such, |parts| for the length of a
    list or a text; with inputs they become numbers. Where a run may do less they are marked with
    ≤: of the arms of an `if` whose condition is not known the larger one counts.
    """
    from parrotc import report as reports
    from parrotc.cli.loading import choose, compile_file, read_inputs, settings_for
    from parrotc.program import standard_function

    compilation = compile_file(program.path, choices, settings_for(choices))
    flow = choose("flow", program.name, {flow.name: flow for flow in compilation.module.flows})
    values = read_inputs(inputs, {param.value.name: param.value.type for param in flow.params})
    found = reports.report(compilation, flow.name, values, standard_function)
    click.echo(_json(found) if as_json else reports.as_text(found))
    limits = {"calls": max_calls, "tokens": max_tokens, "depth": max_depth}
    broken = reports.gates(found, flow, limits)
    report(ctx, broken)
    if broken:
        sys.exit(1)


def _json(found: "Report") -> str:
    data = {name: _plain(value) for name, value in vars(found).items()}
    data["rows"] = [
        {name: _plain(value) for name, value in vars(row).items()} for row in found.rows
    ]
    return json.dumps(data, ensure_ascii=False, indent=2)


def _plain(value: Any) -> Any:
    """A figure as a number, or with its formula where inputs decide it."""
    from parrotc.report import Figure

    if not isinstance(value, Figure):
        return value
    exact = value.number
    if exact is not None:
        return exact
    return {"formula": str(value.exact), "at_most": value.limit.constant}
