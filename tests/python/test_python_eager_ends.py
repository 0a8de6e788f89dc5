"""Every getter ends: whatever the engine does, whoever cancels, from however many threads."""

import asyncio
import importlib
import random
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from parrotc import Chat, Graph, RunError
from parrotc.eager.service import Service
from parrotc.runtime.engines.protocol import Finished, GenerateRequest, Piece
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.errors import RunTimeout
from parrotc.settings import Settings

THREADS, CALLS = 8, 50
PROGRAM = """
from parrotc import assistant, flow, pfunc, system, user


@pfunc
def digest(part: str) -> str:
    system("You are brief.")
    user("Digest {{part}}")
    assistant("{{gen max_tokens=6}}")


@flow
def once(part: str) -> str:
    return digest(part)
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "ends_app.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield importlib.import_module("ends_app")
    del sys.modules["ends_app"]


@pytest.fixture
def make() -> Iterator[Callable[..., Service]]:
    """A service on engines of its own."""
    opened: list[Service] = []

    def made(**settings: Any) -> Service:
        opened.append(Service(Settings(engine="reference", **settings), {}))
        return opened[-1]

    yield made
    for service in opened:
        service.close()


# --- an engine that says nothing ---


async def hangs(self: ReferenceEngine, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
    await asyncio.Event().wait()
    yield Piece("")


def test_a_getter_ends_when_the_engine_hangs(
    app: ModuleType, make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who says no timeout waits as long as the setting `max_wait` says."""
    monkeypatch.setattr(ReferenceEngine, "generate", hangs)
    service = make(max_wait=1)
    graph = Graph(service=service)
    note = graph.call(app.digest.callee, ("a",))
    chat = Chat(service=service)

    async def read() -> None:
        async for _ in note.astream():
            pass

    getters: list[Callable[[], Any]] = [
        note.get,
        lambda: list(note.stream()),
        lambda: asyncio.run(note.aget()),
        lambda: asyncio.run(read()),
        lambda: chat.say("x"),
        lambda: list(chat.stream("x")),
        lambda: app.once.compile(engine="reference", max_wait=1)("a"),
        lambda: _left(service, app),
    ]

    def ended(getter: Callable[[], Any]) -> str:
        with pytest.raises(RunTimeout, match="E0612") as error:
            getter()
        return str(error.value)

    with ThreadPoolExecutor(len(getters)) as pool:
        said = [work.result(timeout=60) for work in [pool.submit(ended, one) for one in getters]]
    assert all("after 1 s" in one for one in said)
    graph.close()


def _left(service: Service, app: ModuleType) -> None:
    with Graph(service=service) as graph:
        held = graph.call(app.digest.callee, ("b",))
    assert held.state == "failed"


# --- many threads ---


def test_many_threads_get_and_cancel(app: ModuleType, make: Callable[..., Service]) -> None:
    """Each text is that of its own call; what was cancelled ends too, and nothing is left over."""
    service = make()
    with Graph(service=service):
        expected = {n: app.digest(f"part {n}") for n in range(10)}
        texts = {n: note.get() for n, note in expected.items()}
    shared = Graph(service=service)
    cancelled: list[int] = []

    def work(number: int) -> None:
        rng = random.Random(number)
        graphs = [shared, Graph(service=service)]
        for _ in range(CALLS):
            one(rng, rng.choice(graphs))

    def one(rng: random.Random, graph: Graph) -> None:
        number = rng.randrange(10)
        note = graph.call(app.digest.callee, (f"part {number}",))
        reads = graph.call(app.digest.callee, (note,))
        if rng.random() < 0.3:
            graph.run()
            rng.choice((note, reads)).cancel()
            cancelled.append(number)
        try:
            assert got(rng, note) == texts[number]
        except RunError as error:
            assert error.diagnostic.code == "E0622"
        try:
            assert reads.get(timeout=60)
        except RunError as error:
            assert error.diagnostic.code == "E0622"

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work, n) for n in range(THREADS)]:
            done.result(timeout=200)
    assert len(cancelled) > THREADS * CALLS / 5
    for running in shared._running:
        running.done.result(timeout=20)
    assert all(engine.running == engine.queued == 0 for engine in service.engines())
    counters = shared.counters
    assert counters.calls_running == 0


def got(rng: random.Random, note: Any) -> str:
    """The text in one of the ways in which it can be had, of which some are given up before."""

    async def awaited() -> str:
        giving_up = asyncio.ensure_future(note.aget(timeout=60))
        await asyncio.sleep(rng.choice((0, 0.001)))
        giving_up.cancel()
        return str(await note)

    async def read() -> str:
        return "".join([piece async for piece in note.astream(timeout=60)])

    ways: list[Callable[[], str]] = [
        lambda: note.get(timeout=60),
        lambda: "".join(note.stream(timeout=60)),
        lambda: asyncio.run(awaited()),
        lambda: asyncio.run(read()),
    ]
    return rng.choice(ways)()


async def test_cancelled_tasks_leave_the_work_alone(
    app: ModuleType, make: Callable[..., Service]
) -> None:
    """Whoever stops waiting has cancelled nothing that another one waits for."""
    graph = Graph(service=make())
    rng = random.Random(1)
    notes = [graph.call(app.digest.callee, (f"{n}",)) for n in range(40)]
    waiting = [asyncio.ensure_future(note.aget(timeout=60)) for note in notes for _ in range(3)]
    for task in rng.sample(waiting, 60):
        await asyncio.sleep(0)
        task.cancel()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, str | asyncio.CancelledError) for one in done)
    assert [note.get() for note in notes] == [
        graph.call(app.digest.callee, (f"{n}",)).get() for n in range(40)
    ]


def test_a_variable_is_cancelled_while_it_is_read(
    app: ModuleType, make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReferenceEngine, "generate", hangs)
    graph = Graph(service=make())
    note = graph.call(app.digest.callee, ("a",))
    with ThreadPoolExecutor(3) as pool:
        ways: list[Callable[[], Any]] = [
            note.get,
            lambda: list(note.stream()),
            lambda: asyncio.run(note.aget()),
        ]
        reading = [pool.submit(way) for way in ways]
        threading.Timer(0.1, note.cancel).start()
        for one in reading:
            with pytest.raises(RunError, match="E0622"):
                one.result(timeout=60)


def test_what_is_cancelled_before_it_began_is_not_run(
    app: ModuleType, make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The segment is still being compiled when nobody wants its result any more."""
    monkeypatch.setattr(ReferenceEngine, "generate", hangs)
    graph = Graph(service=make())
    note = graph.call(app.digest.callee, ("a",))
    graph.run()
    note.cancel()
    (running,) = graph._running
    running.done.result(timeout=20)
    assert graph.counters.calls_running == 0
