"""Python functions of a program, off the event loop: in worker processes, or in a thread.

An `extern` runs in a worker process that is kept for the next call and killed at the timeout, so
that a function that hangs or crashes takes nothing with it. Only JSON values pass. Functions of
the standard library are ours, pure and short, and run in a thread of this process: the caller
brings them in a registry. Importing a module has a limit of its own, so a short timeout is the
function's and not that of the libraries it needs.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from parrotc.ir.schema import problem
from parrotc.ir.types import Json, Type
from parrotc.runtime import native_worker
from parrotc.runtime.errors import Failed
from parrotc.runtime.plan import NativeDecl

Registry = Callable[[str], Callable[..., Any] | None]  # `module:attr` → a function of ours, or None

IMPORT_TIMEOUT = 60.0
WORKERS = 8


class Caller(Protocol):
    """Whatever runs the natives of a program."""

    async def call(self, native: NativeDecl, result: Type, args: Sequence[Json]) -> Json:
        """The function's value, of the type it is declared with. Raises `Failed`."""
        ...

    async def close(self) -> None:
        """The program calls none any more."""
        ...


class Natives:
    """Implements `Caller`. `folders` are searched for the modules of a plan first."""

    def __init__(
        self, folders: Sequence[Path], registry: Registry, *, workers: int = WORKERS
    ) -> None:
        self._folders = tuple(folders)
        self._registry = registry
        self._idle: list[_Worker] = []
        self._killed: list[_Worker] = []
        self._room = asyncio.Semaphore(workers)

    async def call(self, native: NativeDecl, result: Type, args: Sequence[Json]) -> Json:
        """The function's value, of the type it is declared with. Raises `Failed`."""
        function = self._registry(native.target)
        if function is not None:
            value = await _in_thread(native, function, args)
        else:
            async with self._room:
                value = await self._in_worker(native, args)
        found = problem(result, value)
        if found:
            raise Failed(
                "E0603",
                f"`{native.name}` gave a value that is not `{result}`: {found}",
                notes=(f"the function is {native.target}",),
            )
        return value

    async def _in_worker(self, native: NativeDecl, args: Sequence[Json]) -> Json:
        worker = self._idle.pop() if self._idle else await _Worker.start(self._folders)
        try:
            reply = await worker.call(native, args)
        except BaseException:
            worker.kill()  # cancelled, too late, or gone: nobody knows what it is doing
            self._killed.append(worker)
            raise
        self._idle.append(worker)
        if not reply["ok"]:
            raise _failed(native, reply)
        return reply["value"]

    async def close(self) -> None:
        """End the workers."""
        workers = self._idle + self._killed
        self._idle, self._killed = [], []
        for worker in workers:
            worker.kill()
        for worker in workers:
            await worker.ended()


async def _in_thread(
    native: NativeDecl, function: Callable[..., Any], args: Sequence[Json]
) -> Json:
    try:
        async with asyncio.timeout(native.timeout):
            value = await asyncio.to_thread(function, *args)
        return native_worker.plain_value(value)
    except TimeoutError:
        raise _too_late(native) from None
    except Exception as error:
        raise _raised(native, f"{type(error).__name__}: {error}", "") from None


class _Worker:
    """One worker process and the pipes to it. One call at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._loaded: set[str] = set()

    @classmethod
    async def start(cls, folders: Sequence[Path]) -> "_Worker":
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                native_worker.__file__,
                *map(str, folders),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for us, who then end it
            )
        )

    async def call(self, native: NativeDecl, args: Sequence[Json]) -> dict[str, Any]:
        """The worker's reply. Raises `Failed` when it is too late or the process is gone."""
        try:
            if native.target not in self._loaded:
                loaded = await self._load(native)
                if not loaded["ok"]:
                    return loaded
                self._loaded.add(native.target)
            async with asyncio.timeout(native.timeout):
                return await self._ask({"call": native.target, "args": list(args)})
        except TimeoutError:
            raise _too_late(native) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            code = await self._process.wait()
            raise Failed(
                "E0601",
                f"`{native.name}` ended its process (exit status {code})",
                notes=(f"the function is {native.target}",),
            ) from None

    async def _load(self, native: NativeDecl) -> dict[str, Any]:
        try:
            async with asyncio.timeout(IMPORT_TIMEOUT):
                return await self._ask({"load": native.target})
        except TimeoutError:
            raise Failed(
                "E0602", f"loading {native.target} takes more than {IMPORT_TIMEOUT:g} s"
            ) from None

    async def _ask(self, message: Json) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        raw = json.dumps(message).encode()
        stdin.write(len(raw).to_bytes(4, "big") + raw)
        await stdin.drain()
        length = int.from_bytes(await stdout.readexactly(4), "big")
        reply: dict[str, Any] = json.loads(await stdout.readexactly(length))
        return reply

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def ended(self) -> None:
        """Wait until the process and its pipes are gone."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.close()
        await stdout.read()
        await self._process.wait()


def _failed(native: NativeDecl, reply: dict[str, Any]) -> Failed:
    match reply["kind"]:
        case "missing":
            return Failed(
                "E0609",
                f"`{native.name}` cannot be loaded from {native.target}: {reply['error']}",
                help="put the module beside the program, or name its folder with --native-path",
            )
        case "type":
            return Failed("E0603", f"`{native.name}` gave no usable value: {reply['error']}")
    return _raised(native, reply["error"], reply["place"])


def _raised(native: NativeDecl, error: str, place: str) -> Failed:
    notes = (f"raised at {place}",) if place else ()
    return Failed("E0601", f"`{native.name}` raised {error}", notes=notes)


def _too_late(native: NativeDecl) -> Failed:
    return Failed(
        "E0602",
        f"`{native.name}` gave nothing within {native.timeout:g} s",
        help="give it more time with `@timeout(…)` on its `extern`",
    )
