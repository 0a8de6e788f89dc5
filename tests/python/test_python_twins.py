"""A `.pfn` program and its twin in Python are one program: the same IR text, the same results."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import parrotc

from parrotc.driver import checked, compile_path, findings, read_source
from parrotc.ir.printer import print_module
from parrotc.lower import lower
from parrotc.program import LoadedProgram, standard_function
from parrotc.report import report
from parrotc.settings import Settings
from parrotc.targets import ModelOverrides

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.pfn"))
REFERENCE = ModelOverrides(engine="reference")
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "agent": ("research", {"goal": "When do returns close?", "rounds": 1}),
    "conversation": ("interview", {"questions": ["What is a sheet?", "And a jib?"]}),
    "cited_answers": ("look_up_all", {"questions": ["How long is the warranty?"]}),
    "classify": ("triage", {"mail": "My invoice is wrong.", "floor": 0.6}),
    "code_review": ("build", {"task": "a to-do list"}),
    "endpoints": ("reminders", {"minutes": "Ann is to call the bank, today."}),
    "extract": ("facts", {"letter": "You owe us 12 dollars. Alice"}),
    "map_reduce": ("summarise", {"doc": "One two three four. " * 40, "size": 200}),
    "refine": ("summarise", {"doc": "One two three four. " * 300, "words": 20}),
    "retrieval_qa": ("ask", {"question": "How long is the warranty?"}),
    "summaries": ("contents", {"doc": "One two three four. " * 40, "limit": 90}),
    "think": ("answer", {"question": "2 + 2", "n": 2}),
    "vote_tree": ("tree_search", {"problem": "2 + 2", "width": 2, "depth": 2}),
    "write_code": ("build", {"task": "a to-do list", "rounds": 1}),
}
WHOLE = {"agent", "cited_answers", "retrieval_qa", "think", "write_code"}  # a record is not cut


def twin(path: Path) -> Path:
    return path.parent / "python" / f"{path.stem}.py"


def ids(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", EXAMPLES, ids=ids)
def test_the_same_ir_text(path: Path) -> None:
    written, python = (print_module(lower(checked(read_source(p))[0])) for p in (path, twin(path)))
    assert python == written


@pytest.mark.parametrize("path", EXAMPLES, ids=ids)
def test_the_same_findings(path: Path) -> None:
    """Warnings too: of the same kind, and each in its own file."""
    written, python = (findings(read_source(p)) for p in (path, twin(path)))
    assert [one.code for one in python] == [one.code for one in written]
    assert all(one.span and one.span.source.name == str(twin(path)) for one in python)


@pytest.mark.parametrize("path", EXAMPLES, ids=ids)
def test_the_same_result_and_figures(path: Path) -> None:
    flow, inputs = RUNS[path.stem]
    results: list[Any] = []
    figures: list[list[Any]] = []
    for file in (path, twin(path)):
        compiled = compile_path(file, models=REFERENCE)
        found = report(compiled, flow, inputs, standard_function)
        figures.append([found.calls, found.depth, found.width, found.read, found.generated])
        figures[-1] += [replace(row, line=0) for row in found.rows]
        settings = Settings(max_new_tokens=0 if path.stem in WHOLE else 24)
        with LoadedProgram(compiled.plan, folder=file.parent, settings=settings) as program:
            results.append(getattr(program, flow).plain(inputs, seed=3))
    assert results[0] == results[1]
    assert figures[0] == figures[1]


def test_commands_take_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command that reads a program gives the same for both."""
    monkeypatch.chdir(tmp_path)
    pfn = ROOT / "examples" / "map_reduce.pfn"
    commands = [
        ["compile", "FILE", "--emit", "ir", "-O1", "--engine", "reference"],
        ["compile", "FILE", "--emit", "json-schema"],
        ["run", "FILE:summarise", "doc=a b c", "--engine", "reference"],
        ["viz", "FILE", "--format", "mermaid", "--engine", "reference"],
        ["render", "FILE:digest", "part=a b c", "--engine", "reference"],
        ["check", "FILE"],
    ]
    for command in commands:
        done = [
            parrotc(*(word.replace("FILE", str(file)) for word in command))
            for file in (pfn, twin(pfn))
        ]
        assert done[0].code == done[1].code == 0, (command, done[1].err)
        assert done[0].out == done[1].out, command
    done_tree = parrotc("compile", str(twin(pfn)), "--emit", "ast")
    assert done_tree.code == 0 and 'PfuncDecl(\n  name="digest"' in done_tree.out


def test_a_plan_of_a_python_file_runs(tmp_path: Path) -> None:
    plan = tmp_path / "map_reduce.pplan"
    source = ROOT / "examples" / "python" / "map_reduce.py"
    assert parrotc("compile", str(source), "-o", str(plan), "--engine", "reference").code == 0
    done = parrotc("run", str(plan), "doc=a b c", "--engine", "reference")
    assert done.code == 0 and done.out.strip(), done.err
