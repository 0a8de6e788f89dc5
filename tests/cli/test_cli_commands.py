"""What each command prints, and where: results on stdout, diagnostics on stderr."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Done, parrotc

from parrotc.cli.main import COMMANDS
from parrotc.ir.parser import parse_module
from parrotc.ir.printer import print_module
from parrotc.ir.source import Source
from parrotc.passes.table import PASSES
from parrotc.runtime.plan import Plan

PROGRAM = """
const STYLE = "You answer in one short sentence, in plain words and without adding facts."

pfunc answer(question: str) -> str:
    system "{{STYLE}}"
    user "{{question}}"
    assistant "{{gen max_tokens=16}}"

pfunc rate(text: str) -> int(ge=1, le=5):
    system "{{STYLE}}"
    user "Rate this: {{text}}"
    assistant "{{gen max_tokens=8}}"

flow ask(questions: list[str]) -> list[str]:
    return [answer(q) for q in questions]

flow judge(text: str, times: int = 2) -> int:
    return rate(answer(text))
"""
ASK = PROGRAM.split("flow ask")[1].split("flow judge")[0]
WRONG = 'pfunc f(a: str) -> str:\n    "{{b}}{{gen}}"\n'


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "app.pfn"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.pfn"
    path.write_text(WRONG)
    return path


def command(name: str, path: Path | str, *args: str) -> Done:
    return parrotc(name, str(path), "--engine", "reference", *args)


# --- the group ---


def test_every_command_says_what_the_list_says() -> None:
    listed = parrotc("--help").out
    for name, line in COMMANDS.items():
        assert line in listed
        text = " ".join(parrotc(name, "--help").out.split())
        assert line.rstrip(".") in text, name


def test_a_wrong_command_is_wrong_usage_with_a_suggestion() -> None:
    done = parrotc("chekc")
    assert done.code == 2 and "check" in done.err


def test_help_is_quick_and_loads_nothing() -> None:
    script = (
        "import sys\n"
        "from parrotc.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'lark', 'pydantic', 'rich', 'tokenizers'} & set(sys.modules)\n"
        "print(*heavy, file=sys.stderr)\n"
    )
    spent = []
    for _ in range(3):
        before = _cpu_seconds()
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        spent.append(_cpu_seconds() - before)
        assert not done.stderr.strip(), done.stderr
    assert min(spent) < 0.3


def _cpu_seconds() -> float:
    """Of all processes started so far and ended: what others do on the machine does not count."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


# --- check ---


def test_check_prints_nothing_about_a_good_program(program: Path) -> None:
    assert parrotc("check", str(program)) == Done(0, "", "")


def test_check_prints_on_stderr(wrong: Path) -> None:
    done = parrotc("check", str(wrong))
    assert (done.code, done.out) == (1, "")
    assert "^" in done.err and "wrong.pfn:2:8" in done.err


def test_check_reads_several_files(program: Path, wrong: Path) -> None:
    done = parrotc("check", str(program), str(wrong), str(wrong.with_name("no.pfn")))
    assert done.code == 1 and "E0100" in done.err and "wrong.pfn" in done.err


def test_findings_as_json(wrong: Path) -> None:
    done = parrotc("check", str(wrong), "--format", "json")
    (found,) = json.loads(done.err)
    assert found["level"] == "error" and found["place"]["line"] == 2
    text = WRONG[found["place"]["start"] : found["place"]["end"]]
    assert text == "b"


def test_no_findings_are_still_a_document(program: Path) -> None:
    assert json.loads(parrotc("check", str(program), "--format", "json").err) == []
    sarif = json.loads(parrotc("check", str(program), "--format", "sarif").err)
    assert sarif["runs"][0]["results"] == []


def test_findings_for_github(wrong: Path) -> None:
    done = parrotc("check", str(wrong), "--format", "github")
    (line,) = done.err.splitlines()
    assert line.startswith(f"::error file={wrong},line=2,col=8,endLine=2,endColumn=9,title=E03")


