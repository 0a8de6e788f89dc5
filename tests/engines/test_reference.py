"""The reference engine: its own tree of contexts, and the same words as the meaning of programs."""

import asyncio
from random import Random

import pytest
from fakes import finish

from parrotc.ir.hashvalue import value_ids
from parrotc.ir.tokenhash import next_hash
from parrotc.runtime.engines.protocol import (
    Constraint,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
)
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.engines.registry import open_engine


@pytest.mark.parametrize(
    "constraint",
    [
        None,
        Constraint(choices=("a", "b", "c")),
        Constraint(choices=("a", "b"), scored=True),
        Constraint(regex="[a-f]{3}"),
        Constraint(json_schema='{"type": "array", "items": {"type": "integer"}}'),
    ],
)
async def test_it_says_what_the_meaning_says(constraint: Constraint | None) -> None:
    engine = ReferenceEngine()
    rng = Random(2)
    wanted = constraint or Constraint()
    for key in range(10):
        ids = tuple(rng.randrange(258) for _ in range(30))
        await engine.fill(
            [
                FillRequest(10 * key + 1, None, ids[:12]),
                FillRequest(10 * key + 2, 10 * key + 1, ids[12:]),
            ]
        )
        sampling = Sampling(max_tokens=20, temperature=float(key > 5), key=key, stop=("un",))
        request = GenerateRequest(10 * key + 3, 10 * key + 2, sampling, constraint)
        found = await finish(engine, request)
        drawn = value_ids(
            next_hash(ids, key if key > 5 else 0),
            engine.tokenizer,
            max_tokens=20,
            stop=("un",),
            choices=wanted.choices,
            regex=wanted.regex,
            json_schema=wanted.json_schema,
            scored=wanted.scored,
        )
        assert (found.ids, found.text, found.kept, found.rest, found.reason, found.scores) == (
            drawn.ids, drawn.text, drawn.kept, drawn.rest, drawn.reason, drawn.scores,
        )  # fmt: skip


async def test_every_token_of_the_path_counts() -> None:
    engine = ReferenceEngine()
    texts = set()
    for n, (first, second) in enumerate(
        [((1, 2), (3,)), ((1,), (3,)), ((2, 1), (3,)), ((1, 2), ())]
    ):
        await engine.fill([FillRequest(3 * n, None, first), FillRequest(3 * n + 1, 3 * n, second)])
        texts.add((await finish(engine, GenerateRequest(3 * n + 2, 3 * n + 1, Sampling()))).text)
    assert len(texts) == 4


async def test_tokens_are_counted_once_and_given_back() -> None:
    engine = ReferenceEngine()
    await engine.fill(
        [FillRequest(1, None, (1, 2, 3)), FillRequest(2, 1, (4,)), FillRequest(3, 1, ())]
    )
    finished = await finish(engine, GenerateRequest(4, 2, Sampling(max_tokens=5)))
    await engine.free([1, 2])
    info = await engine.ping()
    assert (info.contexts, info.cached_tokens) == (2, 4 + finished.kept)
    await engine.free([4])
    assert (await engine.ping()).cached_tokens == 3
    await engine.free([3])
    info = await engine.ping()
    assert (info.contexts, info.cached_tokens, info.filled_tokens) == (0, 0, 4)


async def test_a_parent_freed_while_a_child_is_generated() -> None:
    engine = ReferenceEngine()
    await engine.fill([FillRequest(1, None, (1, 2, 3))])
    pieces = engine.generate(GenerateRequest(2, 1, Sampling()))
    assert isinstance(await anext(pieces), Piece)
    await engine.free([1])
    *_, finished = [item async for item in pieces]
    assert isinstance(finished, Finished)
    await engine.free([2])
    assert (await engine.ping()).cached_tokens == 0


async def test_misuse_is_refused_and_makes_nothing() -> None:
    engine = ReferenceEngine()
    await engine.fill([FillRequest(1, None, (1,))])
    with pytest.raises(EngineError, match="there is no context 9"):
        await engine.fill([FillRequest(2, 1, (2,)), FillRequest(3, 9, (3,))])
    with pytest.raises(EngineError, match="exists already"):
        await engine.fill([FillRequest(1, None, (2,))])
    with pytest.raises(EngineError, match="there is no context 2"):
        await engine.free([2])
    with pytest.raises(EngineError, match="tokens are more than"):
        await engine.fill([FillRequest(2, None, (1,) * 1_000_001)])
    with pytest.raises(EngineError) as caught:
        await finish(engine, GenerateRequest(2, 1, Sampling(), Constraint(regex="(?=a)")))
    assert caught.value.code == "constraint"
    assert (await engine.ping()).contexts == 1


async def test_latency_and_faults() -> None:
    rng = Random(1)
    engine = ReferenceEngine(latency=0.02, fault=lambda request: request.context == 2)
    started = asyncio.get_running_loop().time()
    await engine.fill([FillRequest(1, None, (1,))])
    assert asyncio.get_running_loop().time() - started >= 0.019
    with pytest.raises(EngineError) as caught:
        await engine.fill([FillRequest(2, 1, (rng.randrange(9),))])
    assert caught.value.code == "internal"


async def test_the_registry() -> None:
    assert (await open_engine("reference", "", threads=3).ping()).engine == "reference"
    with pytest.raises(ValueError, match="there is no engine `anthropic`"):
        open_engine("anthropic", "")
    with pytest.raises(ValueError, match="no engine has the settings thread"):
        open_engine("reference", "", thread=3)
