"""Conversations that live across calls: what is filled, what a turn leaves, who may go on."""

import asyncio
import importlib
import runpy
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from parrotc import Chat, CompileError, RunError, model, variable
from parrotc.eager.library import Callee, Library
from parrotc.eager.service import Service
from parrotc.eager.talk import Talk
from parrotc.ir.source import Source
from parrotc.runtime.engines.protocol import FillRequest, GenerateRequest
from parrotc.settings import Settings

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "python" / "chatbot.py"
PROGRAM = '''
from typing import Literal, NamedTuple

from parrotc import assistant, flow, native, pfunc, user


class Pair(NamedTuple):
    mood: Literal["good", "bad"]
    why: str


@pfunc
def judge(scale: int = 5) -> Pair:
    if scale > 3:
        user("Judge, from 1 to {{scale}}")
    with assistant:
        "{{gen mood}} because"
        "{{gen why, max_tokens=5}}"


@pfunc
def say(text: str) -> str:
    user("{{text}}")


@pfunc
def go_on(text: str) -> str:
    """{{text}}:{{gen max_tokens=6}}"""


@flow
def chain(text: str) -> str:
    return say(text)
'''


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "chat_app.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield importlib.import_module("chat_app")
    del sys.modules["chat_app"]


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service(Settings(engine="reference"), {})
    yield service
    service.close()


def held(service: Service) -> int:
    """Contexts that the engine holds."""
    return sum(engine.contexts for engine in service.engines())


def test_each_turn_fills_only_what_is_new(service: Service) -> None:
    """The tokens are all those of the conversation, and each is filled or generated once."""
    with Chat("Be brief.", service=service) as chat:
        filled: list[int] = []
        for text in ("one", "two", "three"):
            before = chat.filled_tokens
            chat.say(text, max_tokens=6)
            filled.append(chat.filled_tokens - before)
        around = "<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n"
        specials = around.count("<|")
        new = len(around) - sum(len(s) - 1 for s in ("<|im_end|>", "<|im_start|>") * 2)
        assert specials == 4 and filled[1:] == [new + len("two"), new + len("three")]
        info = service.engines()[0]
        assert sum(filled) == info.filled_tokens == chat.filled_tokens
        assert chat.tokens <= info.filled_tokens + info.generated_tokens


def test_it_says_what_the_whole_conversation_says(app: ModuleType, service: Service) -> None:
    """A turn sees exactly the tokens that a program with all messages would have filled."""
    with Chat("Be brief.", service=service) as chat, Chat("Be brief.", service=service) as other:
        first = chat.say("one", max_tokens=6)
        second = chat.say("two", max_tokens=6)
        assert [other.say("one", max_tokens=6), other.say("two", max_tokens=6)] == [first, second]
        assert chat.filled_tokens > 0 == other.filled_tokens, "the engine has it all"
        assert chat.history == [
            {"role": "system", "text": "Be brief."},
            {"role": "user", "text": "one"},
            {"role": "assistant", "text": first},
            {"role": "user", "text": "two"},
            {"role": "assistant", "text": second},
        ]


def test_a_function_is_a_turn(app: ModuleType, service: Service) -> None:
    with Chat("Be brief.", service=service) as chat:
        chat.say("Hello")
        pair = chat.ask(app.judge, scale=4)
        assert isinstance(pair, app.Pair) and pair.mood in ("good", "bad")
        assert chat.history[-2:] == [
            {"role": "user", "text": "Judge, from 1 to 4"},
            {"role": "assistant", "text": f"{pair.mood} because\n{pair.why}"},
        ]
        assert chat.ask(app.judge, 1) and len(chat.history) == 6
        text = variable(content="later")
        assert chat.ask(app.say, text) == chat.history[-1]["text"]
        assert chat.history[-2]["text"] == "later"


def test_readers_leave_no_trace(app: ModuleType, service: Service) -> None:
    with Chat("Be brief.", service=service) as chat:
        chat.say("Hello")
        before, tokens = chat.history, chat.tokens

        async def read() -> list[str]:
            return await asyncio.gather(*(chat.aread(app.say, f"{n % 2}") for n in range(6)))

        answers = asyncio.run(read())
        assert answers[:2] * 3 == answers and chat.history == before and chat.tokens == tokens
        assert chat.ask(app.say, "1") == answers[1]


