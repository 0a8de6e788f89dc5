"""`@pfunc`, `@flow` and `@native`: what they make of a function when its file is loaded.

Nearly nothing, so that loading a file costs nothing: a flow is compiled when it is first called,
from the text of its file.
"""

import functools
import importlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    ParamSpec,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

if TYPE_CHECKING:
    from parrotc.flowhandle import FlowHandle
    from parrotc.python.words import Model

P = ParamSpec("P")
R = TypeVar("R")
Seconds = float | str  # or a text with a unit: "300ms", "2s", "5m", "1h"


class Policies(TypedDict, total=False):
    """How results are to be served: the keywords of `@pfunc`, `@flow` and `with_`."""

    criteria: Literal["latency", "throughput"]
    ttft: Seconds
    tpot: Seconds
    model: "Model"
    deadline: Seconds
    retry: int
    cache: Seconds


class CallPolicies(Policies, total=False):
    """What only one call can be asked for."""

    handover: Literal["text", "tokens"]


class Compiled(Generic[P, R]):
    """A function that is compiled, not run. Calling it runs its flow, typed as it is declared."""

    _alone = False

    def __init__(self, function: Callable[P, R]) -> None:
        self._function = function
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self._function.__name__}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result. Raises `CompileError`, and `RunError` when the flow fails."""
        run: Callable[..., R] = self.compile()
        return run(*args, **kwargs)

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same in an `async def`. Cancelling it cancels the run."""
        run: Callable[..., Awaitable[R]] = self.compile().acall
        return await run(*args, **kwargs)

    def stream(self, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Any]:
        """The text of the result as it is generated; one typed result if it is not such a text."""
        run: Callable[..., AsyncIterator[Any]] = self.compile().stream
        return run(*args, **kwargs)

    def compile(
        self, *, engine: str | None = None, models: dict[str, str] | None = None, **settings: Any
    ) -> "FlowHandle":
        """The compiled flow. `engine` and `models` replace the models that the file declares.

        Settings are those of `parrotc.settings`. Raises `CompileError`.
        """
        from parrotc.python.running import handle

        return handle(self._function, alone=self._alone, engine=engine, models=models, **settings)

    @overload
    def with_(
        self, *, n: int, on_error: None, **policies: Unpack[CallPolicies]
    ) -> Callable[P, list[R] | None]: ...
    @overload
    def with_(self, *, n: int, **policies: Unpack[CallPolicies]) -> Callable[P, list[R]]: ...
    @overload
    def with_(
        self, *, on_error: None, **policies: Unpack[CallPolicies]
    ) -> Callable[P, R | None]: ...
    @overload
    def with_(self, **policies: Unpack[CallPolicies]) -> Callable[P, R]: ...
    def with_(self, **policies: Any) -> Callable[P, Any]:
        """Policies of one call: `f.with_(n=8)(x)`, in the body of a `@flow` and only there."""
        raise TypeError(f"`{self._function.__name__}.with_(…)` stands in a @flow, and only there")


class Pfunc(Compiled[P, R]):
    """A semantic function. Called by itself, it is a flow of one call."""

    _alone = True


class Flow(Compiled[P, R]):
    """A flow."""


@overload
def pfunc(function: Callable[P, R], /) -> Pfunc[P, R]: ...
@overload
def pfunc(**policies: Unpack[Policies]) -> Callable[[Callable[P, R]], Pfunc[P, R]]: ...
def pfunc(function: Any = None, /, **policies: Any) -> Any:
    """A prompt with holes. Its body is read by the compiler: see `docs/python.md`."""
    return Pfunc if function is None else Pfunc(function)


@overload
def flow(function: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(**policies: Unpack[Policies]) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
def flow(function: Any = None, /, **policies: Any) -> Any:
    """How calls feed each other. Its body is read by the compiler: see `docs/python.md`."""
    return Flow if function is None else Flow(function)


@overload
def native(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def native(
    target: str = ..., /, *, pure: bool = ..., idempotent: bool = ..., timeout: float | str = ...
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def native(
    given: Any = None,
    /,
    *,
    pure: bool = False,
    idempotent: bool = False,
    timeout: float | str = 60.0,
) -> Any:
    """A Python function that flows may call. It runs in a process of its own, on plain data.

    `@native("module:name")` on a function without a body stands for that one. `pure`: equal
    arguments give equal results; `idempotent`: it may run again; `timeout`: in seconds.
    """
    if callable(given):
        return _typed(given)
    return _typed if given is None else functools.partial(_elsewhere, given)


def _typed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, given instances of the classes it is annotated with instead of plain data."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        from parrotc.python.values import from_data

        hints = _hints(function)
        bound = inspect.signature(function).bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            bound.arguments[name] = from_data(hints.get(name), value)
        return function(*bound.args, **bound.kwargs)

    return call


@functools.cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    import typing

    return typing.get_type_hints(function)


def _elsewhere(target: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that `target` names, imported at its first call."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        module, _, attribute = target.partition(":")
        found: Any = importlib.import_module(module)
        for name in attribute.split("."):
            found = getattr(found, name)
        return found(*args, **kwargs)

    return call
