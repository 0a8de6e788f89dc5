"""`parrotc run --parrot`: scripts as they are."""

import sys
from pathlib import Path

import pytest
from commands import parrotc

from parrotc.compat.parrot.running import aliased

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "parrot"
PROGRAM = '''
import sys
import parrot
import parrot as Q
from parrot import P

assert P is Q is parrot and __name__ == "__main__"
vm = P.VirtualMachine(core_http_addr="http://localhost:1", mode="release")


@P.semantic_function()
def say(x: P.Input, text: P.Output(P.SamplingConfig(max_gen_length=12))):
    """Say {{x}}: {{text}}"""


def main():
    print(say("x").get())
    {then}


vm.run(main)
'''


def script(folder: Path, then: str = "pass") -> str:
    path = folder / "prog.py"
    path.write_text(PROGRAM.replace("{then}", then))
    return str(path)


def test_a_script_runs_in_process_where_an_engine_is_given(tmp_path: Path) -> None:
    done = parrotc("run", "--parrot", script(tmp_path), "--engine", "reference")
    assert done.code == 0 and done.out.strip()
    short = parrotc(
        "run", "--parrot", script(tmp_path), "--engine", "reference", "--max-new-tokens", "3"
    )
    assert short.code == 0 and len(short.out) < len(done.out)
    assert "parrot" not in sys.modules


def test_the_command_line_comes_first(tmp_path: Path) -> None:
    path = Path(script(tmp_path))
    path.write_text(path.read_text().replace('mode="release"', 'engine="http://localhost:1"'))
    done = parrotc("run", "--parrot", str(path), "--engine", "reference")
    assert done.code == 0 and done.out.strip(), done.err


def test_else_it_talks_to_the_core_that_it_names(tmp_path: Path) -> None:
    done = parrotc("run", "--parrot", script(tmp_path))
    assert done.code == 1 and not done.out
    assert "E0624" in done.err and 'say("x")' in done.err


@pytest.mark.parametrize(
    ("then", "shown"),
    [
        ("1 / 0", ["ZeroDivisionError", "prog.py", "1 / 0"]),
        ("say()", ["TypeError: `say` needs the input `x`"]),
        ("say(P.variable('name')).get()", ["error[E0621]", "`name` has not been set"]),
    ],
)
def test_what_a_script_raises_ends_it_with_status_1(
    tmp_path: Path, then: str, shown: list[str]
) -> None:
    done = parrotc("run", "--parrot", script(tmp_path, then), "--engine", "reference")
    assert done.code == 1
    for text in shown:
        assert text in done.err
    assert "I0001" not in done.err and "runpy" not in done.err
    assert "parrot" not in sys.modules


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    done = parrotc("run", "--parrot", str(tmp_path / "nope.py"))
    assert done.code == 1 and "E0100" in done.err
    done = parrotc("run", "--parrot", script(tmp_path), "x=1")
    assert done.code == 2 and "no inputs" in done.err


def test_another_package_of_that_name_is_back_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parrot.py").write_text("bird = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import parrot

    with aliased():
        import parrot as inside

        assert inside.VirtualMachine
    import parrot as after

    assert after is parrot and after.bird
    del sys.modules["parrot"]


@pytest.mark.parametrize("name", ["chatbot", "text_model"])
def test_examples_that_need_this_process(name: str) -> None:
    done = parrotc("run", "--parrot", str(EXAMPLES / f"{name}.py"), "--engine", "reference")
    assert done.code == 0 and done.out.strip() and not done.err


@pytest.mark.model
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_on_the_embedded_model(path: Path) -> None:
    if path.stem == "prompts":
        pytest.skip("a module that others import")
    done = parrotc("run", "--parrot", str(path), "--engine", "embedded", "--max-new-tokens", "8")
    assert done.code == 0 and done.out.strip()
