"""`@pfunc`, `@flow` and `@native`: what they make of a function when its file is loaded.

Nearly nothing, so that loading a file costs nothing: a flow is compiled when it is first called,
from the text of its file.
"""

import functools
import importlib
import inspect
import sys
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
    from parrotc.eager.library import Callee
    from parrotc.eager.variable import Var
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
    seed: int  # these two are of calls outside of a flow
    timeout: Seconds


class Compiled(Generic[P, R]):
    """A function that is compiled, not run. Calling it runs its flow, typed as it is declared."""

    def __init__(self, function: Callable[P, R]) -> None:
        self._function = function
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self._function.__name__}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result. Raises `CompileError`, and `RunError` when the flow fails.

        With a semantic variable among the inputs it is one too, as `start` gives it.
        """
        if holds_variable((args, kwargs)):
            return self._captured(args, kwargs)  # type: ignore[no-any-return]
        run: Callable[..., R] = self.compile()
        return run(*args, **kwargs)

    def start(self, *args: P.args, **kwargs: P.kwargs) -> "Var[R]":
        """The result as a semantic variable, at once: see `docs/python.md`, *Eager calls*."""
        return self._captured(args, kwargs)  # type: ignore[no-any-return]

    def _captured(self, args: Any, kwargs: Any) -> Any:
        """The call in the graph of this thread. Its place is that of the caller's caller."""
        from parrotc.eager.graph import current
        from parrotc.eager.place import Place

        return current().call(self.callee, args, kwargs, Place.of_caller(2))

    @functools.cached_property
    def callee(self) -> "Callee":
        """What a graph captures when this is called. Raises `CompileError`."""
        from parrotc.python.running import library

        return library(self._function).callee(self._function.__name__)

    def _repr_html_(self) -> str:
        """The flow as a notebook shows it, with its prompt if it is one; or why it cannot be
        compiled."""
        from parrotc.ir.diagnostic import CompileError
        from parrotc.notebook import picture_of, prompt_of, shown, table

        try:
            callee = self.callee
        except CompileError as error:
            return shown(str(error))
        module = callee.library.module
        rows = {"graph": picture_of(lambda: module, callee.name)}
        for function in module.functions:
            if function.name == callee.name:
                rows["prompt"] = prompt_of(module, function, {})
        return table(callee.name, rows)

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

        return handle(self._function, engine=engine, models=models, **settings)

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
        """Policies of one call: `f.with_(n=8)(x)`, which outside a flow only a `@pfunc` takes."""
        return self._with(policies)

    def _with(self, policies: dict[str, Any]) -> Callable[..., Any]:
        raise TypeError(f"`{self._function.__name__}.with_(…)` stands in a @flow, and only there")


class Pfunc(Compiled[P, R]):
    """A semantic function. Called outside a flow, it gives a semantic variable at once.

    Type checkers see what its value will be, as in the body of a flow; `start` is the same call,
    typed as the variable that it is.
    """

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._captured(args, kwargs)  # type: ignore[no-any-return]

    def _with(self, policies: dict[str, Any]) -> Callable[..., Any]:
        from parrotc.eager.graph import current
        from parrotc.eager.place import Place
        from parrotc.eager.policies import asked

        callee, terms = asked(self.callee, policies)

        def call(*args: Any, **kwargs: Any) -> Any:
            return current().call(callee, args, kwargs, Place.of_caller(1), terms=terms)

        return call


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
        if holds_variable((args, kwargs)):
            return _captured_native(function, args, kwargs)
        from parrotc.python.values import from_data

        hints = _hints(function)
        bound = inspect.signature(function).bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            bound.arguments[name] = from_data(hints.get(name), value)
        return function(*bound.args, **bound.kwargs)

    return call


def holds_variable(given: Any) -> bool:
    """Whether a semantic variable is among what is given; nothing is loaded to find out."""
    if "parrotc.eager.variable" not in sys.modules:
        return False  # nobody has made one
    from parrotc.eager.arguments import holds_variable as holds

    return holds(given)


def _captured_native(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The call in the graph of this thread, which runs it as a flow does."""
    from parrotc.eager.graph import current
    from parrotc.eager.place import Place
    from parrotc.python.running import library

    callee = library(function).callee(function.__name__)
    return current().call(callee, args, kwargs, Place.of_caller(2))


@functools.cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    import typing

    return typing.get_type_hints(function)


def _elsewhere(target: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that `target` names, imported at its first call."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if holds_variable((args, kwargs)):
            return _captured_native(function, args, kwargs)
        module, _, attribute = target.partition(":")
        found: Any = importlib.import_module(module)
        for name in attribute.split("."):
            found = getattr(found, name)
        return found(*args, **kwargs)

    return call
