"""Housekeeping of a server's process: in quiet moments, and not never."""

import asyncio
import gc
import sys
from weakref import ref

import pytest
from served import until

from parrotc.runtime.server import process
from parrotc.runtime.server.process import responsive


class Cycle:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOOK", 0.01)


def garbage() -> "ref[Cycle]":
    """Something in a cycle that nobody has any more, among more of its kind than are tolerated."""
    gone = ref(Cycle())
    for _ in range(process.SOME):
        Cycle()
    return gone


async def test_garbage_goes_in_a_quiet_moment() -> None:
    quiet = asyncio.Event()
    async with responsive(quiet.is_set):
        gone = garbage()
        await asyncio.sleep(0.1)
        assert gone() is not None, "nobody is held up while there is work"
        quiet.set()
        await until(lambda: gone() is None)


async def test_garbage_goes_even_if_it_is_never_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LATEST", 0.05)
    async with responsive(lambda: False):
        gone = garbage()
        await until(lambda: gone() is None)


async def test_a_little_is_not_searched_for() -> None:
    async with responsive(lambda: True):
        gone = ref(Cycle())
        await asyncio.sleep(0.1)
        assert gone() is not None


async def test_afterwards_all_is_as_it_was() -> None:
    before = sys.getswitchinterval(), gc.isenabled(), gc.get_freeze_count()
    with pytest.raises(ZeroDivisionError):
        async with responsive(lambda: True):
            assert sys.getswitchinterval() < before[0] and gc.get_freeze_count() > 0
            raise ZeroDivisionError
    assert (sys.getswitchinterval(), gc.isenabled(), gc.get_freeze_count()) == before
