"""How Python files are read: places, line ends, what is not Python, and the words of findings."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from commands import parrotc

from parrotc import CompileError
from parrotc.driver import compile_source, findings
from parrotc.ir.source import Source
from parrotc.python.parsing import UNREADABLE, parsed, parsed_expression
from parrotc.python.places import Places

HEAD = "from parrotc import flow, model, pfunc, user\n\n\n"
RAW = HEAD + (
    'far = model.openai("gpt-4o")\n\n\n@pfunc(model=far)\ndef f(x: str) -> str:\n'
    '    """{{x}}:{{gen}}"""\n\n\n@flow\ndef g(x: str) -> str:\n    return f(x)\n'
)


def test_what_an_endpoint_cannot_do_is_said_in_python() -> None:
    """Wherever it is found: when checking, and when compiling."""
    found = [one for one in findings(Source("app.py", RAW)) if one.code == "E0403"]
    assert [one.help for one in found] == ['put the text into `user("…")`']
    with pytest.raises(CompileError) as refused:
        compile_source(Source("app.py", RAW))
    assert [one.help for one in refused.value.diagnostics] == ['put the text into `user("…")`']


def test_only_a_text_outside_messages_is_taken_for_documentation() -> None:
    text = HEAD + '@pfunc\ndef f(x: str) -> str:\n    "x"\n    user("{{x}}")\n'
    (found,) = (one for one in findings(Source("app.py", text)) if one.code == "E0328")
    assert found.help == 'put it into a message: `user("…")`; documentation is a comment'


@pytest.mark.parametrize(
    "head",
    ["def", "class", "async def", "async  def", "class \\\n ", "def\t"],
)
def test_the_place_of_a_name(head: str) -> None:
    for name in ("d", "name"):
        suite = ":" if "class" in head else "():"
        text = f"x = 1\n@deco\n{head} {name}{suite}\n    pass\n"
        span = Places(Source("app.py", text)).name(parsed(text).body[1])  # type: ignore[arg-type]
        assert (span.text(), span.start) == (name, text.index(f" {name}{suite}") + 1)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_python_ends_them(end: str, tmp_path: Path) -> None:
    """In a file that another one imports, too."""
    lib = '@pfunc\ndef f(x: str) -> str:\n    """\n    {{x}}\n    in short:{{gen}}\n    """\n'
    (tmp_path / "lib.py").write_bytes((HEAD + lib).replace("\n", end).encode())
    text = HEAD + "from lib import f\n\n\n@flow\ndef g(x: str) -> str:\n    return f(x)\n"
    (tmp_path / "app.py").write_text(text)
    done = parrotc("render", str(tmp_path / "lib.py:f"), "x=a", "--engine", "reference")
    assert done.code == 0 and "a\nin short:" in done.out, done.err
    done = parrotc("run", str(tmp_path / "app.py:g"), "x=a", "--engine", "reference")
    assert done.code == 0, done.err
    places = Places(Source("x.py", end.join(["é = 1", "b = 2"])))
    assert places.offset(2, 0) == len("é = 1" + end)


def test_reading_warns_of_nothing_and_refuses_what_is_not_python() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parsed('x = "\\{{y}}"')
        parsed_expression('f("\\{{y}}")')
    for wrong in ("x = (", "x = 1\0", "(" * 10_000):
        with pytest.raises(UNREADABLE):
            parsed(wrong)
    for wrong in ("a b", "x = 1", "a)(b", "\0"):
        with pytest.raises(UNREADABLE):
            parsed_expression(wrong)
    quoted = HEAD + '@flow\ndef g(x: "st\\0r") -> str:\n    return x\n'
    assert [one.code for one in findings(Source("app.py", quoted))] == ["E0128"]


def test_an_async_function_inside_another_is_told(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from parrotc import CompileError, flow\n\n\ndef make():\n"
        "    @flow\n    async def f(x: str) -> str:\n        return x\n\n    return f\n\n\n"
        "try:\n    make()('x')\nexcept CompileError as error:\n    print(error)\n"
    )
    run = [sys.executable, str(tmp_path / "app.py")]
    done = subprocess.run(run, capture_output=True, text=True)
    assert "E0129" in done.stdout and "app.py:6:15" in done.stdout, done.stderr
