"""A conversation whose context lives across calls: each turn fills only what is new.

    with Chat(system="You are brief.") as chat:
        chat.say("Who wrote Faust?")               # a text
        for piece in chat.stream("When?"): ...
        chat.ask(rate, scale=5)                    # a @pfunc, whose messages become part of it
        other = chat.fork()                        # goes on by itself from here

One turn at a time writes; they go in the order in which they were begun. `read` asks without
leaving a trace, and any number of these may go on at once. A turn that fails, late or cancelled
ones too, leaves the chat as it was before.
"""

import asyncio
import json
import queue
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Self

from parrotc.eager.arguments import Argument, bound
from parrotc.eager.exchange import built, data_of, model_of, speaking
from parrotc.eager.library import Callee
from parrotc.eager.place import Place
from parrotc.eager.service import Service, service_for
from parrotc.eager.talk import Talk, function_of
from parrotc.ir.tokenhash import draw_key
from parrotc.notebook import Rich, shown, table
from parrotc.python.words import Model as PythonModel
from parrotc.runtime.errors import Failed, Failure, RunError, RunTimeout
from parrotc.runtime.trace import Counters, Trace
from parrotc.runtime.turns import State


class _Reader:
    """Who reads an answer while it is generated: `tell` takes its pieces and then None, and `heard`
    is set when all was taken."""

    def __init__(self, tell: Callable[[str | None], None]) -> None:
        self.tell = tell
        self.heard: Future[None] = Future()