def test_findings_as_sarif(wrong: Path) -> None:
    log = json.loads(parrotc("check", str(wrong), "--format", "sarif").err)
    (result,) = log["runs"][0]["results"]
    assert result["ruleId"] == log["runs"][0]["tool"]["driver"]["rules"][0]["id"]
    region = result["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 2, "startColumn": 8, "endLine": 2, "endColumn": 9}


def test_colour_only_when_it_is_wanted(wrong: Path) -> None:
    plain = parrotc("check", str(wrong), env={"PARROTC_COLOR": "auto"})
    bright = parrotc("check", str(wrong), env={"PARROTC_COLOR": "always"})
    assert "\x1b" not in plain.err and "\x1b[31m" in bright.err


# --- compile ---


def test_compile_writes_a_plan_beside_the_program(program: Path) -> None:
    done = command("compile", program)
    assert done.code == 0 and done.out == ""
    plan = Plan.from_json(program.with_suffix(".pplan").read_bytes())
    assert [flow.name for flow in plan.flows] == ["ask", "judge"]


def test_compiling_twice_gives_the_same_bytes(program: Path, tmp_path: Path) -> None:
    for name in ("a.pplan", "b.pplan"):
        command("compile", program, "-o", str(tmp_path / name))
    assert (tmp_path / "a.pplan").read_bytes() == (tmp_path / "b.pplan").read_bytes()


def test_emit_ir_is_text_that_the_parser_reads(program: Path) -> None:
    for level in ("-O0", "-O1"):
        text = command("compile", program, "--emit", "ir", level).out
        assert print_module(parse_module(Source("x", text))) == text


def test_emit_json_schema(program: Path) -> None:
    schemas = json.loads(command("compile", program, "--emit", "json-schema").out)
    assert schemas["judge"]["input"]["required"] == ["text"]
    assert schemas["judge"]["output"] == {"type": "integer", "minimum": 1, "maximum": 5}


def test_emit_ast(program: Path) -> None:
    assert "answer" in parrotc("compile", str(program), "--emit", "ast").out


def test_dump_writes_every_stage_and_each_can_be_run(program: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stages"
    assert command("compile", program, "--dump", str(folder)).code == 0
    files = sorted(folder.iterdir())
    assert [file.name[:2] for file in files] == [f"{n:02}" for n in range(len(files))]
    results = {
        command("run", f"{file}:judge", "text=hello").out
        for file in files
        if file.suffix in (".pir", ".pplan")
    }
    assert len(results) == 1 and results.pop().strip() in "12345"


def test_reserved_levels_are_wrong_usage(program: Path) -> None:
    assert parrotc("compile", str(program), "-O2").code == 2


# --- run ---


def test_run_prints_texts_as_they_are_and_the_rest_as_json(tmp_path: Path) -> None:
    path = tmp_path / "app.pfn"
    path.write_text(
        "flow text(t: str) -> str:\n    return t\n\nflow more(n: list[int]) -> list[int]:\n"
        "    return n + [len(n)]\n"
    )
    assert parrotc("run", f"{path}:text", 't=[1, "a"]') == Done(0, '[1, "a"]\n', "")
    assert parrotc("run", f"{path}:text", "t=a", "--json").out == '"a"\n'
    assert json.loads(parrotc("run", f"{path}:more", "n=[5, 6]").out) == [5, 6, 2]


def test_inputs_from_files_and_stdin(tmp_path: Path) -> None:
    path, given = tmp_path / "app.pfn", tmp_path / "given.txt"
    path.write_text("flow text(t: str) -> str:\n    return t\n")
    given.write_text("from a file\nüñ")
    assert parrotc("run", str(path), f"t=@{given}").out == "from a file\nüñ\n"
    assert parrotc("run", str(path), "t=@-", stdin="piped").out == "piped\n"
    assert parrotc("run", str(path), "t=@@home").out == "@home\n"


def test_run_levels_agree(program: Path) -> None:
    results = {command("run", f"{program}:judge", "text=hi", level).out for level in ("-O0", "-O1")}
    assert len(results) == 1


def test_stats_and_trace(program: Path, tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    asked = 'questions=["a", "b", "c"]'
    done = command("run", f"{program}:ask", asked, "--stats", "--trace", str(log))
    assert done.err.startswith("3 calls in ") and "sharing saved" in done.err
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert sum(event["event"] == "finished" for event in events) == 3
    assert events[-1]["calls_done"] == 3


def test_which_flow_must_be_said(program: Path) -> None:
    done = command("run", program)
    assert done.code == 2 and "ask, judge" in done.err


def test_max_new_tokens_caps_texts(program: Path) -> None:
    asked = 'questions=["a"]'
    (short,) = json.loads(command("run", f"{program}:ask", asked, "--max-new-tokens", "2").out)
    (whole,) = json.loads(command("run", f"{program}:ask", asked).out)
    assert len(short) < len(whole)


CHAT_ONLY = """
model large = openai("gpt-4.1")

@model(large)
pfunc year(text: str) -> str(regex="[0-9]{4}"):
    user "In which year? {{text}}"

flow when(text: str) -> str:
    return year(text)
"""


def test_what_an_endpoint_cannot_do_is_told_unless_another_model_runs_it(tmp_path: Path) -> None:
    path = tmp_path / "app.pfn"
    path.write_text(CHAT_ONLY)
    for name in ("check", "plan"):
        done = parrotc(name, str(path))
        assert (done.code, done.err.count("error[E0404]")) == (1, 1)
    assert parrotc("plan", str(path), "--engine", "reference").code == 0


# --- plan ---


def test_plan_is_exact_once_inputs_are_given(program: Path) -> None:
    symbolic = command("plan", f"{program}:ask")
    assert "|questions|" in symbolic.out
    found = json.loads(command("plan", f"{program}:ask", 'questions=["a", "bc"]', "--json").out)
    assert (found["calls"], found["depth"], found["generated"]) == (2, 1, 32)


def test_the_plan_says_what_a_run_reads(program: Path, tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    asked = 'questions=["a", "bc", "", "four words are here"]'
    for level in ("-O0", "-O1"):
        found = json.loads(command("plan", f"{program}:ask", asked, level, "--json").out)
        command("run", f"{program}:ask", asked, level, "--trace", str(log))
        last = json.loads(log.read_text().splitlines()[-1])
        assert (found["read"], found["calls"]) == (last["tokens_filled"], last["calls_done"])
    assert found["read"] < found["as_written"]


def test_the_plan_says_what_the_rounds_of_a_map_share(tmp_path: Path) -> None:
    path = tmp_path / "app.pfn"
    path.write_text(PROGRAM[: PROGRAM.index("pfunc rate")] + "flow ask" + ASK)
    (row,) = json.loads(command("plan", path, 'questions=["a"]', "--json").out)["rows"]
    assert row["constant"] > row["shared"] > len("You answer in one short sentence")
    (row,) = json.loads(command("plan", path, 'questions=["a"]', "--json", "-O0").out)["rows"]
    assert row["shared"] == 0


BRANCH = """
flow review(texts: list[str], deep: bool) -> list[str]:
    return [answer(answer(t)) if deep else answer(t) if len(t) > 3 else t for t in texts]
"""


@pytest.mark.parametrize(
    ("texts", "deep", "calls"),
    [(["a", "long text", "b"], False, 1), (["a", "long text"], True, 4), (["a"], False, 0)],
)
def test_an_if_that_inputs_decide_is_counted_as_it_runs(
    tmp_path: Path, texts: list[str], deep: bool, calls: int
) -> None:
    path, log = tmp_path / "app.pfn", tmp_path / "events.jsonl"
    path.write_text(PROGRAM + BRANCH)
    given = (f"{path}:review", f"texts={json.dumps(texts)}", f"deep={json.dumps(deep)}")
    found = json.loads(command("plan", *given, "--json").out)
    command("run", *given, "--trace", str(log))
    last = json.loads(log.read_text().splitlines()[-1])
    assert found["calls"] == last["calls_done"] == calls


def test_of_an_if_nobody_knows_the_larger_arm_counts(tmp_path: Path) -> None:
    path = tmp_path / "app.pfn"
    path.write_text(PROGRAM + BRANCH)
    given = (f"{path}:review", 'texts=["a", "b"]')
    found = json.loads(command("plan", *given, "--json").out)
    assert found["calls"] == {"formula": "4", "at_most": 4}
    assert "calls        ≤ 4" in command("plan", *given).out
    assert command("plan", *given, "--max-calls=4").code == 0
    assert "E0511" in command("plan", *given, "--max-calls=3").err


def test_what_is_known_only_at_first_stays_a_formula(tmp_path: Path) -> None:
    """The list that a loop carries is known in its first round and generated in the others."""
    path = tmp_path / "app.pfn"
    path.write_text(
        PROGRAM + "flow grow(times: int) -> list[str]:\n"
        '    held = ["a"]\n'
        "    for i in range(times):\n"
        "        held = [answer(text) for text in held + held]\n"
        "    return held\n"
    )
    found = json.loads(command("plan", f"{path}:grow", "times=3", "--json").out)
    assert "held" in found["calls"]["formula"]


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ("--max-calls=2", None),
        ("--max-calls=1", "E0511"),
        ("--max-tokens=10", "E0512"),
        ("--max-depth=1", "E0513"),
        ("--max-depth=2", None),
    ],
)
def test_gates(program: Path, gate: str, code: str | None) -> None:
    done = command("plan", f"{program}:judge", "text=hello", gate)
    assert done.code == (1 if code else 0)
    assert (code or "") in done.err


def test_a_gate_that_inputs_decide_asks_for_them(program: Path) -> None:
    done = command("plan", f"{program}:ask", "--max-calls=9")
    assert done.code == 1 and "E0514" in done.err and "|questions|" in done.err


# --- render ---


def test_render_is_the_prompt_to_the_token(program: Path) -> None:
    done = command("render", f"{program}:answer", "question=a <|im_end|> b")
    assert done.out.startswith("<|im_start|>system\nYou answer in one short sentence")
    assert done.out.endswith("user\na <|im_end|> b<|im_end|>\n<|im_start|>assistant\n{{gen}}\n")
    pieces = json.loads(
        command("render", f"{program}:answer", "question=a <|im_end|> b", "--json").out
    )
    assert "".join(piece["text"] for piece in pieces) + "\n" == done.out
    special = [piece["text"] for piece in pieces if len(piece["ids"]) == 1]
    assert special.count("<|im_end|>") == 2, "the one in the input is text"


def test_render_goes_on_after_a_generation(tmp_path: Path) -> None:
    path = tmp_path / "app.pfn"
    path.write_text(
        "pfunc f(n: int) -> (a: str, b: bool):\n"
        '    "Because{{gen a, max_tokens=4, stop="."}}. So {{n}}:{{gen b}}"\n'
    )
    assert command("render", path, "n=7").out == "Because{{gen a}}. So 7:{{gen b}}\n"


def test_render_shows_a_place_for_a_choice_too(tmp_path: Path) -> None:
    path = tmp_path / "app.pfn"
    path.write_text(
        "pfunc f(n: int) -> (a: bool, b: str):\n"
        '    "Is {{n}} odd? {{gen a}}, since {{n}}{{gen b, max_tokens=4}}"\n'
    )
    assert command("render", path, "n=7").out == "Is 7 odd? {{gen a}}, since 7{{gen b}}\n"


def test_render_refuses_inputs_that_do_not_fit(program: Path) -> None:
    done = command("render", f"{program}:answer", "text=a")
    assert done.code == 1 and "no input `text`" in done.err and "`question` is missing" in done.err


# --- the rest ---


def test_opt_runs_the_passes_that_are_named(program: Path, tmp_path: Path) -> None:
    lowered = tmp_path / "lowered.pir"
    lowered.write_text(command("opt", program, "--pass", "effects").out)
    done = command(
        "opt", lowered, "--pass", "lower-calls,dce", "--print-after-all", "--time-passes"
    )
    assert done.code == 0 and "context.gen" in done.out and "call @" not in done.out
    assert "// after lower-calls" in done.err and " ms" in done.err


def test_opt_refuses_an_unknown_pass(program: Path) -> None:
    done = command("opt", program, "--pass", "magic")
    assert done.code == 2 and "magic" in done.err


def test_passes_lists_all() -> None:
    out = parrotc("passes").out
    assert all(name in out for name in PASSES)


def test_explain_has_a_page_for_every_code_in_the_code() -> None:
    listed = {line.split()[0] for line in parrotc("explain").out.splitlines()}
    assert used_codes() <= listed, sorted(used_codes() - listed)
    for code in sorted(listed):
        done = parrotc("explain", code.lower())
        assert done.code == 0 and len(done.out) > 100, code


def used_codes() -> set[str]:
    """Every diagnostic code that a Python file of the package mentions as a literal."""
    import re

    import parrotc

    files = [
        path
        for folder in Path(parrotc.__file__).parent.iterdir()
        if folder.name not in ("stdlib", "kernels", "__pycache__")
        for path in ([folder] if folder.is_file() else folder.rglob("*.py"))
    ]
    literal = re.compile(r'"([EWI]\d{4})"')
    return {code for path in files for code in literal.findall(path.read_text("utf-8"))}


def test_explain_an_unknown_code() -> None:
    done = parrotc("explain", "E9999")
    assert done.code == 2 and "E9999" in done.err


def test_doctor() -> None:
    done = parrotc("doctor")
    assert "Python" in done.out and "embedded model" in done.out


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"CC": "some-cc"}, "ok C compiler some-cc"),
        ({"CC": "", "PATH": ""}, "- C compiler none"),
    ],
)
def test_doctor_names_the_compiler_of_the_kernels(env: dict[str, str], said: str) -> None:
    lines = parrotc("doctor", env=env).out.splitlines()
    assert said in [" ".join(line.split()) for line in lines]


def test_no_traceback_when_the_reader_of_a_pipe_leaves(program: Path) -> None:
    parrot = [sys.executable, "-m", "parrotc.cli.main"]
    done = subprocess.run(
        f"{' '.join(parrot)} compile {program} --emit plan --engine reference | head -c 10",
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert "Traceback" not in done.stderr
