"""`parrotc launch`: a core and its engines on this machine, until told to stop."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parrotc.cli.command import Command, format_option

if TYPE_CHECKING:
    from parrotc.machine import Machine, MachineConfig


@click.command("launch", cls=Command)
@click.argument("path", type=click.Path(dir_okay=False))
@format_option
def command(path: str) -> None:
    """Start a core and its engines on this machine. PATH says which; shows when they are ready.

    Prints the core's URL. All of them end together: at Ctrl-C or SIGTERM, when the core ends, or
    when one of them cannot start.
    """
    from parrotc.cli.serve import require_server

    require_server()
    from parrotc.machine import read_machine

    config, notes = read_machine(Path(path))
    for note in notes:
        click.echo(f"note: {note}", err=True)
    sys.exit(asyncio.run(_launch(config)))


async def _launch(config: "MachineConfig") -> int:
    """The exit status: 1 where not all was well."""
    from parrotc.machine import CannotStart, Machine
    from parrotc.runtime.engines.http.listening import until_told

    told = asyncio.ensure_future(until_told())
    with tempfile.TemporaryDirectory(prefix="parrotc-launch-") as folder:
        machine = Machine(config, Path(folder), lambda line: click.echo(line, err=True))
        work = asyncio.ensure_future(_run(machine))
        try:
            await asyncio.wait([told, work], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                click.echo("stopping", err=True)
                return 0
            click.echo(work.result(), err=True)
        except CannotStart as error:
            click.echo(f"{error}; stopping the others", err=True)
        finally:
            told.cancel()
            work.cancel()
            await machine.stop()
    return 1


async def _run(machine: "Machine") -> str:
    await machine.start()
    await _show(machine)
    click.echo(machine.url)
    return await machine.watch()


async def _show(machine: "Machine") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("engine", "model", "state", box=None)
    for engine in await machine.engines():
        table.add_row(engine["engine_id"], engine["model"], engine["state"])
    Console(stderr=True).print(table)
