"""Semantic functions called outside a flow: captured, compiled and run together."""

import asyncio
import gc
import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from parrotc import CompileError, Graph, RunError, Var, variable
from parrotc.eager.graph import current
from parrotc.eager.service import Service
from parrotc.settings import Settings

PROGRAM = '''
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from parrotc import assistant, flow, native, pfunc, system, user


class Two(NamedTuple):
    first: str
    second: str


@dataclass
class Doc:
    title: str
    text: str


@pfunc
def digest(part: str) -> str:
    system("You are brief.")
    user("Digest {{part}}")
    assistant("{{gen max_tokens=12}}")


@pfunc
def merge(notes: list[str], tone: str = "kind") -> str:
    system("You are brief.")
    user("Merge {{notes | bullets}} and be {{tone}}")
    assistant("{{gen max_tokens=12}}")


@pfunc
def two(x: str) -> Two:
    """{{x}}:{{gen first, stop=":"}}:{{gen second}}"""


@pfunc
def draw(x: str) -> str:
    """{{x}}:{{gen max_tokens=12, temperature=0.9}}"""


@pfunc
def title(doc: Doc) -> str:
    """{{doc.title}}:{{gen max_tokens=4}}"""


@native(pure=True)
def size(text: str) -> int:
    return len(text)


@native
def broken(text: str) -> str:
    raise KeyError(text)


@native
def mark(file: str) -> str:
    Path(file).write_text("here")
    return file


@native
def slow(seconds: float) -> str:
    time.sleep(seconds)
    return "late"


@flow
def both(x: str) -> str:
    return merge([digest(x), digest(f"{x}!")])


@flow
def once(x: str) -> str:
    return draw(x)


@flow
def drawn(x: str) -> list[str]:
    first = draw(x)
    second = draw(first)
    return [first, second] + draw.with_(n=3)(second)
'''


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "eager_app.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PARROTC_ENGINE", "reference")
    importlib.invalidate_caches()
    yield importlib.import_module("eager_app")
    del sys.modules["eager_app"]


@pytest.fixture
def graph() -> Iterator[Graph]:
    """A graph on engines of its own."""
    service = Service(Settings(engine="reference"), {})
    with Graph(service=service) as graph:
        yield graph
    service.close()


def filled(graph: Graph) -> int:
    return sum(engine.filled_tokens for engine in graph.engines())


# --- capturing ---


def test_a_call_gives_a_variable_and_runs_nothing(app: ModuleType, graph: Graph) -> None:
    note = app.digest("A boat.")
    assert isinstance(note, Var) and (note.name, note.state) == ("digest", "waiting")
    assert repr(note) == "<variable digest: str, waiting>" == str(note)
    assert graph.segments == 0 and graph.engines() == []
    assert note.get() == app.digest.compile()("A boat.")
    assert note.state == "ready" and note.is_ready and graph.segments == 1


def test_calls_before_a_get_are_one_segment(app: ModuleType, graph: Graph) -> None:
    """What they have in common is read once, as in the flow that makes the same calls."""
    whole = app.both.compile()
    notes = [app.digest("a"), app.digest("a!")]
    assert app.merge(notes).get() == whole("a")
    assert graph.segments == 1 and notes[1].get() == app.digest.compile()("a!")
    service = Service(Settings(engine="reference"), {})
    with Graph(service=service) as other:
        assert app.both.start("a").get() == whole("a")
        assert filled(other) == filled(graph)
    service.close()


def test_the_next_segment_fills_only_what_is_new(app: ModuleType, graph: Graph) -> None:
    first = app.digest("a")
    text = first.get()
    before = filled(graph)
    again = app.digest("a")
    assert again.get() == text and filled(graph) == before
    app.digest("b").get()
    constant = before - (filled(graph) - before)
    assert constant > len("<|im_start|>You are brief."), "all up to the part was there"


