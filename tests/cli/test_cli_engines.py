"""`--engine` takes a program to an engine elsewhere, with the same tokens as on one in process."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import parrotc

pytest.importorskip("aiohttp")

from served import served

PROGRAM = """
pfunc answer(question: str) -> str:
    system "You answer in one short sentence, in plain words and without adding facts."
    user "{{question}}"
    assistant "{{gen max_tokens=16}}"

pfunc rate(text: str) -> int(ge=1, le=5):
    user "Rate this: {{text}}"

flow ask(questions: list[str]) -> list[int]:
    return [rate(answer(q)) for q in questions]
"""
ASK = 'questions=["Who?", "Where is it?", "When?"]'


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "app.pfn"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def url() -> Iterator[str]:
    """A reference engine that is served from another thread."""
    found: list[str] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with served() as there:
            found.append(there.url)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    yield found[0]
    done.set()
    thread.join(20)


def test_a_program_runs_on_an_engine_elsewhere(program: Path, url: str) -> None:
    here = parrotc("run", str(program), ASK, "--engine", "reference")
    there = parrotc("run", str(program), ASK, "--engine", url)
    assert here.code == there.code == 0, there.err
    assert here.out == there.out
    one_model = parrotc("run", str(program), ASK, "--model", f"default={url}")
    assert one_model.out == here.out


def test_a_plan_for_an_engine_elsewhere_runs_there(program: Path, url: str, tmp_path: Path) -> None:
    plan = tmp_path / "app.pplan"
    assert parrotc("compile", str(program), "--engine", url, "-o", str(plan)).code == 0
    assert parrotc("run", str(plan), ASK).code == 0


def test_an_engine_that_is_not_there_is_named(program: Path) -> None:
    done = parrotc("run", str(program), ASK, "--engine", "http://127.0.0.1:9")
    assert done.code == 1
    assert "E0610" in done.err and "cannot be reached" in done.err and "parrotc engine" in done.err
