"""Where calls go: the virtual machine whose scope is open here.

A scope holds for the code that is run in it and the tasks and threads that it starts, if they copy
the context as `asyncio` does. For other threads the scope that was opened last counts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parrotc.compat.parrot.machine import Scope

_HERE: "ContextVar[Scope | None]" = ContextVar("parrot", default=None)
_OPEN: "list[Scope]" = []
_LOCK = Lock()


def current() -> "Scope":
    """The scope that calls go to. Raises `RuntimeError` where there is none."""
    here = _HERE.get()
    if here is not None:
        return here
    with _LOCK:
        if _OPEN:
            return _OPEN[-1]
    raise RuntimeError(
        "no virtual machine runs here: call it from a program that `vm.run(…)` runs, or after"
        " `vm.set_global_env()`"
    )


@contextmanager
def entered(scope: "Scope") -> "Iterator[Scope]":
    token = _HERE.set(scope)
    enter(scope)
    try:
        yield scope
    finally:
        leave(scope)
        _HERE.reset(token)


def enter(scope: "Scope") -> None:
    """Make it the one of threads that have none."""
    with _LOCK:
        _OPEN.append(scope)


def leave(scope: "Scope") -> None:
    with _LOCK:
        if scope in _OPEN:
            _OPEN.remove(scope)
