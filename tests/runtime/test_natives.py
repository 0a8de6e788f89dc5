"""Natives: every way a function can go wrong becomes one clear failure, and nothing stays."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from parrotc.ir.types import INT, STR, Enum, Field, ListOf, Member, Record, Type
from parrotc.runtime.errors import Failed
from parrotc.runtime.natives import Natives
from parrotc.runtime.plan import NativeDecl

HERE = Path(__file__).parent
DOC = Record("Doc", (Field("id", STR), Field("colour", Enum("Colour", (Member("RED"),)))))


def extern(name: str, timeout: float = 20.0, module: str = "externs") -> NativeDecl:
    return NativeDecl(name=name, target=f"{module}:{name}", result=0, timeout=timeout)


async def call(decl: NativeDecl, *args: object, result: Type = INT) -> object:
    natives = Natives([HERE], lambda target: None)
    try:
        return await natives.call(decl, result, args)
    finally:
        await natives.close()


@pytest.mark.parametrize("name", ["double", "slow_double"])
async def test_functions_run_in_a_worker(name: str) -> None:
    assert await call(extern(name), 21) == 42


async def test_dataclasses_and_enums_become_data() -> None:
    expected = [{"id": "d1", "colour": "RED"}]
    assert await call(extern("docs"), 1, result=ListOf(DOC)) == expected


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("raises", "E0601", "LookupError: nothing at 1"),
        ("dies", "E0601", "exit status 3"),
        ("wrong", "E0603", "a text where `int` was expected"),
        ("unusable", "E0603", "an instance of `object`, which is not plain data"),
        ("absent", "E0609", "has no attribute 'absent'"),
        ("number", "E0609", "is not a function"),
    ],
)
async def test_bad_functions(name: str, code: str, words: str) -> None:
    with pytest.raises(Failed, match=words) as caught:
        await call(extern(name), 1)
    assert caught.value.code == code


async def test_what_was_raised_is_shown_with_its_line() -> None:
    with pytest.raises(Failed) as caught:
        await call(extern("raises"), 1)
    assert "externs.py:" in caught.value.notes[0] and "in raises" in caught.value.notes[0]


async def test_a_missing_module() -> None:
    with pytest.raises(Failed, match="No module named 'nowhere'") as caught:
        await call(extern("f", module="nowhere"), 1)
    assert caught.value.code == "E0609"


async def test_a_function_that_hangs_is_killed_at_its_timeout() -> None:
    began = time.monotonic()
    with pytest.raises(Failed, match=r"within 0\.3 s") as caught:
        await call(extern("hangs", timeout=0.3), 1)
    assert caught.value.code == "E0602"
    assert time.monotonic() - began < 10


async def test_a_worker_is_used_again_also_after_an_exception() -> None:
    natives = Natives([HERE], lambda target: None)
    first = await natives.call(extern("pid"), INT, [0])
    with pytest.raises(Failed):
        await natives.call(extern("raises"), INT, [0])
    assert await natives.call(extern("pid"), INT, [0]) == first
    await natives.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(first), 0)  # type: ignore[call-overload]


async def test_no_more_workers_than_allowed() -> None:
    natives = Natives([HERE], lambda target: None, workers=2)
    pids = await asyncio.gather(*(natives.call(extern("pid"), INT, [0]) for _ in range(6)))
    assert len(set(pids)) <= 2
    await natives.close()


async def test_a_cancelled_call_ends_its_process() -> None:
    natives = Natives([HERE], lambda target: None)
    pid = await natives.call(extern("pid"), INT, [0])
    call = asyncio.create_task(natives.call(extern("hangs"), INT, [0]))
    await asyncio.sleep(0.2)
    call.cancel()
    await asyncio.wait((call,))
    await asyncio.sleep(0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)
    await natives.close()


async def test_registered_functions_run_here_and_are_checked_too() -> None:
    natives = Natives([], {"ours:pid": lambda n: os.getpid(), "ours:bad": lambda n: "x"}.get)
    assert await natives.call(extern("pid", module="ours"), INT, [0]) == os.getpid()
    with pytest.raises(Failed, match="a text where `int` was expected"):
        await natives.call(extern("bad", module="ours"), INT, [0])
    slow = Natives([], {"ours:slow": lambda n: time.sleep(1)}.get)
    with pytest.raises(Failed, match=r"within 0\.1 s"):
        await slow.call(extern("slow", timeout=0.1, module="ours"), INT, [0])
