"""What engines are compared on: prompts cut from a real text, as lists of segments.

A prompt is the join of its segments; prompts that begin with the same segments share them. Another
`take` gives other words in the same shape, so that no cache of an earlier run helps.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

TEXT = Path(__file__).parents[2] / "examples" / "data" / "kennedy_1962.txt"
Cut = Callable[[int], str]  # so many tokens of text, different each time


@dataclass(frozen=True)
class Workload:
    """`segments` of each prompt; every prompt is continued by exactly `new_tokens` tokens."""

    name: str
    prompts: tuple[tuple[str, ...], ...]
    new_tokens: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def workloads(
    encode: Callable[[str], list[int]], decode: Callable[[list[int]], str], take: int
) -> list[Workload]:
    cut = _cutter(encode(TEXT.read_text("utf-8")), decode, start=take * 613)
    shared = cut(1000)
    trunk = cut(1000)
    roles = [cut(500) for _ in range(8)]
    return [
        Workload("32 calls, 1,000 shared", tuple((shared, cut(24)) for _ in range(32)), 64),
        Workload(
            "8 roles x 8 calls, 1,000 + 500 shared",
            tuple((trunk, role, cut(24)) for role in roles for _ in range(8)),
            64,
        ),
        Workload("16 unrelated, 200 to 800", tuple((cut(200 + 40 * n),) for n in range(16)), 64),
        Workload("prefill of 2,000", ((cut(2000),),), 1),
        Workload("one call, 128 new", ((cut(64),),), 128),
    ]


def _cutter(ids: list[int], decode: Callable[[list[int]], str], start: int) -> Cut:
    """Pieces of the text, from `start` on and around; each begins with a number of its own."""
    numbers: Iterator[int] = count(start)
    at = start

    def cut(tokens: int) -> str:
        nonlocal at
        piece = [ids[(at + n) % len(ids)] for n in range(tokens - 4)]
        at += tokens
        return f"\n\n{next(numbers)}. {decode(piece)}"

    return cut
