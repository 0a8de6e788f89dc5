"""`parrotc run --parrot`: a script in Parrot's words."""

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from parrotc.cli.arguments import Choices
from parrotc.cli.loading import settings_for
from parrotc.driver import read_source


def run_script(path: str, choices: Choices, given: Mapping[str, Any]) -> None:
    """Run it. What it raises and has no diagnostics is shown as Python does, and is status 1."""
    from parrotc.compat.parrot.running import Given, run_program

    read_source(path)  # a file that is not there is told as for other programs
    settings_for(choices, **given)
    said = {"engine": choices.engine, "level": choices.level, **given}
    flags = {name: value for name, value in said.items() if value is not None}
    try:
        run_program(path, given=Given(flags, choices.models, choices.engine is not None))
    except Exception as error:
        if hasattr(error, "diagnostics"):
            raise
        shown = _in_script(error, path)
        traceback.print_exception(type(error), error, shown)
        raise click.exceptions.Exit(1) from None


def _in_script(error: Exception, path: str) -> Any:
    """The traceback from the script on; all of it where the script is not in it."""
    at = error.__traceback__
    while at is not None and Path(at.tb_frame.f_code.co_filename) != Path(path):
        at = at.tb_next
    return at or error.__traceback__
