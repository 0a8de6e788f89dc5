"""What one eager call is asked beside its inputs: a seed and a timeout; and its outputs, each by
itself."""

import asyncio
import importlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from parrotc import Graph, RunError, variable
from parrotc.eager.service import Service
from parrotc.runtime.errors import RunTimeout
from parrotc.settings import Settings

PROGRAM = '''
import time
from typing import NamedTuple

from parrotc import assistant, flow, native, pfunc, user


class Two(NamedTuple):
    first: str
    second: str


@pfunc
def draw(x: str) -> str:
    """{{x}}:{{gen max_tokens=12, temperature=0.9}}"""


@pfunc
def planted(x: str, seed: int, timeout: str = "none") -> str:
    """{{x}} {{seed}} {{timeout}}:{{gen max_tokens=12, temperature=0.9}}"""


@pfunc
def greedy(x: str) -> str:
    """{{x}}:{{gen max_tokens=12}}"""


@pfunc
def two(x: str) -> Two:
    user("{{x}}")
    assistant("{{gen first, max_tokens=20}} and {{gen second, max_tokens=20}}")


@native
def slow(seconds: float) -> str:
    time.sleep(seconds)
    return "late"


@flow
def both(x: str) -> list[str]:
    first = draw(x)
    return [first] + draw.with_(n=2)(first)


@flow
def sown(x: str, seed: int = 1) -> str:
    return greedy(f"{x} {seed}")
'''


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "terms_app.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PARROTC_ENGINE", "reference")
    importlib.invalidate_caches()
    yield importlib.import_module("terms_app")
    del sys.modules["terms_app"]


@pytest.fixture
def graph() -> Iterator[Graph]:
    """A graph on engines of its own."""
    service = Service(Settings(engine="reference"), {})
    with Graph(service=service) as graph:
        yield graph
    service.close()


# --- seeds ---


def test_a_call_draws_as_a_run_of_it_alone(app: ModuleType, graph: Graph) -> None:
    """Whatever is called around it, in this segment or a later one."""
    alone = app.draw.compile()
    around = [app.draw("x"), app.greedy("y")]
    seeded = app.draw("x", seed=3)
    assert seeded.get() == alone("x", seed=3)
    app.draw("z").get()
    assert app.draw.with_(seed=3)("x").get() == seeded.get()
    assert app.draw("x", seed=4).get() == alone("x", seed=4) != seeded.get()
    assert around[0].get() != seeded.get()
    assert app.draw.with_(n=3, seed=3)("x").get() == app.draw.with_(seed=3, n=3)("x").get()


def test_a_flow_draws_as_a_run_of_it(app: ModuleType, graph: Graph) -> None:
    app.draw("before")
    started = app.both.start("x", seed=5)
    assert started.get() == app.both("x", seed=5) == app.both.compile(seed=5)("x")
    assert started.get() != app.both("x")


def test_seeds_are_no_part_of_a_shape(app: ModuleType, graph: Graph) -> None:
    texts = {app.draw("x", seed=n).get() for n in range(4)}
    assert len(texts) > 1 and graph.service.compilations == 1


def test_a_seed_changes_nothing_of_what_is_greedy(app: ModuleType, graph: Graph) -> None:
    assert app.greedy("x", seed=9).get() == app.greedy("x").get()


# --- parameters of these names ---