def test_a_variable_is_an_input(app: ModuleType, graph: Graph) -> None:
    first = app.digest("a")
    first.get()
    second = app.merge([first, "plain"], tone="rude")
    third = app.both(second)
    assert isinstance(third, Var), "a flow that is given a variable gives one"
    assert third.get() == app.both.compile()(second.get())
    assert app.both("x") == app.both.compile()("x"), "one that is given none gives its value"


def test_several_outputs(app: ModuleType, graph: Graph) -> None:
    pair = app.two("x")
    first, second = pair
    n = app.size(pair.second)
    assert isinstance(pair.get(), app.Two)
    assert (first.get(), second.get()) == tuple(pair.get()) and pair["first"].get() == first.get()
    assert n.get() == len(second.get()) and n.name == "size" and first.name == "two.first"
    with pytest.raises(AttributeError, match=r"has no attribute `third`.*\.get\(\)"):
        pair.third  # noqa: B018
    assert {"first", "second"} <= set(dir(pair))


def test_records_and_lists_that_hold_variables(app: ModuleType, graph: Graph) -> None:
    name = app.digest("a")
    given = app.title({"title": name, "text": "x"})
    assert given.get() == app.title(app.Doc(name.get(), "x")).get()


def test_equal_shapes_are_compiled_once(app: ModuleType, graph: Graph) -> None:
    for word in ("a", "b", "c"):
        app.merge([app.digest(word), app.digest(word * 2)]).get()
    assert (graph.segments, graph.service.compilations) == (3, 1)
    app.merge([app.digest("a"), app.digest("a")]).get()
    assert graph.service.compilations == 2, "one value given twice is another shape"


def test_what_nobody_holds_is_not_run(app: ModuleType, graph: Graph, tmp_path: Path) -> None:
    app.digest("dropped")
    file = tmp_path / "mark"
    app.mark(variable("file", str(file)))
    gc.collect()
    app.digest("kept").get()
    assert graph.counters.calls_done == 1
    graph.__exit__(None)
    graph.__enter__()
    assert file.read_text() == "here", "what has an effect runs all the same"


def test_draws_are_those_of_a_flow(app: ModuleType) -> None:
    """In a graph with the name of the flow, on the first segment; later ones draw anew."""
    with Graph("drawn", engine="reference", seed=7):
        first = app.draw("x")
        second = app.draw(first)
        more = app.draw.with_(n=3)(second)
        held = [first.get(), second.get(), *more.get()]
        assert held == app.drawn.compile(seed=7)("x")
        assert app.draw("x").get() != held[0]


def test_policies_of_one_call(app: ModuleType, graph: Graph) -> None:
    assert len(app.draw.with_(n=4, criteria="throughput", deadline="5m")("x").get()) == 4
    assert app.draw.with_(on_error=None, retry=2)("x").get() is not None
    for wrong, said in (
        ({"m": 1}, "takes no `m`"),
        ({"retrys": 1}, "did you mean `retry`"),
        ({"n": 0}, "whole number from 1"),
        ({"deadline": "soon"}, "number of seconds"),
        ({"criteria": "fast"}, "'latency' or 'throughput'"),
    ):
        with pytest.raises(TypeError, match=said):
            app.draw.with_(**wrong)


# --- inputs ---


def test_an_input_is_set_once(app: ModuleType, graph: Graph) -> None:
    part = variable("part")
    note = app.digest(part)
    part.set("a")
    assert note.get() == app.digest("a").get() and part.get() == "a"
    with pytest.raises(RuntimeError, match="set already"):
        part.set("b")
    with pytest.raises(RuntimeError, match="from a call"):
        note.set("b")
    with pytest.raises(RunError, match="E0607"):
        variable("n", type=int).set("x")
    assert app.merge(variable(content=["a", "b"])).get()


