"""`parrotc test`: what it finds, what it prints, and how it ends."""

import re
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
from commands import Done, parrotc

ROOT = Path(__file__).parent.parent.parent
GOOD = """
pfunc rate(text: str) -> int(ge=1, le=10):
    user "Rate from 1 to 10: {{text}}"

flow best(texts: list[str]) -> int:
    return max([rate(t) for t in texts])

test "the highest wins":
    mock rate -> each [3, 9]
    assert best(["a", "b"]) == 9

test "on the reference engine":
    assert best(["a", "b"]) > 0
"""
BAD = GOOD + '\ntest "wrong":\n    mock rate -> 4\n    assert best(["a"]) == 5\n'
BROKEN = 'test "t":\n    assert nothing == 1\n'
IMPORTING = 'from good import best\n\ntest "imported":\n    assert best(["a"]) > 0\n'
SECONDS = re.compile(r"\d+\.\d\d s")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.pfn").write_text(GOOD)
    (tmp_path / "more" / ".hidden").mkdir(parents=True)
    (tmp_path / "more" / "bad.pfn").write_text(BAD)
    (tmp_path / "more" / "plain.pfn").write_text(GOOD.split("test ")[0])
    (tmp_path / "more" / ".hidden" / "never.pfn").write_text(BROKEN)
    return tmp_path


def run(*args: str) -> Done:
    done = parrotc("test", *args)
    return Done(done.code, SECONDS.sub("N s", done.out), done.err)


def test_what_passes() -> None:
    assert run("good.pfn") == Done(0, "good.pfn ..\n2 passed in N s\n", "")


def test_a_folder_and_what_fails() -> None:
    done = run()
    assert done.code == 1
    assert done.out == "good.pfn ..\nmore/bad.pfn ..F\n1 failed, 4 passed in N s\n"
    assert "── more/bad.pfn::wrong ──" in done.err
    assert "error[E0801]" in done.err and "more/bad.pfn:17:12" in done.err
    assert "4 == 5" in done.err


def test_lines_or_nothing() -> None:
    lines = run("-v", "more").out.splitlines()
    assert lines[0] == "more/bad.pfn::the highest wins passed (N s)"
    assert lines[2] == "more/bad.pfn::wrong FAILED (N s)"
    assert run("-q", "more").out == "1 failed, 2 passed in N s\n"


def test_it_stops_at_the_first_failure(folder: Path) -> None:
    (folder / "a.pfn").write_text(BAD)
    (folder / "0.pfn").write_text(BROKEN)
    assert run("-x").out == "0.pfn E\n1 file with errors in N s\n"
    (folder / "0.pfn").unlink()
    assert run("-x").out == "a.pfn ..F\n1 failed, 2 passed in N s\n"


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("highest", 2),
        ("HIGHEST or wrong", 3),
        ("bad and not wrong", 2),
        ("not (good or wrong)", 2),
        ("not not wrong", 1),
        ("good and highest or wrong", 2),
        ("good or highest and wrong", 2),
    ],
)
def test_a_choice_by_name(expression: str, count: int) -> None:
    found = run("-k", expression, "-v").out.splitlines()[:-1]
    assert len(found) == count


@pytest.mark.parametrize("expression", ["and", "a or", "(a", "a b", "not", "a )"])
def test_an_expression_that_means_nothing(expression: str) -> None:
    done = run("-k", expression)
    assert done.code == 2 and f"-k {expression}: " in done.err


def test_a_single_test() -> None:
    done = run("good.pfn::the highest wins", "-v")
    assert done.out == ("good.pfn::the highest wins passed (N s)\n1 passed, 1 deselected in N s\n")
    both = run("good.pfn::the highest wins", "more", "-q")
    assert both.out == "1 failed, 3 passed, 1 deselected in N s\n"


def test_nothing_to_run_is_wrong_usage(folder: Path) -> None:
    for args in (["-k", "nobody"], ["more/plain.pfn"], ["good.pfn::nobody"]):
        done = run(*args)
        assert done.code == 2 and "there are no such tests" in done.err, args


def test_paths_that_are_none(folder: Path) -> None:
    done = run("nowhere.pfn")
    assert done.code == 1 and "there is no file or folder nowhere.pfn" in done.err
    (folder / "app.py").write_text("")
    done = run("app.py")
    assert done.code == 1 and "mock_engine" in done.err


def test_a_file_that_does_not_compile(folder: Path) -> None:
    (folder / "broken.pfn").write_text(BROKEN)
    done = run("broken.pfn", "good.pfn")
    assert done.code == 1 and "error[E0301]" in done.err
    assert done.out == "broken.pfn E\ngood.pfn ..\n2 passed, 1 file with errors in N s\n"


def test_imported_files_when_asked(folder: Path) -> None:
    (folder / "user.pfn").write_text(IMPORTING)
    assert run("user.pfn").out == "user.pfn .\n1 passed in N s\n"
    done = run("user.pfn", "--imported")
    assert done.out == "user.pfn .\ngood.pfn ..\n3 passed in N s\n"


def test_a_warning_is_no_failure(folder: Path) -> None:
    (folder / "app.pfn").write_text(GOOD + '\ntest "w":\n    mock rate -> 4\n    assert 1 == 1\n')
    done = run("app.pfn")
    assert done.code == 0 and "warning[W0801]" in done.err
    assert done.out.endswith("3 passed, 1 warning in N s\n")


def test_junit(folder: Path) -> None:
    (folder / "broken.pfn").write_text(BROKEN)
    assert run("--junit", "out.xml").code == 1
    root = xml.parse(folder / "out.xml").getroot()
    suites = {suite.get("name"): suite for suite in root}
    assert set(suites) == {"good.pfn", "more/bad.pfn", "broken.pfn"}
    bad = suites["more/bad.pfn"]
    assert (bad.get("tests"), bad.get("failures"), bad.get("errors")) == ("3", "1", "0")
    (failure,) = bad.iter("failure")
    assert failure.get("type") == "E0801" and "4 == 5" in str(failure.text)
    (error,) = suites["broken.pfn"].iter("error")
    assert error.get("type") == "E0301" and suites["broken.pfn"].get("errors") == "1"


def test_findings_as_json() -> None:
    done = run("more", "--format", "json")
    assert done.err.startswith("[") and '"E0801"' in done.err and "──" not in done.err


def test_live_answers_are_recorded_and_replayed(folder: Path) -> None:
    """`reference:a` stands for an engine that is not there any more when the tests are replayed."""
    recorded = run("good.pfn", "--live", "reference:a", "--record", "answers.jsonl")
    assert recorded.code == 0 and (folder / "answers.jsonl").exists()
    assert run("good.pfn", "--replay", "answers.jsonl") == recorded
    (folder / "good.pfn").write_text(GOOD.replace("Rate from", "Mark from"))
    done = run("good.pfn", "--replay", "answers.jsonl")
    assert done.code == 1 and "error[E0620]" in done.err and done.out.startswith("good.pfn .F\n")


@pytest.mark.model
def test_live_on_the_embedded_model() -> None:
    assert run("good.pfn", "--live", "embedded").code == 0


def test_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer's first look: every example has tests, and they pass in a moment."""
    monkeypatch.chdir(ROOT)
    done = run("examples")
    assert (done.code, done.err) == (0, ""), done.err
    for path in (ROOT / "examples").glob("*.pfn"):
        assert re.search(rf"^examples/{path.name} \.+$", done.out, re.M), path.name
