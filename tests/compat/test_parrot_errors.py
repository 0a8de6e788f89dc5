"""What is wrong with a program in Parrot's words is said where it is written."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parrotc import CompileError, RunError
from parrotc.compat.parrot import P
from parrotc.settings import SettingsError

SHORT = P.SamplingConfig(max_gen_length=8)


@pytest.fixture
def vm() -> P.VirtualMachine:
    return P.VirtualMachine(engine="reference")


@P.semantic_function()
def say(x: P.Input, text: P.Output(SHORT)):
    """Say {{x}}: {{text}}"""


@P.native_function()
def fails(text: P.Input, out: P.Output):
    raise KeyError(text)


@P.native_function()
def forgets(text: P.Input, out: P.Output):
    pass


def written(error: pytest.ExceptionInfo[Any]) -> tuple[str, str, str]:
    """The code, the message, and the text in this file that is underlined."""
    (found,) = error.value.diagnostics
    assert found.span is not None and found.span.source.name == __file__
    return found.code, found.message, found.span.text()


# --- templates ---


def unknown(topic: P.Input, text: P.Output):
    """A joke, {{topic}},
    {{not a name}} about {{topc}}: {{text}}"""


def begins(text: P.Output):
    """{{text}}"""


def unused(x: P.Input, y: P.Input, text: P.Output):
    """{{x}}: {{text}}"""


def bare(text: P.Output): ...


@pytest.mark.parametrize(
    ("function", "message", "place"),
    [
        (unknown, "`topc` is none of the parameters", "{{topc}}"),
        (begins, "a template begins with text or an input, and this with an output", "{{text}}"),
        (unused, "the parameter `y` is nowhere in the template", "unused"),
        (bare, "the semantic function `bare` has no template", "bare"),
    ],
)
def test_a_template_is_read_when_it_is_declared(
    function: Callable[..., Any], message: str, place: str
) -> None:
    with pytest.raises(CompileError) as error:
        P.semantic_function(formatter=P.standard_formatter)(function)
    assert written(error) == ("E0616", message, place)


def test_a_defined_template_shows_itself(vm: P.VirtualMachine) -> None:
    with pytest.raises(CompileError, match="did you mean `topic`") as error:
        vm.define_function("f", "About {{topc}}", [P.Parameter("topic", P.ParamType.INPUT_LOC)])
    assert error.value.diagnostics[0].span.text() == "{{topc}}"


def test_signatures_are_fixed() -> None:
    def many(*x: P.Input):
        """{{x}}"""

    with pytest.raises(TypeError, match=r"`many` takes `\*x`"):
        P.semantic_function()(many)
    with pytest.raises(TypeError, match="str, int, float, bool or a list"):
        P.native_function()(typed).callee  # noqa: B018
    with pytest.raises(ValueError, match="`model_type` is `token_id` or `text`, not 'txt'"):
        P.semantic_function(model_type="txt")(unused_ok)
    with pytest.raises(ValueError, match=r"max_tokens"):
        P.SamplingConfig(max_tokens=3)


def typed(x: dict, out: P.Output): ...


def unused_ok(x: P.Input, text: P.Output):
    """{{x}}: {{text}}"""


def test_a_decorator_has_brackets() -> None:
    for decorator in (P.semantic_function, P.native_function):
        with pytest.raises(TypeError, match="with brackets"):
            decorator(unused_ok)


# --- calls ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: say(), "`say` needs the input `x`"),
        (lambda: say("a", "b"), "`say` takes 1 inputs, not 2"),
        (lambda: say("a", x="b"), "`say` got two values for `x`"),
        (lambda: say("a", txt="b"), "`say` has no parameter `txt`; did you mean `text`?"),
        (
            lambda: say("a", text="b"),
            "the output `text` of `say` is bound to a variable, not 'b'",
        ),
    ],
)
def test_a_call_that_does_not_fit(
    vm: P.VirtualMachine, call: Callable[[], Any], message: str
) -> None:
    with pytest.raises(TypeError) as error:
        vm.run(call)
    assert str(error.value).startswith(message)


def test_a_function_without_an_output_begins_a_conversation(vm: P.VirtualMachine) -> None:
    @P.semantic_function(remove_pure_fill=False)
    def start():
        """Be kind."""

    with pytest.raises(TypeError, match=r"`start` has no output.*`invoke_statefully`"):
        vm.run(start)


def test_an_input_that_nobody_sets(vm: P.VirtualMachine) -> None:
    def main() -> None:
        say(P.variable("name")).get()

    with pytest.raises(RunError, match=r"E0621.*`name` has not been set"):
        vm.run(main)


def test_a_variable_outside_of_a_program() -> None:
    with pytest.raises(RuntimeError, match="no virtual machine runs here"):
        P.variable("x").get()


# --- natives ---


def test_what_a_native_raises_is_told_at_its_call(vm: P.VirtualMachine) -> None:
    def main() -> None:
        say(fails("boo")).get()

    with pytest.raises(RunError) as error:
        vm.run(main)
    code, message, place = written(error)
    assert (code, place) == ("E0601", 'fails("boo")')
    assert "KeyError: 'boo'" in message


def test_a_native_that_nobody_reads_fails_the_run(vm: P.VirtualMachine) -> None:
    with pytest.raises(RunError, match="KeyError: 'boo'"):
        vm.run(lambda: fails("boo") and None)


def test_a_native_gives_all_its_outputs(vm: P.VirtualMachine) -> None:
    with pytest.raises(RunError, match=r"`forgets` gave no value for its output `out`"):
        vm.run(lambda: forgets("x").get())


# --- machines ---


def test_what_a_machine_is_made_of() -> None:
    with pytest.raises(ValueError, match="`mode` is `release` or `debug`, not 'fast'"):
        P.VirtualMachine(mode="fast")
    with pytest.raises(SettingsError, match="there is no setting `engin`"):
        P.VirtualMachine(engin="reference")
    with pytest.raises(TypeError, match="a core has engines and settings of its own"):
        P.VirtualMachine("http://localhost:1", engine="reference")


def test_importing(vm: P.VirtualMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "held_by_parrot.py").write_text("def plain(): ...\n")
    (tmp_path / "broken_for_parrot.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError, match=r"no function `plan`; did you mean `plain`\?"):
        vm.import_function("plan", "held_by_parrot")
    with pytest.raises(ImportError, match="neither a semantic nor a native"):
        vm.import_function("plain", "held_by_parrot")
    with pytest.raises(ZeroDivisionError):
        vm.import_function("x", "broken_for_parrot")
    with pytest.raises(ModuleNotFoundError):
        vm.import_function("x", "nowhere_for_parrot")
    sys.modules.pop("held_by_parrot")


async def test_batches(vm: P.VirtualMachine) -> None:
    with vm.running_scope():
        with pytest.raises(RuntimeError, match="no batch is being made"):
            await vm.submit_batch()
        vm.set_batch()
        with pytest.raises(RuntimeError, match="a batch is being made already"):
            vm.set_batch()
        with pytest.raises(RuntimeError, match="a stateful call is no part of a batch"):
            say.invoke_statefully(say, x="a")
        await vm.submit_batch()


def test_a_batch_that_is_left(vm: P.VirtualMachine) -> None:
    def main() -> None:
        vm.set_batch()
        say("x")

    with pytest.raises(RuntimeError, match="a batch of 1 calls was left"):
        vm.run(main)


def test_a_batch_of_another_machine(vm: P.VirtualMachine) -> None:
    with pytest.raises(RuntimeError, match="another virtual machine runs here"):
        P.VirtualMachine(engine="reference").run(vm.set_batch)


def test_an_output_that_is_set(vm: P.VirtualMachine) -> None:
    with pytest.raises(RuntimeError, match="`done` is set already"):
        vm.run(lambda: say("x", text=P.variable("done", "a text")))
