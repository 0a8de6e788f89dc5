"""`parrotc engine`: an engine behind HTTP, until it is told to stop."""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parrotc.cli.command import Command, format_option
from parrotc.cli.serve import require_server

if TYPE_CHECKING:
    from parrotc.runtime.engines.config import EngineConfig
    from parrotc.runtime.engines.protocol import Engine
    from parrotc.runtime.plan import ChatTemplate


@click.command("engine", cls=Command)
@click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False),
    help="Settings, as JSON; without any, the embedded model with its defaults.",
)
@click.option("--host", help="The address to listen on, instead of the config's.")
@click.option("--port", type=click.IntRange(0, 65535), help="Likewise the port; 0: any free one.")
@format_option
def command(path: str | None, host: str | None, port: int | None) -> None:
    """Serve one model over HTTP: fill, generate, free contexts.

    Prints the URL when the engine is ready. Ends at Ctrl-C or SIGTERM, after what is in progress.
    """
    from parrotc.runtime.engines.config import EngineConfig, read_config

    require_server("parrotc.runtime.engines.http.server")
    config, notes = read_config(Path(path)) if path else (EngineConfig(), [])
    for note in notes:
        click.echo(f"note: {note}", err=True)
    given = {"host": host, "port": port}
    config = config.model_copy(update={n: v for n, v in given.items() if v is not None})
    engine, template = _open(config)
    asyncio.run(_serve(config, engine, template))


def _open(config: "EngineConfig") -> "tuple[Engine, ChatTemplate | None]":
    """The engine and its chat template. Raises `CompileError` for what cannot be had."""
    from parrotc.ir.diagnostic import CompileError, Diagnostic
    from parrotc.runtime.engines.config import open_configured
    from parrotc.runtime.models import ModelError
    from parrotc.targets import EMBEDDED, REFERENCE, load_target

    try:
        engine = open_configured(config, lambda line: click.echo(line, err=True))
    except ModelError as error:
        raise CompileError([Diagnostic("E0610", error.message, help=error.help)]) from None
    except ValueError as error:
        raise CompileError([Diagnostic("E0661", f"the engine cannot be opened: {error}")]) from None
    if config.engine == REFERENCE or config.reads_text:
        return engine, None
    return engine, load_target(EMBEDDED, config.spec).template


async def _serve(config: "EngineConfig", engine: "Engine", template: "ChatTemplate | None") -> None:
    from parrotc.ir.diagnostic import CompileError, Diagnostic
    from parrotc.runtime.engines.http.listening import until_told
    from parrotc.runtime.engines.http.server import EngineServer, ServerLimits, serving

    limits = ServerLimits(
        max_requests=config.max_requests, max_body=config.max_body, lease=config.lease
    )
    server = EngineServer(engine, template=template, limits=limits, random_seed=config.random_seed)
    try:
        async with serving(server, config.host, config.port) as url:
            await _announce(engine, url, config.name)
            async with _membership(config, url):
                await until_told()
            click.echo("stopping", err=True)
    except OSError as error:
        raise CompileError(
            [
                Diagnostic(
                    "E0661",
                    f"{config.host}:{config.port} cannot be served: {error.strerror or error}",
                    help="choose another with --port, or 0 for any that is free",
                )
            ]
        ) from None
    finally:
        await engine.close()


def _membership(config: "EngineConfig", url: str) -> AbstractAsyncContextManager[None]:
    """In the core that the config names, if it names one."""
    from parrotc.runtime.engines.http.membership import member_of

    if config.serve_core is None:
        return nullcontext()
    about = {"engine_name": config.name, "model": config.served, "role": config.role}
    return member_of(config.serve_core, about, url)


async def _announce(engine: "Engine", url: str, name: str) -> None:
    info = await engine.ping()
    length = f"{info.context_length:,} tokens" if info.fingerprint else "reads text"
    words = [info.engine, info.precision, length]
    title = f"{name}: {info.model}" if name else info.model
    click.echo(f"{title} ({', '.join(filter(None, words))}) is ready", err=True)
    click.echo(url)
