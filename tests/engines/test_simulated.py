"""The simulated engine: what it says, how long it takes, and that time is virtual."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from fakes import StrictEngine

from parrotc.runtime.engines.protocol import (
    Constraint,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Hurrying,
    Piece,
    Sampling,
)
from parrotc.runtime.engines.registry import open_engine
from parrotc.runtime.engines.simulated import CostModel, Limits, SimulatedEngine
from parrotc.runtime.engines.virtualtime import VirtualTimeLoop
from parrotc.runtime.tokenizer import ByteTokenizer

T = TypeVar("T")
COST = CostModel(step=1.0, fill=0.01, row=0.1, read=0.0)


def virtually(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


async def say(engine: Any, request: GenerateRequest) -> tuple[list[Piece], Finished]:
    *pieces, finished = [item async for item in engine.generate(request)]
    assert isinstance(finished, Finished)
    return pieces, finished


def now() -> float:
    return asyncio.get_running_loop().time()


def test_hours_pass_in_moments() -> None:
    async def work() -> float:
        await asyncio.sleep(5 * 3600)
        return now()

    began = time.monotonic()
    assert virtually(work()) == pytest.approx(5 * 3600)
    assert time.monotonic() - began < 1


def test_timers_run_in_order_and_what_is_ready_first() -> None:
    async def work() -> list[tuple[str, float]]:
        log: list[tuple[str, float]] = []

        async def wait(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            log.append((name, now()))

        await asyncio.gather(wait("b", 2.0), wait("a", 1.0), wait("c", 2.0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.sleep(20)
        log.append(("late", now()))
        return log

    found = virtually(work())
    assert [name for name, _ in found] == ["a", "b", "c", "late"]
    assert [at for _, at in found] == pytest.approx([1.0, 2.0, 2.0, 12.0])


@pytest.mark.parametrize(
    "constraint",
    [None, Constraint(choices=("yes", "no"), scored=True), Constraint(regex="[0-9]{3}")],
)
def test_it_says_what_the_reference_model_says(constraint: Constraint | None) -> None:
    async def work(engine: Any) -> list[Any]:
        await engine.fill([FillRequest(1, None, (1, 2, 3)), FillRequest(2, 1, (4,))])
        said = []
        for number, stop in enumerate(((), ("\n",), ("e",))):
            sampling = Sampling(max_tokens=30, stop=stop, temperature=0.5, key=number)
            pieces, finished = await say(
                engine, GenerateRequest(10 + number, 2, sampling, constraint)
            )
            assert "".join(piece.text for piece in pieces) == finished.text
            ids = tuple(token for piece in pieces for token in piece.ids)
            assert ids in ((), finished.ids[: finished.kept])
            said.append(finished)
        return said

    simulated = virtually(work(SimulatedEngine(cost=COST)))
    assert simulated == asyncio.run(work(StrictEngine(ByteTokenizer())))


def test_an_iteration_takes_what_the_cost_model_says() -> None:
    async def work() -> list[float]:
        engine = SimulatedEngine(cost=COST, limits=Limits(chunk=100), length=10)
        await engine.fill([FillRequest(1, None, (7,) * 150)])  # in two chunks
        times = [now()]
        await say(engine, GenerateRequest(2, 1, Sampling()))
        times.append(now())
        await asyncio.gather(*(say(engine, GenerateRequest(n, 1, Sampling())) for n in range(3, 7)))
        times.append(now())
        return times

    filled, one, four = virtually(work())
    assert filled == pytest.approx(2 * 1.0 + 1.5)
    assert one - filled == pytest.approx(10 * (1.0 + 0.1))
    assert four - one == pytest.approx(10 * (1.0 + 4 * 0.1))  # one batch


def test_early_fills_take_what_others_leave() -> None:
    async def work(hurry: bool) -> tuple[float, float]:
        limits = Limits(chunk=100, early=10)
        engine = SimulatedEngine(cost=COST, limits=limits, length=20)
        assert isinstance(engine, Hurrying)
        await engine.fill([FillRequest(1, None, (7,))])
        began = now()
        saying = asyncio.ensure_future(say(engine, GenerateRequest(2, 1, Sampling())))
        await asyncio.sleep(0.5)
        early = asyncio.ensure_future(engine.fill([FillRequest(3, 1, (8,) * 100, early=True)]))
        await asyncio.sleep(0)
        if hurry:
            await engine.hurry([3, 99])
        await early
        filled = now() - began
        await saying
        return filled, now() - began

    filled, said = virtually(work(hurry=False))
    assert filled == pytest.approx(1.1 + 10 * (1.1 + 0.1))  # ten tokens an iteration
    assert said == pytest.approx(20 * 1.1 + 1.0)
    filled, said = virtually(work(hurry=True))
    assert filled == pytest.approx(1.1 + 1.1 + 1.0)  # all of them in the next
    assert said == pytest.approx(20 * 1.1 + 1.0)


def test_an_idle_engine_fills_early_at_full_speed() -> None:
    async def work() -> float:
        engine = SimulatedEngine(cost=COST, limits=Limits(chunk=100, early=10))
        await engine.fill([FillRequest(1, None, (7,) * 100, early=True)])
        return now()

    assert virtually(work()) == pytest.approx(1.0 + 1.0)


def test_what_is_dropped_leaves_no_tokens_and_does_not_hang() -> None:
    async def work() -> None:
        engine = SimulatedEngine(cost=COST, length=50)
        await engine.fill([FillRequest(1, None, (7,) * 20)])
        saying = asyncio.ensure_future(say(engine, GenerateRequest(2, 1, Sampling())))
        filling = asyncio.ensure_future(engine.fill([FillRequest(3, 1, (8,) * 600)]))
        await asyncio.sleep(3)
        saying.cancel()
        await asyncio.sleep(0)
        await engine.free([1, 3])
        await filling
        info = await engine.ping()
        assert (info.contexts, info.cached_tokens, info.running) == (0, 0, 0)
        with pytest.raises(EngineError, match="no context"):
            await engine.free([1])

    virtually(work())


def test_what_cannot_be_is_refused() -> None:
    async def work() -> list[str]:
        engine = SimulatedEngine(ByteTokenizer(context_length=50), limits=Limits(tokens=60))
        codes = []
        for request in (
            FillRequest(1, None, (7,) * 51),
            FillRequest(1, 9, (7,)),
            FillRequest(1, None, (7,) * 40),
            FillRequest(1, None, (7,)),
            FillRequest(2, None, (7,) * 40),
        ):
            try:
                await engine.fill([request])
                codes.append("")
            except EngineError as error:
                codes.append(error.code)
        saying = asyncio.ensure_future(say(engine, GenerateRequest(5, 1, Sampling())))
        await asyncio.sleep(0)
        await engine.close()
        with pytest.raises(EngineError, match="closed"):
            await saying
        return codes

    refused = ["context_length", "unknown_context", "", "invalid", "capacity"]
    assert virtually(work()) == refused


def test_the_registry_opens_it() -> None:
    engine = open_engine("simulated", "", cost=COST, length=5, threads=2)
    assert isinstance(engine, SimulatedEngine)


def test_attention_reads_what_rows_share_once_or_for_each_of_them() -> None:
    """What all rows of an iteration continue is read once in any case."""

    async def work(reads_once: bool) -> float:
        cost = CostModel(step=0.0, fill=0.0, row=0.0, read=1.0)
        engine = SimulatedEngine(cost=cost, length=1, reads_once=reads_once)
        shared, left, right = ((token,) * 10 for token in range(3))
        await engine.fill([FillRequest(1, None, shared), FillRequest(2, 1, left)])
        await engine.fill(
            [FillRequest(3, 1, right), FillRequest(4, 3, (9,)), FillRequest(5, 3, ())]
        )
        began = now()
        rows = (GenerateRequest(-parent, parent, Sampling(max_tokens=1)) for parent in (2, 4, 5))
        await asyncio.gather(*(say(engine, row) for row in rows))
        return now() - began

    assert virtually(work(True)) == 10 + 10 + 10 + 1
    assert virtually(work(False)) == 10 + 10 + 2 * 10 + 1


def test_a_text_comes_as_it_is_said() -> None:
    async def work() -> tuple[list[Piece], Finished]:
        engine = SimulatedEngine(length=40)
        await engine.fill([FillRequest(1, None, (1, 2, 3))])
        return await say(engine, GenerateRequest(2, 1, Sampling(max_tokens=40)))

    pieces, finished = virtually(work())
    assert "".join(piece.text for piece in pieces) == finished.text
    assert len(pieces) == len(finished.text) > 10, "one for each character, as it is whole"
    assert sum((piece.ids for piece in pieces), ()) == finished.ids[: finished.kept]


def test_what_was_said_is_read_and_takes_room() -> None:
    async def work() -> None:
        cost = CostModel(step=0.0, fill=0.0, row=0.0, read=1.0)
        engine = SimulatedEngine(cost=cost, limits=Limits(tokens=20), length=3)
        await engine.fill([FillRequest(1, None, (7,) * 10)])
        began = now()
        saying = asyncio.create_task(say(engine, GenerateRequest(2, 1, Sampling(max_tokens=3))))
        await asyncio.sleep(22)  # in the third of its iterations
        with pytest.raises(EngineError, match="no room"):
            await engine.fill([FillRequest(3, None, (8,) * 9)])
        await saying
        assert now() - began == 10 + 11 + 12

    virtually(work())
