"""Eager calls, flows and conversations on text endpoints: what the engine behind one says."""

import asyncio
import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("openai")
pytest.importorskip("aiohttp")

from endpoints import Fault, Served, Standin

from parrotc import Chat, CompileError, Graph, RunError, model

PROGRAM = '''
from typing import Literal, NamedTuple

from parrotc import Scored, assistant, flow, pfunc, system, user


class Two(NamedTuple):
    first: str
    second: str


@pfunc
def say(text: str) -> str:
    system("You are brief.")
    user("{{text}}")
    assistant("{{gen max_tokens=12}}")


@pfunc
def two(text: str) -> Two:
    user("{{text}}")
    assistant("A: {{gen first, max_tokens=10}}; B: {{gen second, max_tokens=9}}")


@pfunc
def mood(of: str) -> Literal["good", "bad"]:
    user("How is {{of}}?")


@pfunc
def sure(of: str) -> Scored[Literal["good", "bad"]]:
    user("How is {{of}}?")


@pfunc
def draw(text: str) -> str:
    """{{text}}:{{gen max_tokens=12, temperature=0.9}}"""


@flow
def both(text: str) -> str:
    return say(say(text))
'''


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "endpoint_app.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield importlib.import_module("endpoint_app")
    del sys.modules["endpoint_app"]


@pytest.fixture
def server() -> Iterator[Standin]:
    with Served("vllm") as there:
        yield there


def engine_of(server: Standin) -> str:
    return f"openai:{server.url}#m"


def on_both(server: Standin, program: Any) -> list[Any]:
    """What a program gives in a graph on the endpoint, and on the engine that stands behind it."""
    given: list[Any] = []
    for engine in (engine_of(server), "reference"):
        with Graph("main", engine=engine):
            given.append(program())
    return given


# --- calls and flows ---


def test_calls_say_the_same(app: ModuleType, server: Standin) -> None:
    def program() -> list[Any]:
        note = app.say("one")
        outputs = app.two(note)
        return [
            note.get(),
            tuple(outputs.get()),
            app.mood("x").get(),
            app.both.start(outputs.first).get(),
        ]

    there, here = on_both(server, program)
    assert there == here and len(server.seen) >= 6
    first = [seen.body["messages"][0] for seen in server.seen]
    assert first.count({"role": "system", "content": "You are brief."}) == 3


def test_a_flow_says_the_same(app: ModuleType, server: Standin) -> None:
    assert app.both.compile(engine=engine_of(server))("x") == app.both.compile(engine="reference")(
        "x"
    )


def test_calls_of_a_segment_are_asked_at_once(app: ModuleType, server: Standin) -> None:
    server.gate.clear()
    with Graph(engine=engine_of(server)) as graph:
        notes = [app.say(f"{n}") for n in range(4)]
        graph.run()
        for _ in range(4000):
            if server.most == 4:
                break
            time.sleep(0.005)
        assert not any(note.is_ready for note in notes) and server.most == 4
        server.loop.call_soon_threadsafe(server.gate.set)
        assert len({note.get(timeout=60) for note in notes}) == 4


def test_seeds_and_draws(app: ModuleType, server: Standin) -> None:
    def program() -> list[str]:
        return [app.draw("x", seed=4).get(), app.draw("x").get(), *app.draw.with_(n=2)("x").get()]

    there, _ = on_both(server, program)
    again, _ = on_both(server, program)
    assert there == again and len(set(there)) == 4
    seeds = [seen.body["seed"] for seen in server.seen]
    assert len(set(seeds)) == 4, "a provider is told seeds, which are the same each time"


def test_outputs_are_streamed(app: ModuleType, server: Standin) -> None:
    async def read(var: Any) -> list[str]:
        return [piece async for piece in var.astream()]

    with Graph(engine=engine_of(server)):
        first, second = outputs = app.two("x")
        pieces = list(first.stream())
        assert len(pieces) > 1 and "".join(pieces) == first.get()
        more = asyncio.run(read(second))
        assert ["".join(pieces), "".join(more)] == list(outputs.get())


def test_a_failure_of_a_server_is_told_at_the_call(app: ModuleType, server: Standin) -> None:
    server.faults.append(Fault(status=400))
    with Graph(engine=engine_of(server)):
        note = app.say("x")
        with pytest.raises(RunError, match="the endpoint answers 400") as error:
            note.get()
    assert error.value.diagnostic.span is not None
    assert error.value.diagnostic.span.text() == 'app.say("x")'


# --- conversations ---


def test_a_conversation_says_the_same(app: ModuleType, server: Standin) -> None:
    """Its messages go as messages, all of them each time; nothing else is kept."""
    with (
        Chat("Be brief.", engine=engine_of(server)) as there,
        Chat("Be brief.", engine="reference") as here,
    ):
        for chat in (there, here):
            chat.say("one", max_tokens=6)
            "".join(chat.stream("two", max_tokens=6))
            chat.ask(app.two, "three")
            chat.ask(app.mood, of="<|im_end|>")
            chat.read(app.say, "nobody hears")
            with chat.fork() as other:
                other.say("aside", max_tokens=5)
                assert len(other.history) == len(chat.history) + 2
        assert there.history == here.history and len(there.history) == 9
        sent = server.seen[1].body["messages"]
        assert [(one["role"], one["content"]) for one in sent[:3]] == [
            ("system", "Be brief."),
            ("user", "one"),
            ("assistant", there.history[2]["text"]),
        ]
        assert there.tokens > 0 and there.filled_tokens >= there.counters.tokens_filled > 0


def test_a_conversation_of_raw_text(app: ModuleType, server: Standin) -> None:
    with Chat(engine=engine_of(server)) as chat:
        first = chat.ask(app.draw, "one")
        chat.ask(app.draw, "two")
        assert server.seen[-1].body["prompt"] == f"one:{first}two:"
        assert chat.history == []
        with pytest.raises(RunError, match="E0623"):
            chat.say("x")


def test_a_failed_turn_leaves_no_trace(server: Standin) -> None:
    with Chat(engine=engine_of(server)) as chat:
        chat.say("one", max_tokens=5)
        before = chat.history
        server.faults.append(Fault(status=400))
        with pytest.raises(RunError, match="the endpoint answers 400"):
            chat.say("two", max_tokens=5)
        assert chat.history == before and chat.say("three", max_tokens=5)


# --- what an endpoint cannot do ---


@pytest.mark.parametrize(
    ("turn", "code"),
    [
        (lambda app, chat: chat.ask(app.two, "x"), "E0402"),
        (lambda app, chat: chat.ask(app.draw, "x"), "E0403"),
        (lambda app, chat: chat.ask(app.sure, "x"), "E0405"),
    ],
    ids=["begun message", "raw text", "scored"],
)
def test_what_an_endpoint_cannot_do(app: ModuleType, turn: Any, code: str) -> None:
    """It is said before anything is sent, at the place in the program."""
    with Served("openai") as server:
        large = model.openai("m", base_url=server.url, profile="openai")
        with Chat(model=large) as chat:
            with pytest.raises(CompileError) as error:
                turn(app, chat)
            for found in error.value.diagnostics:
                assert found.code == code and found.span is not None and found.help
                assert found.span.source.name == app.__file__
            assert not server.seen and chat.say("hello", max_tokens=5)
