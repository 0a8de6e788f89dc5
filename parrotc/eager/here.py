"""Functions of this process that natives may be, beside those that a worker imports by name.

Whoever offers one keeps it: it is found as long as it lives.
"""

from collections.abc import Callable
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

_MODULE = "<here>"
_NUMBERS = count(1)
_OFFERED: "WeakValueDictionary[str, Callable[..., Any]]" = WeakValueDictionary()


def offered(function: Callable[..., Any]) -> str:
    """The target of a native that is this function. It runs in a thread."""
    target = f"{_MODULE}:{next(_NUMBERS)}"
    _OFFERED[target] = function
    return target


def found_here(target: str) -> Callable[..., Any] | None:
    return _OFFERED.get(target)
