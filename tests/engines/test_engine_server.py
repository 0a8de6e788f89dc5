"""An engine behind HTTP is the engine: the same tokens, and nothing is left of who goes away."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from fakes import finish
from served import Gated, is_empty, rests, served, until

from parrotc.runtime.engines.protocol import (
    Constraint,
    Engine,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
)
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.engines.registry import open_engine

CONSTRAINTS = [
    None,
    Constraint(choices=("one", "two", "three")),
    Constraint(choices=("yes", "no"), scored=True),
    Constraint(regex="[a-f]{3}"),
    Constraint(json_schema='{"type": "object", "properties": {"n": {"type": "integer"}}}'),
]


@pytest.fixture(params=["reference", "embedded"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    if request.param == "reference":
        yield ReferenceEngine()
        return
    folder: Path = request.getfixturevalue("tiny_folder")
    tiny = open_engine("embedded", str(folder), threads=1)
    yield tiny
    await tiny.close()


# --- the same tokens ---


async def test_what_is_said_over_http_is_what_is_said_in_process(engine: Engine) -> None:
    async with served(engine) as one:
        remote = await one.remote()
        fills = [FillRequest(1, None, tuple(range(20, 50))), FillRequest(2, 1, (60, 61))]
        asked = [
            GenerateRequest(10 + n, 2, Sampling(max_tokens=12, temperature=t, key=n), constraint)
            for n, (constraint, t) in enumerate((c, t) for c in CONSTRAINTS for t in (0.0, 0.9))
        ]
        said = []
        for here in (remote, engine):
            await here.fill(fills)
            said.append([await finish(here, request) for request in asked])
            await here.free([1, 2, *(request.context for request in asked)])
        for there, here in zip(*said, strict=True):
            assert replace(there, scores=()) == replace(here, scores=())
            assert [text for text, _ in there.scores] == [text for text, _ in here.scores]
            # batches differ, and so do roundings
            assert [p for _, p in there.scores] == pytest.approx(
                [p for _, p in here.scores], rel=1e-3
            )
        assert await is_empty(engine)
        assert remote.tokenizer.fingerprint == engine.tokenizer.fingerprint
        await remote.close()


async def test_a_hundred_generations_at_once(engine: Engine) -> None:
    async with served(engine) as one:
        remote = await one.remote()
        rng = Random(4)
        prompts = [
            tuple(rng.randrange(20, 250) for _ in range(rng.randrange(1, 9))) for _ in range(100)
        ]

        async def run(here: Engine, n: int) -> Finished:
            await here.fill([FillRequest(2 * n + 2, 1, prompts[n])])
            request = GenerateRequest(
                2 * n + 3, 2 * n + 2, Sampling(max_tokens=1 + n % 9, stop=(" I",))
            )
            finished = await finish(here, request)
            await here.free([2 * n + 2, 2 * n + 3])
            return finished

        said = []
        for here in (remote, engine):
            await here.fill([FillRequest(1, None, tuple(range(30, 60)))])
            said.append(await asyncio.gather(*(run(here, n) for n in range(100))))
            await here.free([1])
        assert said[0] == said[1]
        assert await is_empty(engine)
        await remote.close()


async def test_the_tokenizer_comes_along(tiny_folder: Path) -> None:
    engine = open_engine("embedded", str(tiny_folder), threads=1)
    async with served(engine) as one:
        remote = await one.remote()
        here, there = engine.tokenizer, remote.tokenizer
        for text in ("naïve café, 日本語", "<|im_end|> don't", " \n\n\tx"):
            assert there.encode(text) == here.encode(text)
            assert there.stable_prefix(text) == here.stable_prefix(text)
        assert (there.specials, there.eos, there.bos, there.vocab_size, there.context_length) == (
            here.specials, here.eos, here.bos, here.vocab_size, here.context_length,
        )  # fmt: skip
        await remote.close()
    await engine.close()


async def test_the_registry_opens_it() -> None:
    async with served() as one:
        for kind in ("remote", "http"):
            remote = await asyncio.to_thread(open_engine, kind, one.url, timeout=9.0)
            assert (await remote.ping()).engine == "reference"
            await remote.close()


# --- streams, and clients that go away ---


async def test_pieces_come_while_the_rest_is_not_there() -> None:
    engine = Gated()
    async with served(engine) as one:
        remote = await one.remote()
        await remote.fill([FillRequest(1, None, (5, 6, 8))])
        items = remote.generate(GenerateRequest(2, 1, Sampling(max_tokens=40)))
        first = await asyncio.wait_for(anext(items), 2)
        assert isinstance(first, Piece) and not engine.gate.is_set()
        engine.gate.set()
        *rest, finished = [item async for item in items]
        assert isinstance(finished, Finished)
        assert len(rest) > 1 and finished.text == "".join(p.text for p in [first, *rest])
        await remote.close()


async def test_closing_the_iterator_cancels(engine: Engine) -> None:
    async with served(engine) as one:
        remote = await one.remote()
        await remote.fill([FillRequest(1, None, (5, 6, 8))])
        for n in range(20):
            items = remote.generate(GenerateRequest(2 + n, 1, Sampling(max_tokens=150)))
            async for _ in items:
                break
            await items.aclose()
        await until(lambda: rests(one, 1))
        await remote.free([1])
        assert await is_empty(engine)
        await remote.close()


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/generate", {"context": 2, "parent": 1, "sampling": {}}),
        ("/generate_stream", {"context": 2, "parent": 1, "sampling": {}}),
        (
            "/batch",
            [
                {"fill": {"context": 3, "parent": 1, "ids": [4]}},
                {"generate": {"context": 2, "parent": 3, "sampling": {}}},
            ],
        ),
    ],
)
async def test_a_client_that_goes_away_leaves_nothing(path: str, asked: object) -> None:
    engine = Gated()
    async with served(engine, beat=0.05) as one:
        await one.post("/fill", {"context": 1, "ids": [1, 2]})
        asking = asyncio.create_task(one.post(path, asked))
        await until(lambda: engine.open == 1)
        asking.cancel()
        await until(lambda: engine.open == 0)
        await until(lambda: rests(one, 1))
        engine.gate.set()
        status, _ = await one.post("/generate", {"context": 2, "parent": 1, "sampling": {}})
        assert status == 200, "the name can be used again"


async def test_a_fill_nobody_waits_for_leaves_nothing() -> None:
    engine = Gated()
    engine.fills.clear()
    async with served(engine) as one:
        remote = await one.remote()
        for asked, fill in enumerate(
            (
                remote.fill([FillRequest(1, None, (5,))]),
                one.post("/fill", {"context": 1, "text": "a"}),
            ),
            start=1,
        ):
            filling = asyncio.create_task(fill)
            await until(lambda asked=asked: engine.asked == asked)
            filling.cancel()
        await asyncio.sleep(0.2)  # the server has to hear that the plain client has gone
        engine.fills.set()
        await until(lambda: _has_filled(engine, 2))
        await until(lambda: rests(one, 0))
        await remote.close()


async def _has_filled(engine: Engine, tokens: int) -> bool:
    return (await engine.ping()).filled_tokens == tokens


async def test_cancel_from_another_connection() -> None:
    engine = Gated()
    async with served(engine, beat=0.05) as one:
        await one.post("/fill", {"context": 1, "text": "ab"})
        asking = asyncio.create_task(
            one.post("/generate_stream", {"context": 2, "parent": 1, "sampling": {}})
        )
        await until(lambda: engine.open == 1)
        assert await one.post("/cancel", [2, 7]) == (200, {})
        status, events = await asking
        assert (status, events[-1]["error"]["code"]) == (200, "cancelled")
        assert await one.post("/cancel", {"contexts": [1]}) == (200, {})
        assert await one.contexts() == 0


async def test_random_clients_with_cancellations_leave_nothing(engine: Engine) -> None:
    """Each context that a client believes it has is there, and what it frees is gone."""
    rng = Random(11)
    async with served(engine) as one:

        async def live(name: int) -> None:
            remote = await one.remote()
            own = [1]
            await remote.fill([FillRequest(1, None, tuple(range(20, 40)))])
            for context in range(2, 26):
                parent = rng.choice(own)
                match rng.randrange(4):
                    case 0:
                        await remote.fill([FillRequest(context, parent, (40 + context,))])
                        own.append(context)
                    case 1:
                        request = GenerateRequest(context, parent, Sampling(max_tokens=6))
                        await finish(remote, request)
                        own.append(context)
                    case 2:
                        items = remote.generate(GenerateRequest(context, parent, Sampling()))
                        for _ in range(rng.randrange(3)):
                            await anext(items, None)
                        await items.aclose()
                    case 3 if len(own) > 1:
                        own.remove(parent)
                        await remote.free([parent])
            if name % 2:
                await remote.free(own)
            await remote.close()

        await asyncio.gather(*map(live, range(6)))
        await until(lambda: is_empty(engine))
