"""A program in this process runs on a core: its calls are scheduled and computed again as there."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import pytest
from faulty import FaultyEngine, dies, fails, hangs, once
from virtual import virtually

import parrotc
from parrotc.driver import compile_source
from parrotc.engines import Engines
from parrotc.ir.source import Source
from parrotc.program import LoadedProgram, counting
from parrotc.runtime.core.engines import Opened
from parrotc.runtime.core.program import Manner
from parrotc.runtime.engines.protocol import EngineError, GenerateRequest
from parrotc.runtime.errors import RunError
from parrotc.runtime.natives import Natives
from parrotc.runtime.trace import Event, Trace
from parrotc.settings import Settings
from parrotc.targets import ModelOverrides

TEXT = """
pfunc say(text: str) -> str:
    system "You repeat what you are told, in other words and at some length."
    user "{{text}}"
    assistant "{{gen max_tokens=40}}"

flow one(text: str) -> str:
    return say(text)

flow many(texts: list[str]) -> list[str]:
    return [say(text) for text in texts]
"""
TEXTS = [f"text {number}" for number in range(6)]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FaultyEngine:
    """The engine of every program of the test."""
    engine = FaultyEngine()
    monkeypatch.setattr("parrotc.engines.open_model", lambda *_: engine)
    return engine


@pytest.fixture
def program(engine: FaultyEngine) -> Iterator[LoadedProgram]:
    with parrotc.compile(TEXT, engine="reference") as program:
        yield program
    assert engine.closed == 1


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    """What a quiet engine says to each text."""
    with parrotc.compile(TEXT, engine="reference") as program:
        return dict(zip(TEXTS, program.many(TEXTS), strict=True))


def join(program: LoadedProgram, engine: FaultyEngine) -> None:
    """Let a second engine serve the program's model, as one that a machine adds."""
    core = program._engines.core
    (model,) = core.models()
    program._background.result(core.add_engine("second", model, Opened(engine)))


def states(program: LoadedProgram) -> dict[str, str]:
    return {view.name: view.state for view in program._engines.core.engines()}


# --- faults ---


def test_what_an_engine_cannot_finish_is_computed_on_another(
    program: LoadedProgram, engine: FaultyEngine, expected: dict[str, str]
) -> None:
    assert program.one(TEXTS[0]) == expected[TEXTS[0]]
    other = FaultyEngine()
    join(program, other)
    engine.trick = once(dies, 1)
    assert program.many(TEXTS) == [expected[text] for text in TEXTS]
    assert engine.dead and states(program) == {"reference": "down", "second": "up"}
    assert other.asked
    assert other.contexts == 1  # the prefix of the plan, which the first one has lost


async def test_a_stream_goes_on_where_its_engine_died(
    program: LoadedProgram, engine: FaultyEngine, expected: dict[str, str]
) -> None:
    program.one("another text")
    join(program, FaultyEngine())
    engine.trick = once(dies, 2)
    pieces = [piece async for piece in program.one.stream(TEXTS[1])]
    assert engine.dead
    assert "".join(pieces) == expected[TEXTS[1]] and len(pieces) > 2


def test_a_fault_is_not_told_when_the_engine_does_it_the_next_time(
    program: LoadedProgram, engine: FaultyEngine, expected: dict[str, str]
) -> None:
    engine.trick = once(fails, 1)
    assert program.one(TEXTS[2]) == expected[TEXTS[2]]
    assert len(engine.asked) == 2


def test_a_fault_that_stays_is_told_with_the_place_of_the_call(
    program: LoadedProgram, engine: FaultyEngine
) -> None:
    engine.trick = fails
    with pytest.raises(RunError, match=r"the model gave no usable numbers") as raised:
        program.one("x")
    assert raised.value.diagnostic.code == "E0608"
    assert raised.value.diagnostic.span is not None
    assert "assistant" in raised.value.diagnostic.render()
    assert 1 < len(engine.asked) < 10


def test_what_no_engine_would_take_is_asked_once(
    program: LoadedProgram, engine: FaultyEngine
) -> None:
    engine.trick = refuses(lambda number: True)
    with pytest.raises(RunError, match="no such thing"):
        program.one("x")
    assert len(engine.asked) == 1


