"""An app behind a port, and the signal that ends it: what an engine's server and a core's share."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def listening(
    app: web.Application, host: str, port: int, *, grace: float
) -> AsyncIterator[str]:
    """Serve until the block ends; gives the URL (port 0: any free one). Raises `OSError` when the
    port is taken. Then nothing new is begun, and what goes on has `grace` seconds to end. A handler
    whose client goes away is cancelled."""
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=grace, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        found = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{found}"
    finally:
        await runner.cleanup()


async def until_told() -> None:
    """Return at the first SIGINT or SIGTERM."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    await told.wait()
