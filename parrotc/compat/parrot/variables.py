"""A semantic variable in Parrot's words: a text that will be there.

Its value comes from whatever it is bound to: a call that gives it, in a graph of this process or
in a core, or `set`.
"""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any, Protocol

from parrotc.compat.parrot.sampling import PerformanceCriteria

_NUMBERS = count(1)
_LATENCY = PerformanceCriteria.LATENCY


class Held(Protocol):
    """What a variable is bound to: a `Var` of a graph, or a variable of a core."""

    @property
    def is_ready(self) -> bool: ...

    def get(self, criteria: str | None = None, *, timeout: float | None = None) -> Any: ...

    async def aget(self, criteria: str | None = None, *, timeout: float | None = None) -> Any: ...

    def set(self, value: Any) -> None: ...

    def stream(self, *, timeout: float | None = None) -> Iterator[str]: ...

    def astream(self, *, timeout: float | None = None) -> AsyncIterator[str]: ...


class SemanticVariable:
    """`name` is what it was called, `id` tells it from others. What is given to a function as a
    text is one too, but nobody sees it."""

    def __init__(self, name: str | None = None, content: Any = None) -> None:
        self._number = next(_NUMBERS)
        self.name = name or f"v{self._number}"
        self._given = content if content is None or isinstance(content, list) else str(content)
        self._held: Held | None = None
        self._is_promised = False  # by a call of a batch that is not submitted

    # --- what programs use ---

    @property
    def id(self) -> int | str:
        """A number; of a variable of a core, the name that the core has given it."""
        return getattr(self._held, "var_id", None) or self._number

    @property
    def is_ready(self) -> bool:
        """Whether `get` gives the value without waiting."""
        if self._held is not None:
            return self._held.is_ready
        return self._given is not None

    @property
    def content(self) -> Any:
        """The value, None as long as there is none."""
        return self.get() if self.is_ready else None

    def get(self, criteria: PerformanceCriteria = _LATENCY, *, timeout: float | None = None) -> Any:
        """The value, when it is there; what it needs runs.

        Raises what kept it from being there, and `RunTimeout` after `timeout` seconds.
        """
        held = self._source()
        return self._given if held is None else held.get(_goal(criteria), timeout=timeout)

    async def aget(
        self, criteria: PerformanceCriteria = _LATENCY, *, timeout: float | None = None
    ) -> Any:
        """The same in an `async def`."""
        held = self._source()
        return self._given if held is None else await held.aget(_goal(criteria), timeout=timeout)

    def stream(self, *, timeout: float | None = None) -> Iterator[str]:
        """The text as it is generated; all of it at once where it is made in another way.

        `timeout` is what the next piece may take, in seconds. Raises as `get` does.
        """
        held = self._source()
        return iter([str(self._given)]) if held is None else held.stream(timeout=timeout)

    async def astream(self, *, timeout: float | None = None) -> AsyncIterator[str]:
        """The same in an `async def`."""
        held = self._source()
        if held is None:
            yield str(self._given)
            return
        async for piece in held.astream(timeout=timeout):
            yield piece

    def set(self, content: Any) -> None:
        """Give it its value, once. Raises `RuntimeError` for one that has one, or gets it from a
        call."""
        if self._held is not None:
            self._held.set(content if isinstance(content, list) else str(content))
        elif self._given is not None or self._is_promised:
            what = "is set already" if self._given is not None else "gets its value from a call"
            raise RuntimeError(f"the variable `{self.name}` {what}")
        else:
            self._given = content if isinstance(content, list) else str(content)

    def __repr__(self) -> str:
        state = f"content={self.content!r}" if self.is_ready else "not ready"
        return f"<variable {self.name} ({self.id}): {state}>"

    # --- what it is bound to ---

    @property
    def given(self) -> Any:
        """What it was set to before anything was bound to it."""
        return self._given

    @property
    def held(self) -> Held | None:
        return self._held

    def promise(self) -> None:
        """A call of a batch will give it. Raises `RuntimeError` where something else does."""
        if self._is_promised:
            raise RuntimeError(f"the variable `{self.name}` gets its value from another call")
        self._is_promised = True

    def bind(self, held: Held) -> None:
        """From here on this says what the value is."""
        self._held, self._is_promised = held, False

    def _source(self) -> Held | None:
        if self._held is None and self._given is None:
            from parrotc.compat.parrot.environment import current

            if self._is_promised:
                raise RuntimeError(
                    f"`{self.name}` comes from a call of a batch: `await vm.submit_batch()` first"
                )
            self._held = current().backend.input(self)
        return self._held


def variable(name: str | None = None, content: Any = None) -> SemanticVariable:
    """A variable that is set now to `content`, later by `set`, or by the call that it is given to
    as an output."""
    return SemanticVariable(name, content)


def _goal(criteria: PerformanceCriteria) -> str:
    return PerformanceCriteria(criteria).goal
