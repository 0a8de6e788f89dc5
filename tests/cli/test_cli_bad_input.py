"""Whatever a user gives, the answer is a diagnostic and the right status, never a traceback."""

import json
import sys
import time
from pathlib import Path

import pytest
from commands import Done, parrotc

ECHO = 'pfunc say(text: str) -> str:\n    "{{text}} {{gen max_tokens=8}}"\n\n'
FLOW = ECHO + "flow main(text: str) -> str:\n    return say(text)\n"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "app.pfn"
    path.write_text(FLOW)
    return path


def run(path: Path, *args: str) -> Done:
    return parrotc("run", str(path), "--engine", "reference", *args)


def refused(done: Done, code: str, *words: str) -> None:
    """That a command ended with 1 and said why, in these words and no others about Python."""
    assert done.code == 1, done
    assert f"[{code}]" in done.err
    assert "Traceback" not in done.err and "I0001" not in done.err
    for word in words:
        assert word in done.err


# --- files ---


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    refused(parrotc("check", str(tmp_path / "no.pfn")), "E0100", "cannot be read", "no.pfn")


def test_a_folder_for_a_file(tmp_path: Path) -> None:
    refused(parrotc("check", str(tmp_path)), "E0100", "cannot be read")


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.pfn"
    path.write_bytes(b'const A = "caf\xe9"\n')
    refused(parrotc("check", str(path)), "E0100", "not UTF-8", "byte 14")


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.pfn"
    path.write_text("")
    refused(parrotc("check", str(path)), "E0116", "nothing is declared")


def test_a_file_without_flows_cannot_run(tmp_path: Path) -> None:
    path = tmp_path / "app.pfn"
    path.write_text(ECHO)
    done = run(path)
    assert done.code == 2 and "there is none" in done.err


@pytest.mark.parametrize("letter", ["{{", '"', "a", "(", "\n"])
def test_five_megabytes_are_read_in_seconds(tmp_path: Path, letter: str) -> None:
    path = tmp_path / "big.pfn"
    path.write_text(f'pfunc f() -> str:\n    "{letter * (5_000_000 // len(letter))}"\n')
    started = time.monotonic()
    done = parrotc("check", str(path))
    assert done.code in (0, 1) and "I0001" not in done.err
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(("opening", "closing"), ["()", "[]", "{}"])
def test_ten_thousand_nested_brackets(tmp_path: Path, opening: str, closing: str) -> None:
    path = tmp_path / "deep.pfn"
    path.write_text(f"const A = {opening * 10_000}1{closing * 10_000}\n")
    done = parrotc("check", str(path))
    assert done.code == 1 and "error[E0" in done.err and "I0001" not in done.err
    assert len(done.err) < 100_000


# --- plans ---


def compiled(program: Path) -> Path:
    plan = program.with_suffix(".pplan")
    done = parrotc("compile", str(program), "-o", str(plan), "--engine", "reference")
    assert done.code == 0, done.err
    return plan


def test_a_compiled_plan_runs(program: Path) -> None:
    done = parrotc("run", str(compiled(program)), "text=hello")
    assert done.code == 0 and done.out.strip()


def test_a_plan_with_one_byte_changed(program: Path) -> None:
    plan = compiled(program)
    raw = bytearray(plan.read_bytes())
    for at in range(len(raw) // 7, len(raw), len(raw) // 7):
        changed = raw.copy()
        changed[at] ^= 1
        plan.write_bytes(changed)
        done = parrotc("run", str(plan), "text=hello")
        assert done.code == 1 and "error[E065" in done.err, (at, done)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1, 2]", b"\xff\xfe", b'{"format": 99}'])
def test_a_file_that_is_no_plan(tmp_path: Path, content: bytes) -> None:
    plan = tmp_path / "x.pplan"
    plan.write_bytes(content)
    done = parrotc("run", str(plan), "text=hello")
    assert done.code == 1 and "error[E065" in done.err


def test_a_plan_for_another_tokenizer_says_how_to_go_on(program: Path) -> None:
    plan = compiled(program)
    done = parrotc("run", str(plan), "text=a", "--engine", "embedded")
    assert done.code == 1 and "error[E065" in done.err and "retarget" in done.err


# --- functions of the user ---

