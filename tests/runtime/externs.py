"""Functions for `extern` declarations in tests: good ones, and every kind of bad one."""

import asyncio
import os
import time
from dataclasses import dataclass
from enum import Enum


class Colour(Enum):
    RED = 1


@dataclass
class Doc:
    id: str
    colour: Colour


def double(n: int) -> int:
    print("this must not reach the pipe")
    return 2 * n


async def slow_double(n: int) -> int:
    await asyncio.sleep(0.01)
    return 2 * n


def raises(n: int) -> int:
    raise LookupError(f"nothing at {n}")


def picky(n: int) -> int:
    if n == 77:
        raise LookupError("not 77")
    return n


def hangs(n: int) -> int:
    time.sleep(60)
    return n


def dies(n: int) -> int:
    os._exit(3)


def wrong(n: int) -> int:
    return str(n)  # type: ignore[return-value]


def unusable(n: int) -> object:
    return object()


def docs(n: int) -> list[Doc]:
    return [Doc(f"d{n}", Colour.RED)]


def pid(n: int) -> int:
    return os.getpid()


number = 4