class Chat(Rich):
    """A conversation on one model. Close it, or use it in a `with`, to give its context back.

    `model` is one of `parrotc.model`; `engine`, `models` and settings are those of
    `parrotc.compile`.
    """

    def __init__(
        self,
        system: str | None = None,
        *,
        model: PythonModel | None = None,
        engine: str | None = None,
        models: Mapping[str, str] | None = None,
        service: Service | None = None,
        **settings: Any,
    ) -> None:
        service = service or service_for(engine, models, **settings)
        self._begin(Talk(service, model_of(model), system))

    def _begin(self, talk: Talk, state: State | None = None, turns: int = 0) -> None:
        self._talk = talk
        self._state = state or talk.first
        self._turns = turns
        self._writing = asyncio.Lock()
        self._counters = Counters()
        self._is_closed = False

    # --- turns ---

    def say(self, text: str, *, timeout: float | None = None, **sampling: Any) -> str:
        """The model's answer to a message. `sampling` is that of a `{{gen}}`: `max_tokens`, …

        Raises `RunError`, `CompileError`, and `RunTimeout` after `timeout` seconds, or those of
        the setting `max_wait`.
        """
        said: str = self._wait(self._say(text, sampling, timeout))
        return said

    async def asay(self, text: str, *, timeout: float | None = None, **sampling: Any) -> str:
        """The same in an `async def`. Cancelling it leaves the chat as it was."""
        said: str = await self._awaited(self._say(text, sampling, timeout))
        return said

    def stream(self, text: str, *, timeout: float | None = None, **sampling: Any) -> Iterator[str]:
        """The answer as it is generated. Not read to its end, it is no turn of the chat."""
        pieces = queue.SimpleQueue[str | None]()
        reader = _Reader(pieces.put)
        work = self._talk.service.start(self._say(text, sampling, timeout, reader))
        work.add_done_callback(lambda _: pieces.put(None))
        told = ""
        try:
            while (piece := pieces.get()) is not None:
                told += piece
                yield piece
            reader.heard.set_result(None)
            yield from _untold(told, work.result())
        finally:
            work.cancel()

    async def astream(
        self, text: str, *, timeout: float | None = None, **sampling: Any
    ) -> AsyncIterator[str]:
        """The same in an `async def`."""
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[str | None]()

        def tell(piece: str | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        reader = _Reader(tell)
        work = self._talk.service.start(self._say(text, sampling, timeout, reader))
        work.add_done_callback(lambda _: tell(None))
        told = ""
        try:
            while (piece := await pieces.get()) is not None:
                told += piece
                yield piece
            reader.heard.set_result(None)
            for piece in _untold(told, await asyncio.wrap_future(work)):
                yield piece
        finally:
            work.cancel()

    def ask(self, function: Any, /, *args: Any, timeout: float | None = None, **inputs: Any) -> Any:
        """What a `@pfunc` gives when its messages go on from here, and become part of the chat."""
        return self._wait(self._asked(function, args, inputs, timeout, keep=True))

    async def aask(
        self, function: Any, /, *args: Any, timeout: float | None = None, **inputs: Any
    ) -> Any:
        """The same in an `async def`."""
        return await self._awaited(self._asked(function, args, inputs, timeout, keep=True))

    def read(
        self, function: Any, /, *args: Any, timeout: float | None = None, **inputs: Any
    ) -> Any:
        """What a `@pfunc` gives from here, leaving the chat as it is. Any number may go on."""
        return self._wait(self._asked(function, args, inputs, timeout, keep=False))

    async def aread(
        self, function: Any, /, *args: Any, timeout: float | None = None, **inputs: Any
    ) -> Any:
        """The same in an `async def`."""
        return await self._awaited(self._asked(function, args, inputs, timeout, keep=False))

    def begin(self, callee: Callee, place: Place, /, **inputs: Any) -> Future[Any]:
        """The turn of `ask`, begun at once: what it gives will be in the future."""
        arguments = bound(callee, (), inputs, place)
        work = self._turn(callee, arguments, place, None, keep=True)
        return self._talk.service.start(work)

    def fork(self) -> "Chat":
        """A chat of its own that goes on from here; what both have in common stays shared."""
        self._require_open()
        state, turns = self._wait(self._snapshot())
        other = object.__new__(Chat)
        other._begin(self._talk, state, turns)
        return other

    # --- what it is ---

    @property
    def history(self) -> list[dict[str, str]]:
        """The messages so far, each with its `role` and its `text`."""
        return [{"role": role, "text": text} for role, text in self._state.texts()]

    @property
    def tokens(self) -> int:
        """How many tokens of the conversation the engine holds; about how many the messages have
        on a text endpoint, which does not say."""
        return self._state.tokens

    @property
    def filled_tokens(self) -> int:
        """How many tokens the engine has had to fill for it so far, those of its forks too; on a
        text endpoint, what that says of its cache."""
        return self._talk.filled

    @property
    def counters(self) -> Counters:
        """Totals of all turns so far."""
        return self._counters.copy()

    def __repr__(self) -> str:
        return f"<chat of {self._turns} turns, {self.tokens} tokens>"

    def _html(self) -> str:
        said = enumerate(self.history, 1)
        rows = {f"{number} {one['role']}": shown(one["text"]) for number, one in said}
        return table(f"chat of {self.tokens} tokens", rows)

    def close(self) -> None:
        """Give the context back. A turn that is going on ends, and counts no more."""
        if not self._is_closed:
            self._is_closed = True
            self._talk.service.soon(self._drop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_is_closed", True) is False:
            self.close()

    # --- how a turn runs ---

    def _say(
        self,
        text: str,
        sampling: Mapping[str, Any],
        timeout: float | None,
        reader: "_Reader | None" = None,
    ) -> Coroutine[Any, Any, Any]:
        callee = speaking(json.dumps(sampling, sort_keys=True)).callee("say")
        place = Place.of_caller(2)
        arguments = bound(callee, (text,), {}, place)
        return self._turn(callee, arguments, place, timeout, keep=True, reader=reader)

    def _asked(
        self,
        function: Any,
        args: tuple[Any, ...],
        inputs: Mapping[str, Any],
        timeout: float | None,
        *,
        keep: bool,
    ) -> Coroutine[Any, Any, Any]:
        callee = function if isinstance(function, Callee) else getattr(function, "callee", None)
        if not isinstance(callee, Callee):
            raise TypeError(f"a turn of a chat is a @pfunc, not {function!r}")
        function_of(callee)
        place = Place.of_caller(2)
        arguments = bound(callee, args, inputs, place)
        return self._turn(callee, arguments, place, timeout, keep=keep)

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        future = self._talk.service.start(work)
        try:
            return future.result()
        finally:
            future.cancel()

    async def _awaited(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.wrap_future(self._talk.service.start(work))

    # on the event loop of the engines

    async def _turn(
        self,
        callee: Callee,
        arguments: tuple[Argument, ...],
        place: Place,
        timeout: float | None,
        *,
        keep: bool,
        reader: "_Reader | None" = None,
    ) -> Any:
        timeout = self._talk.service.settings.max_wait if timeout is None else timeout
        try:
            async with asyncio.timeout(timeout):
                if not keep:
                    return await self._run(callee, arguments, keep=False)
                async with self._writing:
                    return await self._run(callee, arguments, keep=True, reader=reader)
        except TimeoutError:
            failed = Failed("E0612", f"the turn `{callee.name}` is not done after {timeout:g} s")
            raise RunTimeout(failed.at(place.span())) from None
        except RunError as error:
            raise RunError(place.explained(Failure(error.diagnostic))) from None

    async def _run(
        self,
        callee: Callee,
        arguments: tuple[Argument, ...],
        *,
        keep: bool,
        reader: "_Reader | None" = None,
    ) -> Any:
        params = [(param.value.name, param.default) for param in callee.flow.params]
        pairs = zip(params, arguments, strict=True)
        inputs = {name: await data_of(arg, default) for (name, default), arg in pairs}
        self._require_open()
        state, seed = self._state.take(), self._talk.service.settings.seed
        trace = Trace()
        try:
            given, then = await self._talk.turn(
                state,
                callee,
                inputs,
                seed=draw_key(seed, "turn", (self._turns,)) if self._turns else seed,
                sink=reader.tell if reader else None,
                trace=trace,
            )
        finally:
            state.drop()
            self._counters.add(trace.counters)
        if reader is not None:
            await self._read(reader, then)
        if keep and not self._is_closed:
            self._state, then = then, self._state
            self._turns += 1
        then.drop()
        return built(callee, given)

    async def _read(self, reader: "_Reader", then: State) -> None:
        """Wait until all was read: an answer that nobody reads to its end is no turn."""
        reader.tell(None)
        try:
            await asyncio.shield(asyncio.wrap_future(reader.heard))
        except BaseException:
            then.drop()
            raise

    async def _snapshot(self) -> tuple[State, int]:
        return self._state.take(), self._turns

    def _drop(self) -> None:
        state, self._state = self._state, State()
        state.drop()

    def _require_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("the chat is closed")


def _untold(told: str, said: str) -> Iterator[str]:
    if said != told:
        yield said.removeprefix(told)