EXTERN = '@timeout(500ms)\nextern def act(text: str) -> str = "{target}"\n\n'
CALLS = "flow main(text: str) -> str:\n    return act(text)\n"
PYTHON = """
import time

def fails(text):
    raise ValueError("no such customer")

def hangs(text):
    time.sleep(60)

def wrong(text):
    return 7

def dies(text):
    import os
    os._exit(3)
"""


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        ("no_such_module:act", "E0609", "no_such_module"),
        ("actions:nothing", "E0609", "nothing"),
        ("actions:fails", "E0601", "no such customer"),
        ("actions:hangs", "E0602", "0.5"),
        ("actions:wrong", "E0603", "str"),
        ("actions:dies", "E0601", ""),
    ],
)
def test_an_extern_that_cannot_answer(tmp_path: Path, target: str, code: str, words: str) -> None:
    (tmp_path / "actions.py").write_text(PYTHON)
    path = tmp_path / "app.pfn"
    path.write_text(EXTERN.replace("{target}", target) + CALLS)
    started = time.monotonic()
    refused(run(path, "text=a"), code, words, "app.pfn:")
    assert time.monotonic() - started < 20


# --- inputs ---


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["text=1", "more=2"], "no input `more`"),
        ([], "`text` is missing"),
    ],
)
def test_inputs_that_do_not_fit(program: Path, given: list[str], words: str) -> None:
    refused(run(program, *given), "E0607", words)


@pytest.mark.parametrize(
    ("value", "words"),
    [("[1, 2", "not JSON"), ('["a"]', "[0]"), ("7", "list<int>"), ("@no-such-file", "cannot be")],
)
def test_an_input_of_the_wrong_type(tmp_path: Path, value: str, words: str) -> None:
    path = tmp_path / "app.pfn"
    path.write_text("flow main(numbers: list[int]) -> int:\n    return sum(numbers)\n")
    done = run(path, f"numbers={value}")
    assert done.code == 1 and words in done.err and "Traceback" not in done.err


def test_a_prompt_longer_than_the_context(program: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.txt"
    long.write_text("word " * 200_000)
    refused(run(program, f"text=@{long}"), "E0604", "tokens")


# --- one of many ---

MANY = """@timeout(20s)
extern def act(n: int) -> int = "actions:act"

flow strict() -> list[int]:
    return [act(n) for n in range(200)]

flow tolerant() -> list[int?]:
    return [act(n) with (on_error=None) for n in range(200)]
"""
ACT = """
def act(n):
    if n == 117:
        raise ValueError("not this one")
    return n * n
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    (tmp_path / "actions.py").write_text(ACT)
    path = tmp_path / "app.pfn"
    path.write_text(MANY)
    return path


def test_one_failure_of_200_ends_the_run_and_loses_nothing(many: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    refused(run(Path(f"{many}:strict"), "--keep", str(kept)), "E0601", "not this one")
    (finished,) = json.loads(kept.read_text())["finished"].values()
    assert finished["missing"] == [117]
    assert finished["items"] == [None if n == 117 else n * n for n in range(200)]


def test_one_failure_of_200_is_none_with_on_error(many: Path) -> None:
    done = run(Path(f"{many}:tolerant"))
    assert done.code == 0, done.err
    assert json.loads(done.out) == [None if n == 117 else n * n for n in range(200)]


# --- the rest ---


def test_a_bug_of_ours_is_told_as_one(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise AssertionError("this cannot be")

    monkeypatch.setattr("parrotc.driver.compile_source", broken)
    done = run(program, "text=a")
    assert done.code == 2 and "error[I0001]" in done.err and "this cannot be" in done.err
    report = done.err.split("the report is in ")[1].split("\n")[0]
    text = Path(report).read_text()
    Path(report).unlink()
    assert "Traceback" in text and sys.version.split()[0] in text


@pytest.mark.parametrize(
    "setting", [{"PARROTC_LEVEL": "O7"}, {"PARROTC_WIDHT": "3"}, {"PARROTC_SEED": "x"}]
)
def test_a_setting_that_is_wrong_is_wrong_usage(program: Path, setting: dict[str, str]) -> None:
    done = parrotc("run", str(program), "text=a", env=setting)
    assert done.code == 2 and "error[E0660]" in done.err
