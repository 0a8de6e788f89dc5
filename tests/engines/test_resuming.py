"""A generation goes on in one engine where another had to leave it, and ends as it would have."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import finish

pytest.importorskip("torch")

from parrotc.runtime.engines.protocol import (
    Constraint,
    Engine,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Sampling,
)
from parrotc.runtime.engines.registry import open_engine

PROMPT = tuple(range(40, 61))
SAMPLINGS = [
    Sampling(max_tokens=9),
    Sampling(max_tokens=9, temperature=0.8, key=5, top_p=0.9),
    Sampling(max_tokens=9, temperature=1.3, key=6, top_k=20, repetition_penalty=1.5),
    Sampling(max_tokens=9, presence_penalty=5.0, frequency_penalty=2.0),
    Sampling(max_tokens=9, min_tokens=5, ignore_eos=True, stop=("a", "e", "s", "t")),
]
CONSTRAINTS = [
    None,
    Constraint(choices=("yes", "no", "perhaps")),
    Constraint(regex="[a-f]{4}"),
    Constraint(json_schema='{"type": "array", "items": {"type": "boolean"}, "maxItems": 2}'),
]


@pytest.fixture(params=["embedded", "transformers", "reference", "simulated"])
async def engine(request, tiny_folder: Path) -> AsyncIterator[Engine]:
    if request.param == "transformers":
        pytest.importorskip("transformers")
    opened = open_engine(request.param, str(tiny_folder), precision="float64", threads=1)
    yield opened
    await opened.close()


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=["free", "choices", "regex", "schema"])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "drawn", "hot", "new", "stopped"])
async def test_what_follows_is_the_same(engine, sampling, constraint) -> None:
    """After each number of tokens: draws, penalties, the grammar and stop texts go on."""
    await engine.fill([FillRequest(1, None, PROMPT)])
    request = GenerateRequest(2, 1, sampling, constraint)
    whole = await finish(engine, request)
    for said in range(1, len(whole.ids)):
        resumed = replace(request, context=10 + said, said=whole.ids[:said])
        assert await finish(engine, resumed) == whole
        await _goes_on(engine, 10 + said, whole)


async def _goes_on(engine: Engine, context: int, whole: Finished) -> None:
    """The context after it holds the same tokens."""
    names = (1000 + context, 2000 + context, 3000 + context)
    await engine.fill([FillRequest(names[0], 1, whole.ids[: whole.kept])])
    ends = [
        await finish(engine, GenerateRequest(name, parent, Sampling(max_tokens=3)))
        for name, parent in ((names[1], context), (names[2], names[0]))
    ]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("engine", ["embedded", "transformers"], indirect=True)
async def test_where_nothing_can_go_on(engine) -> None:
    await engine.fill([FillRequest(1, None, PROMPT)])
    for said, sampling in (
        ((50, 51), Sampling(max_tokens=2)),
        ((50,), Sampling(max_tokens=9, logprobs=0)),
        ((99_999,), Sampling(max_tokens=9)),
    ):
        with pytest.raises(EngineError) as caught:
            await finish(engine, GenerateRequest(2, 1, sampling, said=said))
        assert caught.value.code == "invalid"
    assert (await engine.ping()).contexts == 1


@pytest.mark.parametrize("engine", ["reference", "simulated"], indirect=True)
async def test_the_model_of_tests_knows_what_it_says(engine) -> None:
    """So it notices when a call goes on with tokens of another one."""
    await engine.fill([FillRequest(1, None, PROMPT)])
    with pytest.raises(EngineError, match="does not say what was said"):
        await finish(engine, GenerateRequest(2, 1, Sampling(), said=(1, 2, 3)))