# --- many at the same time ---


def test_calls_from_threads_are_applications_of_one_scheduler(
    program: LoadedProgram, engine: FaultyEngine, expected: dict[str, str]
) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(program.one, TEXTS * 5))
    assert results == [expected[text] for text in TEXTS * 5]
    assert len({request.hints.application for request in engine.asked}) == len(results)
    assert all(request.hints.begun > 0 for request in engine.asked)
    (info,) = program.engines()
    assert (info.running, engine.contexts) == (0, 1)


def test_items_of_a_map_are_one_application_and_one_group(
    program: LoadedProgram, engine: FaultyEngine
) -> None:
    program.many(TEXTS)
    (application,) = {request.hints.application for request in engine.asked}
    (group,) = {request.hints.group for request in engine.asked}
    assert application and group
    assert {request.hints.group_size for request in engine.asked} == {len(TEXTS)}


# --- ends of all kinds ---


def test_closing_ends_a_run_and_leaves_nothing(engine: FaultyEngine) -> None:
    program = parrotc.compile(TEXT, engine="reference")
    engine.trick = hangs
    ended: list[BaseException] = []

    def call() -> None:
        try:
            program.one("x")
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    wait_until(lambda: bool(engine.asked))
    program.close()
    thread.join(timeout=30)
    assert [type(error) for error in ended] == [CancelledError]
    assert (engine.contexts, engine.closed) == (0, 1)


def test_a_timeout_drops_what_the_run_made(
    program: LoadedProgram, engine: FaultyEngine, expected: dict[str, str]
) -> None:
    engine.trick = hangs
    with pytest.raises(TimeoutError, match=r"`one` has no result after 0\.2 s"):
        program.one("x", timeout=0.2)
    assert engine.contexts == 1  # the prefix of the plan
    engine.trick = None
    assert program.one(TEXTS[3]) == expected[TEXTS[3]]


def test_the_rest_of_a_map_is_kept_and_told(program: LoadedProgram, engine: FaultyEngine) -> None:
    program.one("x")
    engine.trick = refuses(lambda number: number == 3)
    events: list[Event] = []
    trace = Trace(events.append)
    with pytest.raises(RunError, match="no such thing") as raised:
        program.many.plain({"texts": TEXTS}, keep=True, trace=trace)
    assert (trace.counters.calls_done, trace.counters.calls_failed) == (len(TEXTS) - 1, 1)
    assert sum(event.kind == "finished" for event in events) == len(TEXTS) - 1
    (kept,) = raised.value.finished.values()
    assert kept["missing"] == [3]
    assert [item for item in kept["items"] if item is None] == [None]
    assert engine.contexts == 1


# --- an engine of this process has all the time it wants ---


@virtually
async def test_an_engine_that_is_slow_is_not_given_up(engine: FaultyEngine) -> None:
    async def ponder(*_: Any) -> None:
        await asyncio.sleep(100_000)

    engine.trick = once(lambda *_: ponder(), 0)
    compiled = compile_source(Source("app.pfn", TEXT), models=ModelOverrides("reference"))
    engines = Engines(Settings())
    names = await engines.names(compiled.plan.models)

    def natives(clients: Any) -> Natives:
        return Natives((), counting(clients))

    program = engines.core.program(compiled.plan, names, natives, Manner(width=8, settles=True))
    began = asyncio.get_running_loop().time()
    assert await program.run("one", {"text": "x"})
    assert asyncio.get_running_loop().time() - began >= 100_000
    assert len(engine.asked) == 1
    await program.close()
    await engines.close()
    assert (engine.contexts, engine.closed) == (0, 1)


# --- helpers ---


def refuses(which: Callable[[int], bool]) -> Any:
    """A trick: requests are refused by their number, from 0 on, at their first piece."""
    seen: list[GenerateRequest] = []

    def play(engine: FaultyEngine, request: GenerateRequest, number: int) -> None:
        if number == 0:
            seen.append(request)
            if which(len(seen) - 1):
                raise EngineError("invalid", "no such thing")

    return play


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(3000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it has not come")
