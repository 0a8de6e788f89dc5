"""A core and its engines on one machine: processes that are started, watched and ended together.

    {"core": {"port": 9000},                                   // as in core.json
     "engines": [{"name": "one", "model": "…", "port": 0}]}    // each as in engine.json

The core is started first, since engines register with it, and ended first, so that what it still
does has engines to do it on.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from parrotc.ir.diagnostic import Diagnostic
from parrotc.runtime.core.config import CoreConfig, core_config, engine_configs
from parrotc.runtime.engines.config import CoreAddress, EngineConfig
from parrotc.runtime.engines.configfile import CODE, ConfigError, read_file

START = 600.0  # seconds that an engine may take to load its model
_POLL = 0.25
_KILL = 5.0  # seconds after its own patience that a process is given to end

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class MachineConfig:
    core: CoreConfig
    engines: tuple[EngineConfig, ...]
    key_env: str = ""  # the variable with the key of the core's operator, if it asks for one

    @property
    def names(self) -> list[str]:
        """Of the engines."""
        return [one.name or f"engine-{n}" for n, one in enumerate(self.engines)]


class CannotStart(Exception):
    """A process ended, or was not ready in time."""


def read_machine(path: Path) -> tuple[MachineConfig, list[str]]:
    """The config of a file, and notes on it. Raises `ConfigError` with all that is wrong."""
    file = read_file(path)
    for name in file.data:
        if name not in ("core", "engines", "key_env"):
            message = f"there is no setting `{name}`; there are core, engines, key_env"
            raise ConfigError(Diagnostic(CODE, message, file.span((name,)), label="set here"))
    if not isinstance(file.data.get("core", {}), dict):
        raise ConfigError(Diagnostic(CODE, "`core` is an object", file.span(("core",))))
    if "engines" not in file.data:
        raise ConfigError(Diagnostic(CODE, "a machine needs `engines`", file.span(())))
    wrong: list[Diagnostic] = []
    core, engines, notes = CoreConfig(), tuple[EngineConfig, ...](), list[str]()
    try:
        engines, notes = engine_configs(file, ("engines",))
    except ConfigError as error:
        wrong += error.diagnostics
    try:
        if "core" in file.data:
            core, told = core_config(file, ("core",))
            notes += told
    except ConfigError as error:
        wrong += error.diagnostics
    config = MachineConfig(core, engines, str(file.data.get("key_env", "")))
    if len({*config.names, "core"}) <= len(config.names):
        message = "each engine needs a `name` of its own, and none is called `core`"
        wrong.append(Diagnostic(CODE, message, file.span(("engines",))))
    if wrong:
        raise ConfigError(*wrong)
    return config, notes


class Machine:
    """The processes. `tell` is told what they say, line by line, with who says it."""

    def __init__(self, config: MachineConfig, folder: Path, tell: Tell) -> None:
        """`folder` is for their configs: it holds no secret, and may be deleted afterwards."""
        self._config = config
        self._folder = folder
        self._tell = tell
        self._numbers = count()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._listeners: set[asyncio.Task[None]] = set()
        self.url = ""

    async def start(self, timeout: float = START) -> None:
        """Return when the core serves and every engine is up. Raises `CannotStart`."""
        self.url = await self._start("core", "serve", self._core(), timeout)
        port = int(self.url.rpartition(":")[2])
        address = CoreAddress(host=self._config.core.host, port=port, key_env=self._config.key_env)
        names = self._config.names
        await asyncio.gather(
            *(
                self._start(
                    name,
                    "engine",
                    {
                        **config.model_dump(exclude_unset=True),
                        "name": name,
                        "serve_core": address.model_dump(),
                    },
                    timeout,
                )
                for name, config in zip(names, self._config.engines, strict=True)
            )
        )
        await self._until_up(names, timeout)

    async def engines(self) -> list[dict[str, Any]]:
        """What the core says of its engines. Raises `CannotStart` where it does not."""
        key = os.environ.get(self._config.key_env, "") if self._config.key_env else ""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            async with (
                aiohttp.ClientSession(headers=headers) as http,
                http.get(f"{self.url}/v1/engines") as answer,
            ):
                said = await answer.json()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CannotStart(f"the core does not answer: {error}") from None
        if answer.status != 200:
            raise CannotStart("the core does not tell of its engines: it needs an operator's key")
        found: list[dict[str, Any]] = said["engines"]
        return found

    async def watch(self) -> str:
        """Return when the core has ended, with what to say of it; tell of engines that end."""
        waits = {
            asyncio.ensure_future(process.wait()): name for name, process in self._processes.items()
        }
        try:
            while True:
                ended, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    name = waits.pop(task)
                    if name == "core":
                        return f"the core has ended (exit status {task.result()})"
                    self._tell(f"{name} has ended (exit status {task.result()})")
        finally:
            for task in waits:
                task.cancel()

    async def stop(self) -> None:
        """End the core, which drains, and then the engines."""
        await self._end(["core"], self._config.core.drain + _KILL)
        await self._end([name for name in self._processes if name != "core"], 2 * _KILL)
        if self._listeners:
            await asyncio.wait(self._listeners)

    # --- one process ---

    def _core(self) -> dict[str, Any]:
        """What the file says of the core. Without a log file it says only what is unusual."""
        said = self._config.core.model_dump(exclude_unset=True)
        is_logged = self._config.core.log_dir or self._config.core.log_filename
        return said if is_logged else {"log_level": "warning", **said}

    async def _start(
        self, name: str, command: str, config: Mapping[str, Any], timeout: float
    ) -> str:
        """Start a process; gives the URL that it prints when it is ready."""
        path = self._folder / f"{next(self._numbers)}.json"
        path.write_text(json.dumps(config), "utf-8")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "parrotc.cli.main", command, "--config", str(path),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us, who then end it
        )  # fmt: skip
        self._processes[name] = process
        assert process.stdout is not None and process.stderr is not None
        self._listen(name, process.stderr)
        try:
            async with asyncio.timeout(timeout):
                line = (await process.stdout.readline()).decode().strip()
        except TimeoutError:
            raise CannotStart(f"{name} was not ready after {timeout:g} s") from None
        if not line:
            raise CannotStart(f"{name} could not start (exit status {await process.wait()})")
        self._listen(name, process.stdout)
        return line

    def _listen(self, name: str, stream: asyncio.StreamReader) -> None:
        async def listen() -> None:
            with suppress(ValueError):  # a line that is longer than any line
                while line := await stream.readline():
                    self._tell(f"{name} | {line.decode(errors='replace').rstrip()}")

        task = asyncio.get_running_loop().create_task(listen())
        self._listeners.add(task)
        task.add_done_callback(self._listeners.discard)

    async def _until_up(self, names: Sequence[str], timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                while True:
                    up = {one["engine_id"] for one in await self.engines() if one["state"] == "up"}
                    if up >= set(names):
                        return
                    self._require_running()
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise CannotStart(f"the engines were not up after {timeout:g} s") from None

    def _require_running(self) -> None:
        for name, process in self._processes.items():
            if process.returncode is not None:
                raise CannotStart(f"{name} has ended (exit status {process.returncode})")

    async def _end(self, names: Sequence[str], patience: float) -> None:
        running = [self._processes[n] for n in names if n in self._processes]
        running = [process for process in running if process.returncode is None]
        for process in running:
            process.terminate()
        try:
            async with asyncio.timeout(patience):
                for process in running:
                    await process.wait()
        except TimeoutError:
            for process in running:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
