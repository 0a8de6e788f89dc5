"""Recordings of whole programs, from the command line and from Python, and what can be wrong."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from commands import Done, parrotc
from served import served

import parrotc as api
from parrotc.runtime.engines.protocol import GenerateRequest, Sampling
from parrotc.runtime.engines.recording import (
    Answer,
    Finished,
    RecordedModel,
    Recorder,
    RecordingError,
    key,
    read,
)
from parrotc.runtime.texts import ALPHABET
from parrotc.runtime.tokenizer import ByteTokenizer
from parrotc.settings import SettingsError
from parrotc.settings import load as load_settings
from parrotc.targets import ModelOverrides, load_model

PROGRAM = """
pfunc digest(part: str) -> str:
    user "Summarise: {{part}}"
    assistant "{{gen max_tokens=12}}"

pfunc rate(note: str) -> int(ge=1, le=10):
    user "Rate from 1 to 10: {{note}}"

flow main(parts: list[str]) -> str:
    notes = [digest(part) for part in parts]
    best = max([rate(note) for note in notes])
    return digest("{{notes | join(" ")}} {{best}}")
"""
PARTS = '["one", "two"]'
MODEL = RecordedModel.of("reference", "", ByteTokenizer(), None)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "app.pfn"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def recorded(program: Path, tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    assert run(program, "--engine", "reference", "--record", str(path)).code == 0
    return path


def run(program: Path, *args: str, parts: str = PARTS) -> Done:
    return parrotc("run", str(program), f"parts={parts}", *args)


def test_a_recorded_run_is_repeated_without_its_engine(program: Path, recorded: Path) -> None:
    plain = run(program, "--engine", "reference")
    again = run(program, "--replay", str(recorded))  # the program names the embedded model
    assert again == plain


def test_a_compiled_plan_replays_too(program: Path, recorded: Path) -> None:
    assert parrotc("compile", str(program), "--engine", "reference").code == 0
    plan = program.with_suffix(".pplan")
    assert run(plan, "--replay", str(recorded)) == run(program, "--engine", "reference")


def test_what_was_not_recorded_is_told_with_the_nearest(program: Path, recorded: Path) -> None:
    done = run(program, "--replay", str(recorded), parts='["one", "twelve"]')
    assert done.code == 1 and "error[E0620]" in done.err
    assert "app.pfn:4:16" in done.err
    assert "recorded: " in done.err and "Summarise: two" in done.err
    assert "asked:    " in done.err and "Summarise: twelve" in done.err


def test_another_setting_is_told(program: Path, recorded: Path) -> None:
    done = run(program, "--replay", str(recorded), "--max-new-tokens", "5")
    assert "`max_tokens` was 12, and is 5" in done.err


def test_recording_again_adds_to_the_file(program: Path, recorded: Path) -> None:
    before = len(read(recorded).answers)
    longer = '["one", "two", "three"]'
    assert run(program, "--engine", "reference", "--record", str(recorded), parts=longer).code == 0
    held = read(recorded)
    assert len(held.answers) > before and len(held.models) == 1
    for parts in (PARTS, longer):
        assert run(program, "--replay", str(recorded), parts=parts).code == 0


def test_it_records_or_replays() -> None:
    with pytest.raises(SettingsError, match="not both"):
        load_settings({}, Path("/nowhere"), record="a", replay="b")


async def test_a_remote_engine_need_not_be_there_any_more(program: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "answers.jsonl")
    parts = json.loads(PARTS)
    async with served() as server:
        opened = await asyncio.to_thread(api.compile, program, engine=server.url, record=path)
        expected = await opened.main.acall(parts)
        await asyncio.to_thread(opened.close)
    with api.compile(program, replay=path) as replayed:
        assert await replayed.main.acall(parts) == expected
        assert "".join([piece async for piece in replayed.main.stream(parts)]) == expected
        assert [info.engine for info in replayed.engines()] == ["replay"]
    with api.compile(program, engine=server.url, replay=path) as replayed:
        assert replayed.main(parts) == expected


# --- files ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("hello", "is no recording"),
        ("hello\n", ":1 is no line of a recording"),
        ("[1]\n", ":1 is no line of a recording"),
        ('{"model": {"kind": "a", "target": "b", "handshake": null}}\n', "the first line says"),
        ('{"recording": 7}\n', "version 7"),
        ('{"recording": 1}\n{"answer": {"key": 1}}\n', ":2 is no line of a recording"),
        ('{"recording": 1}\n{"surprise": 1}\n', ":2 is no line"),
        ('{"recording": 1}\n{"model": {"kind": "a", "target": "b", "handshake": {}}}\n', ":2 is"),
    ],
)
def test_what_is_no_recording(text: str, said: str, tmp_path: Path, program: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    done = run(program, "--replay", str(path))
    assert done.code == 1 and "error[E0663]" in done.err and said in done.err


def test_a_file_that_is_not_there(program: Path, tmp_path: Path) -> None:
    done = run(program, "--replay", str(tmp_path / "none.jsonl"))
    assert done.code == 1 and "none.jsonl cannot be read" in done.err
    folder = str(tmp_path / "no" / "answers.jsonl")
    done = run(program, "--engine", "reference", "--record", folder)
    assert done.code == 1 and "cannot be written" in done.err


def test_something_else_is_not_written_over(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n")
    done = run(program, "--engine", "reference", "--record", str(path))
    assert done.code == 1 and path.read_text() == "my notes\n"


def test_a_line_that_was_cut_off_is_left_out(recorded: Path) -> None:
    whole = read(recorded)
    text = recorded.read_text()
    recorded.write_text(text[:-20])
    assert len(read(recorded).answers) == len(whole.answers) - 1


def test_a_name_that_is_not_recorded(program: Path, tmp_path: Path) -> None:
    """With several models it must be said which one is meant."""
    path = tmp_path / "answers.jsonl"
    for target in ("a", "b"):
        Recorder(path, RecordedModel.of("reference", target, ByteTokenizer(), None))
    done = run(program, "--replay", str(path))
    assert done.code == 1
    assert "no answers of `builtin:smollm2-135m-instruct`" in done.err
    assert "`reference:a`, `reference:b`" in done.err


def test_an_endpoint_that_reads_text(tmp_path: Path) -> None:
    """It tells no tokenizer, so none is in the file; compiling knows of none, as without one."""
    path = tmp_path / "answers.jsonl"
    model = RecordedModel.of("openai", "large", ALPHABET, None)
    Recorder(path, model).add(
        answered(model, "Grüße \U0001f600", GenerateRequest(2, 1, Sampling()))
    )
    held = read(path)
    assert (
        held.models == {model.name: model} and held.model("openai", "large").tokenizer() is ALPHABET
    )
    assert load_model("openai", "large", ModelOverrides(replay=str(path))).target.tokenizer is None
    (answer,) = held.answers.values()
    assert answer.prompt == "Grüße \U0001f600"


def answered(model: RecordedModel, prompt: str, request: GenerateRequest) -> Answer:
    found = key(model.name, ALPHABET.encode(prompt), request)
    return Answer(model.name, found, prompt, {}, (), Finished("stop", "", (), 0))


@pytest.mark.parametrize(
    "other",
    [
        {"sampling": Sampling(max_tokens=3)},
        {"sampling": Sampling(temperature=0.1)},
        {"sampling": Sampling(key=1)},
        {"sampling": Sampling(stop=("x",))},
        {"said": (1,)},
    ],
)
def test_all_that_determines_an_answer_is_in_its_key(other: dict[str, Any]) -> None:
    plain = GenerateRequest(**{"context": 2, "parent": 1, "sampling": Sampling()})
    changed = GenerateRequest(**{"context": 2, "parent": 1, "sampling": Sampling(), **other})
    assert key("m", [1], plain) != key("m", [1], changed)
    assert key("m", [1], plain) != key("n", [1], plain) != key("m", [2], plain)


def test_what_does_not_determine_an_answer_is_not() -> None:
    plain = GenerateRequest(2, 1, Sampling())
    assert key("m", [1], plain) == key("m", [1], GenerateRequest(9, 8, Sampling(), rank=5.0))


def test_reading_gives_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    request = GenerateRequest(2, 1, Sampling())
    first, second = (
        Answer("m", key("m", [1], request), "p", {"max_tokens": 3}, (), Finished("end", t, (1,), 0))
        for t in ("a", "b")
    )
    recorder = Recorder(path, MODEL)
    recorder.add(first)
    assert read(path).answers == {first.key: first}
    recorder.add(second)
    assert read(path).answers == {second.key: second}, "the last one counts"
    with pytest.raises(RecordingError):
        read(path.with_name("other.jsonl"))
