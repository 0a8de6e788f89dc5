"""An engine in a process of its own, as `parrotc engine` serves it, which a test may kill."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp

START = 60.0  # seconds that it has to say where it listens
LEASE = 20.0  # seconds after which it frees what a core left that is not heard of any more


class EngineProcess:
    """A reference engine named `name` that registers with the core at `port`, and again each time
    it is started."""

    def __init__(self, name: str, port: int, folder: Path) -> None:
        self.name = name
        self._config = folder / f"{name}.json"
        self._log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._url = ""
        config = {
            "name": name, "engine": "reference", "host": "127.0.0.1", "port": 0, "lease": LEASE,
            "serve_core": {"host": "127.0.0.1", "port": port},
        }  # fmt: skip
        self._config.write_text(json.dumps(config), "utf-8")

    async def start(self) -> None:
        """Return when it listens. Raises `RuntimeError` with what it said where it does not."""
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "parrotc.cli.main", "engine", "--config", str(self._config),
                stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(START):
            self._url = (await self._process.stdout.readline()).decode().strip()
        if not self._url:
            raise RuntimeError(f"{self.name} did not start: {self._log.read_text('utf-8')}")

    def stop(self) -> None:
        """It hangs, and with it the connections to it: nothing is lost, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it at once, stopped or not."""
        if self._process is not None and self._process.returncode is None:
            self._signal(signal.SIGKILL)
            await self._process.wait()

    async def contexts(self, http: aiohttp.ClientSession) -> int:
        """How many it holds, of whomever."""
        async with http.get(f"{self._url}/ping") as response:
            told: dict[str, Any] = await response.json()
            return int(told["contexts"])

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