def test_an_input_comes_first(app: ModuleType) -> None:
    """A keyword is the input, where there is one; `with_` says the term."""
    alone = app.planted.compile()
    with Graph("planted", engine="reference"):  # it draws as a run of the function does
        plain = app.planted("x", seed=7, timeout="text")
        assert plain.get() == alone("x", seed=7, timeout="text") != alone("x", 8, "text")
    once = app.planted.with_(seed=3, timeout=60)
    assert once("x", seed=7).get() == once("x", 7).get() != plain.get()
    sown = app.sown.compile()
    assert sown("x", seed=2) == sown("x", 2) == app.sown.start("x", seed=2).get()
    assert sown("x", seed=2) != sown("x")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda f: f("x", seed="3"), "`seed` of `draw` is a whole number, not '3'"),
        (lambda f: f("x", seed=True), "whole number"),
        (lambda f: f("x", timeout=0), "`timeout` of `draw` is a number of seconds"),
        (lambda f: f.with_(timeout="soon"), "`timeout` of `with_` is a number of seconds"),
        (lambda f: f.with_(seed=1)("x", seed=2), "two values for `seed`: `with_` says it too"),
        (lambda f: f.with_(sed=1), "did you mean `seed`"),
    ],
)
def test_a_term_that_is_none(app: ModuleType, graph: Graph, call: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        call(app.draw)


def test_a_native_takes_inputs_only(app: ModuleType, graph: Graph) -> None:
    with pytest.raises(TypeError, match="has no input `timeout`"):
        app.slow(variable(content=0.1), timeout=3)


# --- timeouts ---


def test_a_late_call_fails_with_what_reads_it(app: ModuleType, graph: Graph) -> None:
    """What only these need stops; what others read goes on."""
    waits = app.slow(variable(content=30.0))
    late = app.greedy(waits, timeout=0.1)
    reads, other = app.greedy(late), app.greedy("x")
    for failed in (reads, late):
        with pytest.raises(RunTimeout, match="E0612") as error:
            failed.get()
        span = error.value.diagnostic.span
        assert span is not None and span.text() == "app.greedy(waits, timeout=0.1)"
    assert other.get() and waits.state == "running"
    with pytest.raises(RunError, match="E0612"):
        app.greedy(late).get()
    waits.cancel()


def test_a_timeout_ends_the_wait_for_an_input(app: ModuleType, graph: Graph) -> None:
    late = app.greedy(variable("part"), timeout="100ms")
    with pytest.raises(TimeoutError, match=r"`greedy` has no value after 0\.1 s"):
        app.greedy(late).get()


def test_a_call_in_time_is_not_touched(app: ModuleType, graph: Graph) -> None:
    assert app.greedy("x", timeout=60).get() == app.greedy("x").get()
    done = app.greedy("y", timeout=0.05)
    text = done.get()
    time.sleep(0.1)
    assert done.get() == text


def test_leaving_a_graph_waits_for_no_longer(app: ModuleType) -> None:
    with Graph(engine="reference"):
        late = app.greedy(app.slow(variable(content=30.0)), timeout=0.1)
        never = app.greedy(variable("part"), timeout=0.1)
    assert late.state == never.state == "failed"


def test_what_reads_a_cancelled_call_fails(app: ModuleType, graph: Graph) -> None:
    waits = app.slow(variable(content=30.0))
    reads = app.greedy(waits)
    graph.run()
    waits.cancel()
    with pytest.raises(RunError, match="E0622"):
        reads.get()


# --- several outputs ---


def test_each_output_is_streamed(app: ModuleType, graph: Graph) -> None:
    first, second = pair = app.two("x")
    pieces = [list(one.stream()) for one in (first, second)]
    assert all(len(one) > 1 for one in pieces)
    told = ["".join(one) for one in pieces]
    assert told == list(pair.get()) == list(app.two.compile()("x"))
    assert "".join(first.stream()) == first.get(), "again, after the end"
    with pytest.raises(TypeError, match="no text"):
        list(pair.stream())


async def test_outputs_are_streamed_in_async_code(app: ModuleType, graph: Graph) -> None:
    async def read(part: Any) -> str:
        return "".join([piece async for piece in part.astream()])

    first, second = app.two("x")
    texts = await asyncio.gather(read(second), read(first))
    assert list(texts) == [await second, await first]


def test_an_output_is_there_before_the_next(
    app: ModuleType, graph: Graph, gate: threading.Event
) -> None:
    """The engine holds the second generation back until the first has been read to its end."""
    first, second = pair = app.two("x")
    text = "".join(first.stream(timeout=20))
    assert text == first.get() and first.is_ready
    assert (pair.state, second.state) == ("running", "running")
    other = app.greedy(first)
    assert other.get(timeout=60) == app.greedy(text).get(), "what reads only the first goes on"
    gate.set()
    assert tuple(pair.get()) == (text, second.get())


def test_a_failure_is_told_of_the_outputs_that_are_not_there(
    app: ModuleType, graph: Graph, gate: threading.Event
) -> None:
    first, second = pair = app.two("x")
    text = first.get(timeout=20)
    pair.cancel()
    for running in graph._running:
        running.done.result(timeout=20)  # it has stopped, and never seen the gate
    gate.set()
    assert first.get() == text and first.state == "ready"
    for failed in (pair, second):
        with pytest.raises(RunError, match="E0622"):
            failed.get()
    with pytest.raises(RunError, match="E0622"):
        list(second.stream())
    assert graph.counters.calls_running == 0


@pytest.fixture
def gate(graph: Graph) -> Iterator[threading.Event]:
    """Holds back every second output, until it is set."""
    gate = threading.Event()
    graph.service.open = _opening(graph.service.open, gate)  # type: ignore[method-assign]
    yield gate
    gate.set()


def _opening(opening: Any, gate: threading.Event) -> Any:
    async def opened(models: Any) -> Any:
        engines = await opening(models)
        for engine in engines.values():
            if not hasattr(engine, "is_gated"):
                engine.is_gated, engine.generate = True, _held_back(engine.generate, gate)
        return engines

    return opened


def _held_back(generate: Any, gate: threading.Event) -> Any:
    async def held_back(request: Any) -> Any:
        while request.title.endswith("second") and not gate.is_set():
            await asyncio.sleep(0.005)
        async for item in generate(request):
            yield item

    return held_back