def test_an_input_that_is_not_set_is_told(app: ModuleType, graph: Graph) -> None:
    part = variable("part")
    note = app.digest(app.merge([part]))
    for waiting in (note, part):
        with pytest.raises(RunError, match="E0621") as failure:
            waiting.get()
        assert 'variable("part")' in str(failure.value)
    with pytest.raises(TimeoutError):
        note.get(timeout=0.05)
    part.set("a")
    assert note.get()


def test_a_late_input_holds_up_only_what_reads_it(app: ModuleType, graph: Graph) -> None:
    part = variable("part")
    waits, free = app.digest(part), app.digest("free")
    assert free.get() and waits.state == "running"
    threading.Timer(0.05, part.set, ["a"]).start()
    assert waits.get(timeout=60) == app.digest("a").get()


# --- failures ---


def test_a_failure_is_told_at_its_call_and_poisons(app: ModuleType, graph: Graph) -> None:
    cause = app.broken(app.digest("a"))
    reads = app.digest(app.merge([cause, "x"]))
    for failed in (reads, cause):
        with pytest.raises(RunError, match="KeyError") as failure:
            failed.get()
        span = failure.value.diagnostic.span
        assert span is not None and span.text() == 'app.broken(app.digest("a"))'
        assert span.source.name == __file__
        assert any("broken" in label.span.text() for label in failure.value.diagnostic.labels)
    assert cause.state == "failed"
    later = app.digest(cause)
    with pytest.raises(RunError) as failure:
        later.get()
    assert failure.value.diagnostic.span == span, "in the next segment too"
    assert app.digest("a").get(), "others go on"


def test_a_wrong_input_is_told_at_the_call(app: ModuleType, graph: Graph) -> None:
    with pytest.raises(RunError, match="E0607") as failure:
        app.digest(3)
    assert failure.value.diagnostic.span is not None
    assert failure.value.diagnostic.span.text() == "app.digest(3)"
    with pytest.raises(RunError, match=r"a `list<str>` is wanted.*`digest` is a `str`"):
        app.merge(app.digest("a"))
    with pytest.raises(TypeError, match="has no input `prat`; it takes `part`"):
        app.digest(prat="a")
    with pytest.raises(TypeError, match="needs the input `part`"):
        app.digest()
    with pytest.raises(TypeError, match="two values"):
        app.digest("a", part="b")
    with pytest.raises(RunError, match=r"doc.*has no field `name`"):
        app.title({"name": app.digest("a")})


def test_a_model_that_is_not_there_fails_the_getters(app: ModuleType) -> None:
    service = Service(Settings(engine="builtin:/nowhere/at/all"), {})
    with Graph(service=service):
        note = app.digest("a")
        reads = app.digest(note)
        for failed in (note, reads):
            with pytest.raises((CompileError, RunError), match="E0610"):
                failed.get()
    service.close()


def plainly(var: Var[str]) -> Iterator[Callable[[], object]]:
    yield lambda: f"{var}"
    yield lambda: var + "x"
    yield lambda: "x" + var
    yield lambda: var == "x"
    yield lambda: var < "x"
    yield lambda: bool(var)
    yield lambda: len(var)
    yield lambda: list(var)
    yield lambda: var[0]
    yield lambda: "x" in var
    yield lambda: int(var)
    yield lambda: "x".join([var])  # type: ignore[list-item]


def test_a_variable_is_no_plain_value(app: ModuleType, graph: Graph) -> None:
    note = app.digest("a")
    *spoken, joined = plainly(note)
    for use in spoken:
        with pytest.raises(TypeError, match=r"`\.get\(\)` waits for it"):
            use()
    with pytest.raises(TypeError):
        joined()
    with pytest.raises(AttributeError, match=r"\.get\(\)"):
        note.upper()
    assert note.state == "waiting" and {note: 1}[note] == 1 and note == note
    with pytest.raises(ValueError, match="latency"):
        note.get(criteria="fast")


# --- cancelling ---