def test_writers_go_one_after_the_other(app: ModuleType, service: Service) -> None:
    with Chat(service=service) as chat:
        threads = [threading.Thread(target=chat.say, args=(f"{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        roles = [message["role"] for message in chat.history]
        assert roles == ["user", "assistant"] * 8
        assert {m["text"] for m in chat.history if m["role"] == "user"} == set("01234567")


def test_a_fork_goes_its_own_way(service: Service) -> None:
    with Chat("Be brief.", service=service) as chat:
        chat.say("Hello")
        with chat.fork() as other:
            assert other.history == chat.history and other.tokens == chat.tokens
            before = chat.filled_tokens
            answer = other.say("A question of some length")
            assert chat.filled_tokens - before < chat.tokens, "what both have is there"
            assert len(other.history) == len(chat.history) + 2
        assert chat.say("A question of some length") == answer


def test_a_failed_turn_leaves_the_chat_as_it_was(app: ModuleType, service: Service) -> None:
    broken = False

    def fault(request: FillRequest | GenerateRequest) -> bool:
        return broken

    with Chat("Be brief.", service=service) as chat:
        chat.say("Hello")
        before, tokens = chat.history, chat.tokens
        (engine,) = service._engines.open
        engine._fault = fault  # type: ignore[attr-defined]
        broken = True
        with pytest.raises(RunError, match="E0608") as failure:
            chat.say("No answer")
        assert failure.value.diagnostic.span is not None
        assert failure.value.diagnostic.span.text() == 'chat.say("No answer")'
        broken = False
        engine._latency = 0.5  # type: ignore[attr-defined]
        with pytest.raises(TimeoutError, match="E0612"):
            chat.say("Too late", timeout=0.05)
        for _ in chat.stream("Left early"):
            break
        engine._latency = 0.0  # type: ignore[attr-defined]
        with pytest.raises(RunError, match="E0623"):
            chat.ask(app.go_on, "raw")
        with pytest.raises(RunError, match="E0607"):
            chat.ask(app.judge, scale="x")
        with pytest.raises(TypeError, match="is a @pfunc"):
            chat.ask(len)
        with pytest.raises(TypeError, match="no semantic function"):
            chat.ask(app.chain, "x")
        with pytest.raises(CompileError):
            chat.say("x", max_tokenz=3)
        assert (chat.history, chat.tokens) == (before, tokens)
        assert chat.say("Goes on")


def test_an_answer_is_streamed(service: Service) -> None:
    with Chat(service=service) as chat, Chat(service=service) as other:
        pieces = list(chat.stream("Hello", max_tokens=30))
        assert len(pieces) > 1 and "".join(pieces) == chat.history[-1]["text"]

        async def streamed() -> str:
            return "".join([piece async for piece in other.astream("Hello", max_tokens=30)])

        assert asyncio.run(streamed()) == "".join(pieces)
        assert asyncio.run(other.asay("x")) == chat.say("x")


def test_an_answer_that_is_not_read_to_its_end_is_no_turn(service: Service) -> None:
    with Chat(service=service) as chat:
        chat.say("Hello")
        before = chat.history
        reading = chat.stream("Hello again", max_tokens=30)
        next(reading)
        while service.engines()[0].running:  # all of it is there, and was not asked for
            time.sleep(0.005)
        reading.close()
        chat.read(_nothing(), "x")
        assert chat.history == before


def _nothing() -> Callee:
    return Library.of(
        Source("x.pfn", 'pfunc f(x: str) -> str:\n    user "{{x}}"\n'), Path()
    ).callee("f")


def test_raw_texts_are_a_conversation_too(app: ModuleType, service: Service) -> None:
    with Chat(service=service) as chat:
        first = chat.ask(app.go_on, "one")
        before = chat.filled_tokens
        second = chat.ask(app.go_on, "two")
        assert chat.filled_tokens - before == len("two:")
        assert chat.history == [] and chat.tokens > 0
        with pytest.raises(RunError, match="E0623"):
            chat.say("x")
    whole = f"one:{first}two"
    with Chat(service=service) as other:
        if len(first) == 6:  # else the end was a special token, which is no text
            assert other.ask(app.go_on, whole) == second


def test_a_closed_chat_holds_nothing(service: Service) -> None:
    chat = Chat("Be brief.", service=service)
    chat.say("Hello")
    fork = chat.fork()
    chat.close()
    chat.close()
    with pytest.raises(RuntimeError, match="closed"):
        chat.say("x")
    assert fork.say("Hello again")
    fork.close()
    (memory,) = service._memories.values()
    service.start(memory.make_room()).result()
    assert held(service) == 0


def test_the_model_of_a_chat() -> None:
    service = Service(Settings(), {})
    with Chat(model=model.reference("hash"), service=service) as chat:
        assert chat.say("Hello", max_tokens=3) is not None
        assert service.engines()[0].engine == "reference"
    assert isinstance(chat._talk, Talk)
    service.close()


def test_the_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PARROTC_ENGINE", "reference")
    talk = runpy.run_path(str(EXAMPLE))["talk"]
    first, second, third = talk(["Who wrote Faust?", "And when?", "And why?"])
    assert second < first and third <= second
    assert "tokens filled" in capsys.readouterr().out


@pytest.mark.model
def test_the_second_turn_of_a_real_model() -> None:
    """The embedded engine fills the few tokens of the question, and keeps what it has said."""
    service = Service(Settings(engine="embedded"), {})
    with Chat("You answer in one sentence.", service=service) as chat:
        chat.say("Who wrote Faust?", max_tokens=12)
        first, before = chat.filled_tokens, service.engines()[0].filled_tokens
        tokens = chat.tokens
        chat.say("And when?", max_tokens=12)
        engine = service.engines()[0].filled_tokens - before
        second = chat.filled_tokens - first
        assert second < 20 and engine <= second + 1, "the last token said has not been read yet"
        assert chat.tokens <= tokens + second + 12
    service.close()
