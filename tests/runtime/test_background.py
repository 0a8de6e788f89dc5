"""The loop behind a program: Ctrl-C in a call that waits stops the work it waits for."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from parrotc.background import Background


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Ctrl-C raises, also where whoever started the tests has it ignored (`nohup`, `&`)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupted_call_cancels_its_work() -> None:
    background = Background()
    ended = threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        background.result(work())
    assert ended.wait(5)
    assert time.monotonic() - began < 20


def test_stopping_cancels_what_runs_and_then_does_the_last_thing() -> None:
    background = Background()
    done: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            done.append("cancelled")

    async def last() -> None:
        done.append("last")

    future = background.start(work())
    background.result(asyncio.sleep(0.01))
    background.stop(last)
    assert future.cancelled()
    assert done == ["cancelled", "last"]