def test_a_cancelled_variable_stops_what_only_it_needs(app: ModuleType, graph: Graph) -> None:
    waits = app.slow(variable(content=30.0))
    reads = app.digest(waits)
    other = app.digest("a")
    graph.run()
    while not graph.counters.natives_running:
        time.sleep(0.005)
    reads.cancel()
    waits.cancel()
    for failed in (reads, waits):
        with pytest.raises(RunError, match="E0622"):
            failed.get()
    assert other.get()
    for running in graph._running:
        running.done.result(timeout=20)
    assert graph.counters.natives_running == 0


def test_a_captured_call_is_cancelled(app: ModuleType, graph: Graph) -> None:
    note = app.digest("a")
    reads = app.merge([note])
    note.cancel()
    with pytest.raises(RunError, match="E0622"):
        reads.get()
    assert graph.counters.calls_done == 0


def test_a_graph_that_is_left_by_an_exception_cancels(app: ModuleType) -> None:
    with pytest.raises(KeyError), Graph(engine="reference"):
        held = app.digest("a")
        waits = app.slow(variable(content=30.0))
        raise KeyError
    for failed in (held, waits):
        with pytest.raises(RunError, match="E0622"):
            failed.get()


def test_leaving_a_graph_waits_and_fails_what_is_never_set(app: ModuleType) -> None:
    with Graph(engine="reference"):
        note, never = app.digest("a"), app.digest(variable("part"))
    assert note.state == "ready" and never.state == "failed"
    with pytest.raises(RunError, match="E0621"):
        never.get()


# --- streams, async, threads ---


def test_a_text_is_streamed(app: ModuleType, graph: Graph) -> None:
    note = app.digest("a")
    pieces = list(note.stream())
    assert len(pieces) > 1 and "".join(pieces) == note.get()
    assert list(note.stream()) == pieces or "".join(note.stream()) == note.get()
    with pytest.raises(TypeError, match="no text"):
        list(app.size(note).stream())
    failing = app.digest(app.broken(note))
    with pytest.raises(RunError, match="KeyError"):
        list(failing.stream())


async def test_in_async_code(app: ModuleType, graph: Graph) -> None:
    note = app.digest("a")
    other = app.merge([note])
    texts = await asyncio.gather(note.aget(), other.aget(timeout=60))
    assert list(texts) == [await note, other.get()]
    assert "".join([piece async for piece in app.digest("b").astream()])
    waits = app.slow(variable(content=30.0))
    with pytest.raises(TimeoutError):
        await waits.aget(timeout=0.05)
    task = asyncio.ensure_future(waits.aget(timeout=60))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waits.state == "running", "who waits no more has cancelled nothing"
    waits.cancel()


def test_each_thread_has_a_graph_of_its_own(app: ModuleType) -> None:
    graphs: list[Graph] = []

    def work() -> None:
        graphs.append(current())
        app.digest("a").get()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mine = app.digest("mine")
    assert len({*map(id, graphs), id(current())}) == 3 and mine.state == "waiting"
    assert graphs[0].service is graphs[1].service, "they share engines"


def test_many_threads_may_use_one_graph(app: ModuleType, graph: Graph) -> None:
    failures: list[BaseException] = []
    shared = app.digest("shared")

    def work(number: int) -> None:
        try:
            with graph:
                for turn in range(4):
                    note = app.merge([shared, app.digest(f"{number} {turn}")])
                    assert note.get(timeout=60)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert graph.counters.calls_done == 2 * 24 + 1


def test_a_variable_of_another_graph(app: ModuleType, graph: Graph) -> None:
    note = app.digest("a")
    with Graph("other", engine="reference"):
        assert app.digest(note).get() == app.digest.compile()(note.get())


def test_the_standard_library_in_a_graph(app: ModuleType, graph: Graph) -> None:
    from parrotc.stdlib.chat import reply

    note = app.digest("a")
    answer = reply([{"role": "user", "text": note}])
    assert isinstance(answer, Var) and answer.get()
    assert answer.get() == reply([{"role": "user", "text": note.get()}])
