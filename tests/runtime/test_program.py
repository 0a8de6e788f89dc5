"""Programs from Python: compiled, saved, loaded, called, awaited, streamed; results are typed."""

import asyncio
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import parrotc
from parrotc.driver import compile_path, retarget
from parrotc.program import LoadedProgram
from parrotc.settings import Settings
from parrotc.targets import ModelOverrides

SOURCE = """
enum Mood:
    GOOD "all is well"
    BAD

class Note:
    title: str "a few words"
    score: int(ge=1, le=5)
    moods: list[Mood]

extern def double(n: int) -> int = "tools:double"
extern def nap(n: int) -> int = "tools:nap"

pfunc say(text: str) -> str:
    system "You repeat."
    user "{{text}}"
    assistant "{{gen max_tokens=40}}"

pfunc take(text: str) -> Note:
    user "{{text}}"

pfunc feel(text: str) -> scored[Mood]:
    user "{{text}}"

flow echo(text: str, times: int = 2) -> str:
    return say(text)

flow note(text: str) -> Note:
    return take(text)

flow mood(text: str) -> scored[Mood]:
    return feel(text)

flow title(note: Note) -> str:
    return note.title

flow twice(n: int) -> int:
    return double(n)

flow sleep(n: int) -> int:
    return nap(n)

flow first(notes: list[Note], fallback: Mood) -> Mood:
    return notes[0].moods[0] if len(notes) > 0 else fallback
"""
TOOLS = """
import time

def double(n):
    return 2 * n

def nap(n):
    time.sleep(n)
    return n
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    (folder / "app.pfn").write_text(SOURCE)
    (folder / "tools.py").write_text(TOOLS)
    return folder


@pytest.fixture(scope="module")
def program(folder: Path) -> Iterator[LoadedProgram]:
    with parrotc.compile(folder / "app.pfn", engine="reference") as program:
        yield program
        assert all(info.running == 0 for info in program.engines())


def test_a_flow_is_called_like_a_function(program: LoadedProgram) -> None:
    result = program.echo("hello")
    assert isinstance(result, str) and result
    assert program.echo(text="hello") == result
    assert program.twice(21) == 42


def test_a_flow_looks_like_a_function(program: LoadedProgram) -> None:
    assert str(inspect.signature(program.echo)) == "(text: str, times: int = 2) -> str"
    assert program.echo.__doc__.startswith("echo(text: str, times: int = 2) -> str")
    assert program.echo.__name__ == "echo"
    assert {"echo", "note"} <= set(dir(program))
    with pytest.raises(AttributeError, match="the program has no flow `ecko`"):
        program.ecko  # noqa: B018


def test_results_are_typed(program: LoadedProgram) -> None:
    note = program.note("x")
    mood = type(program.mood("x").value)
    assert type(note).__name__ == "Note"
    assert 1 <= note.score <= 5
    assert all(isinstance(one, mood) for one in note.moods)
    assert type(program.note("y")) is type(note)
    assert note.model_dump_json()
    scored = program.mood("x")
    assert scored.value in mood and 0 < scored.p <= 1
    assert set(scored.dist) == set(mood)
    assert sum(scored.dist.values()) == pytest.approx(1)
    assert mood.GOOD == "GOOD"  # type: ignore[attr-defined]


def test_results_may_be_inputs(program: LoadedProgram) -> None:
    note = program.note("x")
    assert program.title(note) == note.title
    mood = type(program.mood("x").value)
    assert program.first([], mood.BAD) is mood.BAD  # type: ignore[attr-defined]


@dataclass
class Note:
    title: str
    score: int
    moods: list[str]


def test_dataclasses_and_dicts_are_records(program: LoadedProgram) -> None:
    assert program.title(Note("a", 1, [])) == "a"
    assert program.title({"title": "b", "score": 2, "moods": ["GOOD"]}) == "b"


@pytest.mark.parametrize(
    ("note", "words"),
    [
        (Note("a", 9, []), "note.score: 9 is more than 5"),
        (Note("a", 1, ["SO-SO"]), 'note.moods[0]: "SO-SO" is none of GOOD, BAD'),
        ({"title": "a", "score": 1}, "note.moods: the field is missing"),
        ("text", "note: a text where `Note` was expected"),
    ],
)
def test_a_wrong_input_is_named_with_its_place(
    program: LoadedProgram, note: Any, words: str
) -> None:
    with pytest.raises(parrotc.RunError) as caught:
        program.title(note)
    assert caught.value.diagnostic.code == "E0607"
    assert words in caught.value.diagnostic.message


async def test_flows_can_be_awaited_and_called_inside_a_running_loop(
    program: LoadedProgram,
) -> None:
    results = await asyncio.gather(*(program.echo.acall(str(n)) for n in range(5)))
    assert results == [program.echo(str(n)) for n in range(5)]


async def test_a_text_is_streamed_and_other_results_come_whole(program: LoadedProgram) -> None:
    pieces = [piece async for piece in program.echo.stream("a long one")]
    assert "".join(pieces) == program.echo("a long one")
    assert len(pieces) > 1
    assert [piece async for piece in program.note.stream("x")] == [program.note("x")]
    assert [piece async for piece in program.twice.stream(4)] == [8]


async def test_a_stream_that_is_left_stops_the_run(program: LoadedProgram) -> None:
    stream = program.echo.stream("a long one")
    await anext(stream)
    await stream.aclose()
    await asyncio.sleep(0.05)
    (info,) = program.engines()
    assert info.running == 0


def test_a_timeout_ends_the_run(program: LoadedProgram) -> None:
    with pytest.raises(TimeoutError, match=r"`sleep` has no result after 0\.3 s"):
        program.sleep(30, timeout=0.3)


async def test_cancelling_a_call_cancels_the_run(program: LoadedProgram) -> None:
    task = asyncio.create_task(program.sleep.acall(30))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_closed_program_says_so(folder: Path) -> None:
    program = parrotc.compile(folder / "app.pfn", engine="reference")
    program.twice(1)
    program.close()
    program.close()
    with pytest.raises(RuntimeError, match="the program is closed"):
        program.twice(1)


def test_seeds(folder: Path) -> None:
    text = 'pfunc f() -> str:\n    "{{gen temperature=1.0}}"\n\nflow g() -> str:\n    return f()\n'
    with parrotc.compile(text, engine="reference", seed=1) as program:
        assert program.g() == program.g(seed=1)
        assert len({program.g(seed=n) for n in range(20)}) > 5


# --- saved plans ---


def test_a_saved_plan_gives_the_same_and_finds_its_functions(
    folder: Path, program: LoadedProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plans").mkdir()
    path = tmp_path / "plans" / "app.pplan"
    program.save(path)
    monkeypatch.chdir(tmp_path)
    with parrotc.load("plans/app.pplan") as loaded:
        assert loaded.echo("hello") == program.echo("hello")
        assert loaded.twice(4) == 8


def test_functions_may_be_elsewhere(folder: Path, program: LoadedProgram, tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text("def double(n):\n    return n + 1000\n")
    program.save(tmp_path / "app.pplan")
    with parrotc.load(tmp_path / "app.pplan", native_path=str(tmp_path)) as loaded:
        assert loaded.twice(4) == 1004


def test_a_damaged_plan_is_refused(program: LoadedProgram, tmp_path: Path) -> None:
    path = tmp_path / "app.pplan"
    program.save(path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(parrotc.PlanError):
        parrotc.load(path)
    with pytest.raises(parrotc.PlanError, match="cannot be read"):
        parrotc.load(tmp_path / "nowhere.pplan")


def test_a_plan_for_another_tokenizer_is_refused_unless_it_is_compiled_again(
    program: LoadedProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parrotc.runtime.tokenizer import ByteTokenizer

    path = tmp_path / "app.pplan"
    program.save(path)
    monkeypatch.setattr(ByteTokenizer, "fingerprint", "f" * 64)
    from parrotc.targets import load_target

    load_target.cache_clear()
    try:
        with pytest.raises(parrotc.PlanError, match="compiled for another tokenizer") as caught:
            parrotc.load(path)
        assert caught.value.diagnostic.code == "E0655"
        with parrotc.load(path, retarget=True) as loaded:
            assert loaded.plan.models[0].fingerprint == "f" * 64
            assert loaded.echo("hello")
    finally:
        load_target.cache_clear()


def test_compiling_again_from_a_plan_gives_the_same_plan(folder: Path) -> None:
    """Also the places of everything, which the text of the IR does not carry."""
    models = ModelOverrides("reference")
    plan = compile_path(folder / "app.pfn", models=models).plan
    again = retarget(plan, models).plan
    assert again.to_json() == plan.to_json()


def test_a_model_that_is_not_available_is_named(tmp_path: Path) -> None:
    text = (
        'model big = openai("gpt-5", base_url=env("NOWHERE"))\n\n'
        'pfunc f() -> str:\n    user "Hi"\n\n@model(big)\nflow g() -> str:\n    return f()\n'
    )
    with (
        parrotc.compile(text) as program,
        pytest.raises(parrotc.RunError, match="the environment variable NOWHERE") as caught,
    ):
        program.g()
    assert caught.value.diagnostic.code == "E0610"


def test_the_root_is_as_seen_from_the_plan(folder: Path, program: LoadedProgram) -> None:
    plan = program.plan
    moved = LoadedProgram(plan, folder=folder.parent, settings=Settings())
    with moved, pytest.raises(parrotc.RunError, match="No module named 'tools'"):
        moved.twice(1)
