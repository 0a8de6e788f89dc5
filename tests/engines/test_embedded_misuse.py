"""What is asked wrongly of the embedded engine is refused in words, and ends nothing else."""

import asyncio
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from driven import PROMPT, Driver  # noqa: E402
from tinyllama import CONTEXT  # noqa: E402

from parrotc.runtime.engines.embedded.engine import (  # noqa: E402
    open_embedded,
)
from parrotc.runtime.engines.protocol import (  # noqa: E402
    Constraint,
    EngineError,
    FillRequest,
)
from parrotc.runtime.engines.registry import open_engine  # noqa: E402


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (FillRequest(1, 77, (1,)), "unknown_context"),
        (FillRequest(1, None, (99_999,)), "invalid"),
        (FillRequest(1, None, (1,) * (CONTEXT + 1)), "context_length"),
    ],
)
async def test_a_bad_fill_makes_nothing(tiny: Driver, request_: FillRequest, code: str) -> None:
    with pytest.raises(EngineError) as caught:
        await tiny.engine.fill([FillRequest(50, None, (1, 2)), FillRequest(51, 50, (3,)), request_])
    assert caught.value.code == code
    assert await tiny.is_empty()


@pytest.mark.parametrize(
    "constraint",
    [
        Constraint(regex="(?!a)b"),
        Constraint(regex="(a"),
        Constraint(json_schema='{"type": "no such type"}'),
        Constraint(json_schema="{"),
        Constraint(),
    ],
)
async def test_a_bad_constraint_ends_that_generation_only(
    tiny: Driver, constraint: Constraint
) -> None:
    context = await tiny.fill(PROMPT)
    results = await asyncio.gather(
        tiny.run(context, max_tokens=5),
        tiny.run(context, constraint),
        tiny.run(context, max_tokens=5),
        return_exceptions=True,
    )
    assert isinstance(results[1], EngineError) and results[1].code == "constraint"
    assert results[0][1] == results[2][1]


async def test_what_can_never_fit_into_memory_is_refused_at_once(tiny_folder: Path) -> None:
    engine = open_embedded(str(tiny_folder), precision="float64", threads=1, max_total_tokens=64)
    small = Driver(engine)
    context = await small.fill(PROMPT)
    for work in (
        small.fill(range(65)),
        small.fill(range(25), context),
        small.run(context, max_tokens=25),
    ):
        with pytest.raises(EngineError, match="room for 64") as caught:
            await work
        assert caught.value.code == "capacity"
    _, finished = await small.run(context, max_tokens=24)
    assert len(finished.ids) == 24
    await small.fill(range(100, 164))  # it takes the place of the others, and nobody is told
    _, again = await small.run(context, max_tokens=24)
    assert again == finished
    await engine.close()


async def test_bad_generations_are_refused(tiny: Driver) -> None:
    empty = await tiny.fill([])
    for parent, code in ((404, "unknown_context"), (empty, "invalid")):
        with pytest.raises(EngineError) as caught:
            await tiny.run(parent)
        assert caught.value.code == code
    context = await tiny.fill(PROMPT)
    with pytest.raises(EngineError):
        await tiny.run(context, max_tokens=0)
    with pytest.raises(EngineError):
        await tiny.engine.free([404])


async def test_an_iteration_that_fails_is_told_to_all_and_survived(
    tiny: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = await tiny.fill(PROMPT)
    _, before = await tiny.run(context, max_tokens=3)

    def fail(_: object) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(tiny.engine._scheduler._runner, "run", fail)
    results = await asyncio.gather(
        tiny.run(context, max_tokens=5), tiny.fill([1, 2], context), return_exceptions=True
    )
    assert {type(one) for one in results} == {EngineError}
    monkeypatch.undo()
    _, after = await tiny.run(context, max_tokens=3)
    assert after == before
    assert (await tiny.engine.ping()).running == 0


async def test_closing_ends_what_goes_on(tiny: Driver) -> None:
    context = await tiny.fill(PROMPT)
    going = asyncio.ensure_future(tiny.run(context, max_tokens=200))
    await asyncio.sleep(0.02)
    await tiny.engine.close()
    with pytest.raises(EngineError) as caught:
        await going
    assert caught.value.code == "cancelled"
    with pytest.raises(EngineError):
        await tiny.engine.ping()


def test_an_unknown_precision() -> None:
    with pytest.raises(ValueError, match="no precision `float3`"):
        open_engine("embedded", "x", precision="float3")
