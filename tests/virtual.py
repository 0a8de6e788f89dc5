"""Tests on virtual time: what waits for hours is done in moments."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from parrotc.runtime.engines.virtualtime import VirtualTimeLoop


def virtually(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test on a loop of its own, whose clock jumps."""

    @wraps(test)
    def run(*args: Any, **named: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **named))

    return run
