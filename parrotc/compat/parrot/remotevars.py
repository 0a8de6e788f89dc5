"""Semantic variables of a core, as this process has them."""

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NoReturn

from parrotc.compat.parrot.core import Core
from parrotc.runtime.errors import Failed, RunError, RunTimeout

VARIABLE = "/v1/semantic_var"


class RemoteVariable:
    """A variable of a core. `taken` gives its id, when the core has named it; `filling`, if it is
    there, is done when this process has set it. `sources` are what it is made from."""

    def __init__(
        self,
        core: Core,
        taken: "Future[str]",
        sources: "Sequence[RemoteVariable]" = (),
    ) -> None:
        self._core = core
        self.taken = taken
        self.filling: Future[None] | None = None
        self._sources = tuple(sources)
        self._value: str | None = None

    @property
    def var_id(self) -> str:
        return self.taken.result()

    @property
    def is_ready(self) -> bool:
        return self._value is not None or bool(self._core.result(self._is_ready()))

    def get(self, criteria: str | None = None, *, timeout: float | None = None) -> str:
        return str(self._core.result(self.value(criteria, timeout)))

    async def aget(self, criteria: str | None = None, *, timeout: float | None = None) -> str:
        work = self._core.start(self.value(criteria, timeout))
        return str(await asyncio.wrap_future(work))

    def set(self, value: Any) -> None:
        self._core.result(self.fill(str(value)))

    def stream(self, *, timeout: float | None = None) -> Iterator[str]:
        """The text as it is generated. `timeout` is what the next piece may take, in seconds."""
        pieces = queue.SimpleQueue[str | None]()
        work = self._core.start(self._heard(pieces.put))
        work.add_done_callback(lambda _: pieces.put(None))
        try:
            while (piece := pieces.get(timeout=timeout)) is not None:
                yield piece
            work.result()
        except queue.Empty:
            raise _late(timeout) from None
        finally:
            work.cancel()

    async def astream(self, *, timeout: float | None = None) -> AsyncIterator[str]:
        """The same in an `async def`."""
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[str | None]()

        def tell(piece: str | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        work = self._core.start(self._heard(tell))
        work.add_done_callback(lambda _: tell(None))
        try:
            while (piece := await asyncio.wait_for(pieces.get(), timeout)) is not None:
                yield piece
            await asyncio.wrap_future(work)
        except TimeoutError:
            raise _late(timeout) from None
        finally:
            work.cancel()

    # on the event loop of the core

    async def fill(self, value: str) -> None:
        name = await known(self.taken)
        await self._core.ask("POST", f"{VARIABLE}/{name}", {"content": value})

    async def value(self, criteria: str | None = None, timeout: float | None = None) -> str:
        """What the core gives. Raises the first cause, also where that lies in this process."""
        if self._value is None:
            try:
                name = await known(self.taken)
                body = {"criteria": criteria, "timeout": timeout}
                asked = {name: value for name, value in body.items() if value is not None}
                answer = await self._core.ask("GET", f"{VARIABLE}/{name}", asked)
            except RunError as error:
                raise self._failed() or error from None
            self._keep(answer["content"])
        assert self._value is not None
        return self._value

    async def _heard(self, tell: Callable[[str], None]) -> None:
        """Tell what comes of the text, each part of it once. Raises as `value` does."""
        told = text = ""
        try:
            path = f"{VARIABLE}/{await known(self.taken)}"
            async for event, said in self._core.listen(path, {}):
                match event:
                    case "value":
                        text = said["content"]
                        self._keep(text)
                    case "restart":
                        text = said["text"]
                    case "text":
                        text += said["text"]
                if text.startswith(told) and text != told:
                    tell(text[len(told) :])
                    told = text
        except RunError as error:
            raise self._failed() or error from None
        if told != text:
            message = "the engine began the text anew, and it is another one"
            raise RunError(Failed("E0608", message, help="`get` gives the new one").at(None))

    def _keep(self, value: str) -> None:
        self._value, self._sources = value, ()

    def _failed(self) -> BaseException | None:
        """What kept this process from setting it, or what it is made from."""
        if self.filling is not None and self.filling.done():
            return self.filling.exception()
        found = (source._failed() for source in self._sources)
        return next((error for error in found if error is not None), None)

    async def _is_ready(self) -> bool:
        name = await known(self.taken)
        listed = await self._core.ask("GET", VARIABLE, {})
        return any(one["var_id"] == name and one["state"] == "ready" for one in listed["vars"])


class RemoteDraws:
    """A list of texts, each drawn after the same prompt by a call of its own."""

    def __init__(self, core: Core, draws: Sequence[RemoteVariable]) -> None:
        self._core = core
        self.draws = tuple(draws)

    @property
    def is_ready(self) -> bool:
        return all(draw.is_ready for draw in self.draws)

    def get(self, criteria: str | None = None, *, timeout: float | None = None) -> list[str]:
        given: list[str] = self._core.result(self.value(criteria, timeout))
        return given

    async def aget(self, criteria: str | None = None, *, timeout: float | None = None) -> list[str]:
        work = self._core.start(self.value(criteria, timeout))
        given: list[str] = await asyncio.wrap_future(work)
        return given

    def set(self, value: Any) -> NoReturn:
        raise RuntimeError("a list of draws gets its value from a call")

    def stream(self, *, timeout: float | None = None) -> NoReturn:
        raise TypeError("several draws are no text, and only a text is streamed")

    astream = stream

    async def value(self, criteria: str | None = None, timeout: float | None = None) -> list[str]:
        """Those that the core gives, on its event loop. Raises the first cause."""
        return list(await asyncio.gather(*(one.value(criteria, timeout) for one in self.draws)))


async def known(taken: "Future[str]") -> str:
    """The id of a variable, when the core has named it."""
    return await asyncio.shield(asyncio.wrap_future(taken))


def _late(timeout: float | None) -> RunTimeout:
    return RunTimeout(Failed("E0612", f"no piece of the text came in {timeout:g} s").at(None))
