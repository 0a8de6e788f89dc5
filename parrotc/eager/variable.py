"""A semantic variable as a Python program has it: a value that will be there.

note = digest("A boat left the harbour.")     # at once; nothing runs yet
note.state                                    # waiting
both = merge([note, other])                   # it may be given to other calls
note.get()                                    # all that was captured runs; the text
"""

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from html import escape
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from parrotc.eager.cell import State, is_failed
from parrotc.eager.fields import field_names, field_type, type_at
from parrotc.ir.types import Json, Str, Type
from parrotc.notebook import Rich, shown, table
from parrotc.runtime.errors import Failed, Failure, RunError, RunTimeout

if TYPE_CHECKING:
    from parrotc.eager.node import Node

T = TypeVar("T")


class Var(Rich, Generic[T]):
    """The outputs of a call that has several are attributes, and it can be unpacked.

    It is no plain value: using it as one is a `TypeError`, as it would have to wait in silence.
    """

    def __init__(self, node: "Node", fields: tuple[str, ...] = (), whole: Any = None) -> None:
        self._node = node
        self._fields = fields
        self._cell, self._way = node.cell_of(fields)
        self._whole = whole  # the variable that this is a part of stays wanted
        self._type: Type = type_at(node.type, fields)
        if not fields:
            node.hold(self)

    # --- what it is ---

    @property
    def name(self) -> str:
        """The function that gives it, or the name that an input was given."""
        return ".".join((self._node.name, *self._fields))

    @property
    def state(self) -> State:
        """`waiting`, `running`, `ready` or `failed`."""
        return self._cell.state

    @property
    def is_ready(self) -> bool:
        return self.state is State.READY

    def __repr__(self) -> str:
        return f"<variable {self.name}: {self._type}, {self.state}>"

    def _html(self) -> str:
        rows = {"type": escape(str(self._type)), "state": escape(str(self.state))}
        if self._cell.outcome.done():
            outcome = self._cell.outcome.result()
            if is_failed(outcome):
                rows["error"] = shown(str(_error(outcome)))
            else:
                rows["value"] = shown(self._data(outcome))
        return table(self.name, rows | self._node.rows())

    # --- its value ---

    def get(self, criteria: str | None = None, *, timeout: float | None = None) -> T:
        """The value, when it is there; what was captured so far runs.

        `criteria` is `latency` or `throughput`. Raises `RunError` with the first cause and the
        call where it began, `CompileError`, and `RunTimeout` after `timeout` seconds, or those of
        the setting `max_wait`.
        """
        limit = self._wanted(criteria, timeout)
        try:
            outcome = self._cell.outcome.result(limit)
        except TimeoutError:
            raise self._late(limit) from None
        return self._value(outcome)

    async def aget(self, criteria: str | None = None, *, timeout: float | None = None) -> T:
        """The same in an `async def`. Cancelling it cancels no work that others wait for."""
        limit = self._wanted(criteria, timeout)
        coming = asyncio.wrap_future(self._cell.outcome)
        try:
            outcome = await asyncio.wait_for(asyncio.shield(coming), limit)
        except TimeoutError:
            raise self._late(limit) from None
        return self._value(outcome)

    def __await__(self) -> Any:
        return self.aget().__await__()

    def set(self, value: T) -> None:
        """The value of an input made by `parrotc.variable`. Raises `RunError` for a wrong type,
        `RuntimeError` for what has a value, or gets it from a call."""
        self._node.graph.set(self._node, value)

    def stream(self, *, timeout: float | None = None) -> Iterator[str]:
        """The text as it is generated; all of it at once where it is made in another way.

        `timeout` is what the next piece may take, in seconds. Raises as `get` does.
        """
        self._require_text()
        pieces = queue.SimpleQueue[str | None]()
        limit = self._wanted(None, timeout)
        self._cell.watch(pieces.put)
        told = ""
        try:
            while (piece := pieces.get(timeout=limit)) is not None:
                told += piece
                yield piece
        except queue.Empty:
            raise self._late(limit) from None
        finally:
            self._cell.ignore(pieces.put)
        yield from self._untold(told)

    async def astream(self, *, timeout: float | None = None) -> AsyncIterator[str]:
        """The same in an `async def`."""
        self._require_text()
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[str | None]()

        def tell(piece: str | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        limit = self._wanted(None, timeout)
        self._cell.watch(tell)
        told = ""
        try:
            while (piece := await asyncio.wait_for(pieces.get(), limit)) is not None:
                told += piece
                yield piece
        except TimeoutError:
            raise self._late(limit) from None
        finally:
            self._cell.ignore(tell)
        for piece in self._untold(told):
            yield piece

    def cancel(self) -> None:
        """Nobody wants the value any more: what only it needs stops, and what reads it fails."""
        self._node.graph.cancel(self._node)

    # --- its parts ---

    def __getattr__(self, name: str) -> "Var[Any]":
        if name.startswith("_"):
            raise AttributeError(name)
        if field_type(self._type, name) is not None:
            return Var(self._node, (*self._fields, name), self._whole or self)
        raise AttributeError(
            f"the variable `{self.name}` has no attribute `{name}`;"
            " its value, which `.get()` gives, may have one"
        )

    def __getitem__(self, name: object) -> "Var[Any]":
        if isinstance(name, str) and field_type(self._type, name) is not None:
            return Var(self._node, (*self._fields, name), self._whole or self)
        self._misused("indexed")

    def __iter__(self) -> "Iterator[Var[Any]]":
        names = field_names(self._type)
        if names is None:
            self._misused("iterated over")
        return (self[name] for name in names)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(field_names(self._type) or ())]

    # --- what it is not ---

    def _misused(self, how: str, *_: object) -> NoReturn:
        raise TypeError(
            f"the variable `{self.name}` is {how} before it has a value:"
            " `.get()` waits for it and gives it"
        )

    def __eq__(self, other: object) -> bool:
        return self is other or self._misused("compared")

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        self._misused("used as true or false")

    def __len__(self) -> int:
        self._misused("measured")

    def __format__(self, spec: str) -> str:
        self._misused("put into a text")

    def __contains__(self, item: object) -> bool:
        self._misused("searched")

    def _order(self, other: object) -> bool:
        self._misused("compared")

    __lt__ = __le__ = __gt__ = __ge__ = _order

    def _compute(self, other: object = None) -> Any:
        self._misused("computed with")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _compute
    __truediv__ = __rtruediv__ = __mod__ = __rmod__ = __neg__ = _compute
    __int__ = __float__ = __index__ = _compute

    # --- helpers ---

    def _wanted(self, criteria: str | None, timeout: float | None) -> float:
        """Have what was captured run; for how many seconds somebody waits for it."""
        graph = self._node.graph
        graph.want(self._node, criteria, can_wait=timeout is not None)
        return graph.service.settings.max_wait if timeout is None else timeout

    def _value(self, outcome: Any) -> T:
        if is_failed(outcome):
            raise _error(outcome)
        built: T = self._node.types.build(self._type, self._data(outcome))
        return built

    def _data(self, outcome: Json) -> Json:
        for name in self._way:
            outcome = outcome[name]
        return outcome

    def _late(self, timeout: float) -> RunTimeout:
        failed = Failed("E0612", f"`{self.name}` has no value after {timeout:g} s")
        place = self._node.place
        return RunTimeout(failed.at(place.span() if place else None))

    def _require_text(self) -> None:
        if not isinstance(self._type, Str):
            raise TypeError(f"the variable `{self.name}` is no text, and only a text is streamed")

    def _untold(self, told: str) -> Iterator[str]:
        value = str(self._value(self._cell.outcome.result()))
        if value != told:
            yield value.removeprefix(told)


def _error(outcome: Any) -> Exception:
    if isinstance(outcome, Failure):
        is_late = outcome.diagnostic.code == "E0612"
        return RunTimeout(outcome) if is_late else RunError(outcome)
    assert isinstance(outcome, Exception)
    return outcome
