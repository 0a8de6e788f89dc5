"""The same programs against a core: `parrotc serve`'s app on the reference engine."""

import asyncio
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cores import Recording
from fronted import ThreadedFront, threaded

from parrotc import RunError
from parrotc.compat.parrot import P
from parrotc.compat.parrot.running import Given, run_program
from parrotc.runtime.errors import RunTimeout

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "parrot"
SHORT = P.SamplingConfig(max_gen_length=12)
CALLS = {  # generations of each program that needs no chat template of a model
    "hello": 1, "letter": 1, "terminal": 2, "questions": 2, "codegen": 1, "chain": 3,
    "map_reduce": 4, "play": 4, "joke": 2, "captain": 20, "snake": 10, "natives": 2, "batch": 3,
}  # fmt: skip


@pytest.fixture
def engine() -> Recording:
    return Recording()


@pytest.fixture
def front(engine: Recording) -> Iterator[ThreadedFront]:
    with threaded(engine=engine, max_get=20.0) as front:
        yield front


@P.semantic_function()
def say(x: P.Input, text: P.Output(SHORT), end: P.Output(SHORT)):
    """Say {{x}}: {{text}} and {{end}}"""


@P.native_function()
def shout(text: P.Input, loud: P.Output):
    loud.set(text.upper())


@P.native_function()
def fails(text: P.Input, out: P.Output):
    raise KeyError(text)


@pytest.mark.parametrize("name", CALLS)
def test_an_example(
    name: str,
    front: ThreadedFront,
    engine: Recording,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It prints what it prints in this process, and calls the model as often."""
    run_program(str(EXAMPLES / f"{name}.py"), given=Given({"engine": "reference"}))
    here = capsys.readouterr().out
    assert here.strip() and not engine.asked
    for file in EXAMPLES.glob("*.py"):
        text = file.read_text("utf-8")
        there = text.replace(
            "P.VirtualMachine(", f'P.VirtualMachine(core_http_addr="{front.url}", '
        )
        (tmp_path / file.name).write_text(there, "utf-8")
    run_program(str(tmp_path / f"{name}.py"))
    assert capsys.readouterr().out == here
    assert len(engine.asked) == CALLS[name]


def test_variables_of_a_core(front: ThreadedFront) -> None:
    vm = P.VirtualMachine(os_http_addr=front.url)
    local = P.VirtualMachine(engine="reference")
    texts: list[str] = []

    def main() -> None:
        topic = P.variable("topic")
        text, end = say(topic)
        loud = shout(end)
        assert not text.is_ready and text.content is None
        topic.set("{{x}}")
        texts.extend(one.get() for one in (text, end, loud))
        assert isinstance(text.id, str | int) and text.is_ready and text.content == text.get()

    vm.run(main)
    local.run(main)
    assert texts[:3] == texts[3:] and texts[2] == texts[1].upper()


def test_a_first_cause_in_this_process_is_told(front: ThreadedFront) -> None:
    def main() -> None:
        text, _ = say(fails("boo"))
        text.get()

    with pytest.raises(RunError, match="KeyError: 'boo'") as error:
        P.VirtualMachine(front.url).run(main)
    assert error.value.diagnostic.span.text() == 'fails("boo")'


def test_a_native_that_nobody_reads_fails_the_run(front: ThreadedFront) -> None:
    with pytest.raises(RunError, match="KeyError: 'boo'"):
        P.VirtualMachine(front.url).run(lambda: fails("boo") and None)


def test_what_a_core_refuses_is_told_at_the_call(front: ThreadedFront) -> None:
    @P.semantic_function(models=["nowhere"])
    def lost(x: P.Input, text: P.Output(SHORT)):
        """{{x}}: {{text}}"""

    with pytest.raises(RunError, match="nowhere") as error:
        P.VirtualMachine(front.url).run(lambda: lost("x").get())
    assert error.value.diagnostic.span.text() == 'lost("x")'
    with pytest.raises(RunError, match="nowhere"):
        P.VirtualMachine(front.url).run(lambda: lost("x") and None)


def test_a_getter_ends(front: ThreadedFront) -> None:
    def main() -> None:
        P.variable("never").get(timeout=0.1)

    with pytest.raises(RunTimeout):
        P.VirtualMachine(front.url).run(main)


def test_no_core(unused_tcp_port: int) -> None:
    vm = P.VirtualMachine(f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(RunError, match=r"E0624.*did not answer"):
        vm.run(lambda: say("x")[0].get())


def test_what_only_this_process_can_do(front: ThreadedFront) -> None:
    @P.semantic_function(conversation_template=P.model_template)
    def messages(x: P.Input, text: P.Output(SHORT)):
        """{{x}}{{text}}"""

    @P.semantic_function()
    def many(x: P.Input, text: P.Output(P.SamplingConfig(n=2))):
        """{{x}}{{text}}"""

    vm = P.VirtualMachine(front.url)
    for call, message in (
        (lambda: messages("x"), "`P.model_template` runs in process"),
        (lambda: many("x"), "outputs of several draws"),
        (lambda: say.invoke_statefully(say, x="x"), "conversations run in this process"),
    ):
        with pytest.raises(TypeError, match=re.escape(message)):
            vm.run(call)


def test_calls_do_not_block_the_event_loop(front: ThreadedFront) -> None:
    """While the core waits for an input, other tasks of the program go on."""
    vm, gate = P.VirtualMachine(front.url), threading.Event()

    @P.native_function()
    def slow(text: P.Input, out: P.Output):
        gate.wait(20)
        out.set(text)

    async def main() -> None:
        late = asyncio.ensure_future(say(slow("x"))[0].aget())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not late.done()
        gate.set()
        assert await late

    vm.run(main)
