"""Thousands of random requests to a small engine, cancelled at any moment: no leak, no hang, and
each says what it says on a quiet day."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

torch = pytest.importorskip("torch")

from parrotc.runtime.engines.embedded.engine import EmbeddedEngine, open_embedded  # noqa: E402
from parrotc.runtime.engines.protocol import (  # noqa: E402
    Constraint,
    FillRequest,
    Finished,
    GenerateRequest,
    Sampling,
)

IDS = 300  # tokens that prompts are made of
QUIET = {"max_total_tokens": 20_000}
BUSY = {
    "max_total_tokens": 192,
    "max_batch_size": 12,
    "max_num_batched_tokens": 48,
    "fill_chunk_size": 24,
}
CONSTRAINTS = (
    None, None, None,
    Constraint(regex="[a-z]{2,6}"),
    Constraint(choices=("yes", "no", "maybe")),
    Constraint(choices=("yes", "no", "maybe"), scored=True),
)  # fmt: skip


class Client:
    """Does `most` requests in lives of a few contexts each, by the draws of one generator.

    What is asked depends on the seed alone, and so does the answer; what is cancelled does not
    change what others are told.
    """

    def __init__(self, engine: EmbeddedEngine, seed: int, most: int, names: Callable[[], int]):
        self.engine = engine
        self.rng = Random(seed)
        self.left = most
        self.new = names
        self.said: list[Finished] = []

    async def live(self) -> None:
        while self.left > 0:
            root = await self.fill(None, 0)
            children = [await self.fill(*root) for _ in range(self.rng.randrange(3))]
            for context, length in (root, *children):
                for _ in range(self.rng.randrange(3)):
                    await self.talk(context, length)
            order = [root, *children]
            self.rng.shuffle(order)
            await self.free(*(context for context, _ in order))

    async def fill(self, parent: int | None, length: int) -> tuple[int, int]:
        """A context below `parent`, and its length. Few different prompts, so that some meet."""
        kind = Random(self.rng.randrange(6))
        ids = tuple(kind.randrange(IDS) for _ in range(kind.randrange(1, 60)))
        self.left -= 1
        context = self.new()
        await self.engine.fill([FillRequest(context, parent, ids)])
        return context, length + len(ids)

    async def talk(self, parent: int, length: int) -> None:
        rng = self.rng
        sampling = Sampling(
            max_tokens=rng.randrange(1, 30),
            temperature=rng.choice([0.0, 0.0, 1.0]),
            key=rng.randrange(100),
            repetition_penalty=rng.choice([1.0, 1.2]),
        )
        context, constraint = self.new(), rng.choice(CONSTRAINTS)
        cut = rng.randrange(6) if rng.random() < 0.3 else None
        request = GenerateRequest(
            context, parent, sampling, constraint, rng.random(), rng.random() < 0.1
        )
        self.left -= 1
        items = self.engine.generate(request)
        if cut is not None:
            for _ in range(cut):
                if isinstance(await anext(items), Finished):
                    break
            else:
                await items.aclose()
                return
            await self.free(context)
            return
        async for item in items:
            if isinstance(item, Finished):
                scores = tuple((text, round(p, 9)) for text, p in item.scores)
                self.said.append(replace(item, scores=scores))
        await self.free(context)

    async def free(self, *contexts: int) -> None:
        self.left -= 1
        await self.engine.free(contexts)


async def outcomes(folder: Path, requests: int, limits, *, together: bool) -> list[list[Finished]]:
    """What all clients are told, at the same time or one after the other."""
    engine = open_embedded(str(folder), precision="float64", threads=1, **limits)
    last = 0

    def names() -> int:
        nonlocal last
        last += 1
        return last

    clients = [Client(engine, seed, requests // 20, names) for seed in range(20)]
    if together:
        await asyncio.gather(*(client.live() for client in clients))
    else:
        for client in clients:
            await client.live()
    info = await engine.ping()
    assert (info.contexts, info.cached_tokens, info.running, info.queued) == (0, 0, 0, 0)
    counters = info.counters
    assert counters["free_blocks"] + counters["cached_blocks"] == counters["blocks"]
    if together:
        assert counters["preemptions"] and counters["evictions"] and counters["prefix_hit_tokens"]
    await engine.close()
    return [client.said for client in clients]


async def check(folder: Path, requests: int) -> None:
    quiet = await outcomes(folder, requests, QUIET, together=False)
    busy = await outcomes(folder, requests, BUSY, together=True)
    assert busy == quiet
    assert sum(map(len, quiet)) > requests / 8


async def test_random_requests(tiny_folder: Path) -> None:
    await asyncio.wait_for(check(tiny_folder, 300), 300)


@pytest.mark.oracle
async def test_ten_thousand_random_requests(tiny_folder: Path) -> None:
    await asyncio.wait_for(check(tiny_folder, 10_000), 3600)
