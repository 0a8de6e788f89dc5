"""`parrotc serve`: a core behind HTTP, until it is told to stop."""

import asyncio
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parrotc.cli.command import Command, format_option

if TYPE_CHECKING:
    from parrotc.runtime.core.config import CoreConfig


@click.command("serve", cls=Command)
@click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False),
    help="Settings, as JSON; without any, the defaults and no engine: engines may register.",
)
@click.option("--host", help="The address to listen on, instead of the config's.")
@click.option("--port", type=click.IntRange(0, 65535), help="Likewise the port; 0: any free one.")
@click.option("--journal", help="Likewise the file that keeps sessions and runs.")
@click.option("--log-dir", "--log_dir", "log_dir", help="Likewise the folder of the log.")
@click.option("--log-filename", "--log_filename", "log_filename", help="Likewise its name.")
@format_option
def command(path: str | None, **given: str | int | None) -> None:
    """Serve sessions, plans and OpenAI's API over HTTP, on many engines.

    Prints the URL when it is ready. At Ctrl-C or SIGTERM nothing new is taken, what goes on has
    the config's `drain` seconds to end, and the log says what is left.
    """
    from parrotc.runtime.core.config import CoreConfig, read_core_config

    require_server()
    config, notes = read_core_config(Path(path)) if path else (CoreConfig(), [])
    for note in notes:
        click.echo(f"note: {note}", err=True)
    config = config.model_copy(update={n: v for n, v in given.items() if v is not None})
    _serve(config)


def require_server(module: str = "parrotc.runtime.server.app") -> None:
    """Raises `CompileError` where the server cannot be imported: before a model is loaded."""
    from parrotc.ir.diagnostic import CompileError, Diagnostic

    try:
        import_module(module)
    except ImportError as error:
        help = "pip install 'parrotc[serve]'"
        raise CompileError(
            [Diagnostic("E0610", f"nothing can be served: {error}", help=help)]
        ) from None


def _serve(config: "CoreConfig") -> None:
    """Raises `CompileError` for what cannot be had: a model, a port, a file for the log."""
    from parrotc.ir.diagnostic import CompileError, Diagnostic
    from parrotc.runtime.core.core import ServeCore
    from parrotc.runtime.core.errors import CoreError
    from parrotc.runtime.core.log import log_to
    from parrotc.runtime.models import ModelError
    from parrotc.runtime.server.app import serve
    from parrotc.served import services

    try:
        log_to(config.log_dir, config.log_filename, config.log_level)
        core = ServeCore(config, services(lambda line: click.echo(line, err=True)))
        asyncio.run(serve(core, config.host, config.port, announce=click.echo))
    except ModelError as error:
        found = Diagnostic("E0610", error.message, help=error.help)
    except CoreError as error:
        found = Diagnostic("E0661", error.message, help=error.help)
    except ValueError as error:
        found = Diagnostic("E0661", f"an engine cannot be opened: {error}")
    except OSError as error:
        found = Diagnostic("E0661", f"the core cannot be served: {error.strerror or error}")
    else:
        return
    raise CompileError([found])
