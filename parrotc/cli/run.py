"""`parrotc run`: a flow's result on stdout, its progress on the terminal."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parrotc.cli.arguments import Choices, Place, PlaceType, input_arguments, target_options
from parrotc.cli.command import Command, format_option

if TYPE_CHECKING:
    from parrotc.ir.types import Json


@click.command("run", cls=Command)
@click.argument("program", type=PlaceType(), metavar="FILE[:FLOW]")
@input_arguments
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, texts too.")
@target_options
@click.option("--seed", type=int, help="The seed of sampled generations (default 0).")
@click.option("--max-new-tokens", type=int, help="Cap every generated text, for a trial run.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Stop the run after this long.")
@click.option(
    "--keep",
    type=click.Path(dir_okay=False),
    help="If the flow fails, finish the rest and write what there is to this file, as JSON;"
    " if it is stopped, what there is by then.",
)
@click.option(
    "--native-path",
    type=click.Path(file_okay=False),
    help="Look here for the modules of `extern` functions.",
)
@click.option(
    "--record",
    type=click.Path(dir_okay=False),
    help="Keep what the engines answer in this file.",
)
@click.option(
    "--replay",
    type=click.Path(dir_okay=False),
    help="Take the answers from this file: no engine, no network.",
)
@click.option(
    "--parrot", is_flag=True, help="Run a script that imports Parrot's interface, as it is."
)
@click.option("--retarget", is_flag=True, help="Compile a plan again for another model.")
@click.option("--stats", is_flag=True, help="Print counts and times on stderr at the end.")
@click.option(
    "--trace",
    type=click.Path(dir_okay=False),
    help="Write every event to this file, as JSON lines.",
)
@format_option
def command(
    program: Place,
    inputs: Sequence[tuple[str, str]],
    choices: Choices,
    *,
    as_json: bool,
    seed: int | None,
    max_new_tokens: int | None,
    timeout: float | None,
    keep: str | None,
    native_path: str | None,
    record: str | None,
    replay: str | None,
    parrot: bool,
    retarget: bool,
    stats: bool,
    trace: str | None,
) -> None:
    """Run a flow and print its result.

    FILE is a program (.pfn or .py), its IR (.pir) or a compiled plan (.pplan). Texts are given
    as they are, other values as JSON; NAME=@PATH reads a file, NAME=@- reads stdin.

        parrotc run app.pfn:summarise doc=@report.txt size=800
    """
    if parrot:
        from parrotc.cli.parrot import run_script

        if inputs or program.name:
            raise click.UsageError("a script of Parrot's has no flow to choose and no inputs")
        given = {
            "seed": seed,
            "max_new_tokens": max_new_tokens,
            "native_path": native_path,
            "record": record,
            "replay": replay,
        }
        run_script(program.path, choices, given)
        return
    from parrotc.cli.loading import choose, load_program, read_inputs, settings_for
    from parrotc.cli.progress import Watch
    from parrotc.program import LoadedProgram
    from parrotc.runtime.errors import RunError
    from parrotc.runtime.trace import Trace

    settings = settings_for(
        choices,
        seed=seed,
        max_new_tokens=max_new_tokens,
        native_path=native_path,
        record=record,
        replay=replay,
    )
    loaded = load_program(program.path, choices, settings, anew=retarget)
    flow = choose("flow", program.name, {flow.name: flow for flow in loaded.plan.flows})
    table = loaded.plan.type_table
    values = read_inputs(inputs, {param.name: table[param.type] for param in flow.params})
    with (
        Path(trace).open("w", encoding="utf-8") if trace else nullcontext() as log,
        LoadedProgram(loaded.plan, folder=loaded.folder, settings=settings) as opened,
        Watch(flow.name, stats=stats, log=log) as watch,
    ):
        tracing = Trace(watch)
        try:
            result = getattr(opened, flow.name).plain(
                values, timeout=timeout, keep=keep is not None, trace=tracing
            )
        except RunError as error:
            if keep:
                _keep(keep, error.diagnostic.message, error.finished)
            raise
        except KeyboardInterrupt:
            if keep:
                _keep(keep, "it was interrupted", tracing.finished())
            raise
    _print(result, as_json)


def _print(result: "Json", as_json: bool) -> None:
    if isinstance(result, str) and not as_json:
        click.echo(result)
    else:
        click.echo(json.dumps(result, ensure_ascii=False, indent=2))


def _keep(path: str, reason: str, finished: "dict[str, Json]") -> None:
    """Write what was finished before a flow failed or was stopped."""
    kept = {"failed": reason, "finished": finished}
    Path(path).write_text(json.dumps(kept, ensure_ascii=False, indent=2) + "\n", "utf-8")
    click.echo(f"what was finished is in {path}", err=True)
