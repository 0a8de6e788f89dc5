"""The same programs against a core: `parrotc serve`'s app on the reference engine."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cores import Recording
from fronted import ThreadedFront, threaded

from parrotc import RunError
from parrotc.compat.parrot import P
from parrotc.compat.parrot.functions import CompiledFunction
from parrotc.compat.parrot.running import Given, run_program
from parrotc.eager.library import Library
from parrotc.ir.source import Source
from parrotc.runtime.engines.protocol import Finished, GenerateRequest, Piece
from parrotc.runtime.engines.registry import open_engine
from parrotc.runtime.errors import RunTimeout

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "parrot"
SHORT = P.SamplingConfig(max_gen_length=12)
PICK = Library.of(Source("a.pfn", 'pfunc pick(x: str) -> str:\n    user "{{x}}"\n'), Path()).callee(
    "pick"
)
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
    """It is said what to do instead, before anything is sent."""

    @P.semantic_function(conversation_template=P.model_template)
    def messages(x: P.Input, text: P.Output(SHORT)):
        """{{x}}{{text}}"""

    vm = P.VirtualMachine(front.url)
    calls = (lambda: messages("x"), lambda: messages.invoke_statefully(messages, x="x"))
    for call in calls:
        with pytest.raises(TypeError) as error:
            vm.run(call)
        said = str(error.value)
        assert said.startswith("`messages` is messages for the chat template of a model")
        assert "`P.ConversationTemplate(…)`" in said and "`P.VirtualMachine()`" in said
    with pytest.raises(TypeError, match="`pick` was compiled, and a core takes templates"):
        vm.run(lambda: CompiledFunction(PICK)("x"))


# --- conversations ---


def kept(is_whole: bool) -> tuple[Any, Any]:
    """What begins a conversation, and a turn of it; text after the last output is kept or not."""

    @P.semantic_function(remove_pure_fill=False)
    def start():
        """Be kind."""

    @P.semantic_function(remove_pure_fill=not is_whole)
    def turn(q: P.Input, a: P.Output(SHORT)):
        """
        Q: {{q}} A: {{a}} (that was {{q}})"""

    return start, turn


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_conversation_on_a_core(front: ThreadedFront, engine: Recording, is_whole: bool) -> None:
    """It says what it says in this process, and each turn is one generation."""
    start, turn = kept(is_whole)
    texts: list[str] = []

    def main() -> None:
        assert start.invoke_statefully(context_successor=turn) == ()
        for line in ("{{t0_q}}", "and then?", "and at last?"):
            texts.append(turn.invoke_statefully(turn, q=line).get())
        texts.append(turn("plain").get())

    P.VirtualMachine(engine="reference").run(main)
    assert not engine.asked
    P.VirtualMachine(front.url).run(main)
    assert texts[:4] == texts[4:] and len(set(texts)) == 4
    assert len(engine.asked) == 4


@pytest.mark.model
def test_a_turn_on_a_core_fills_what_is_new() -> None:
    """An engine that keeps the prefixes it has read finds all that was said before."""
    engine = open_engine("embedded", "smollm2-135m-instruct")
    _, turn = kept(is_whole=False)
    filled: list[int] = []

    def main() -> None:
        for line in ("A boat left the harbour, and nobody saw it go. " * 10, "When?", "Why?"):
            turn.invoke_statefully(turn, q=line).get()
            filled.append(asyncio.run(engine.ping()).filled_tokens)

    with threaded(engine=engine, max_get=300.0) as front:
        P.VirtualMachine(front.url).run(main)
    assert filled[0] > 100 and filled[1] - filled[0] < 30 and filled[2] - filled[1] < 30


def test_a_turn_may_be_sent_before_the_last_one_ended(front: ThreadedFront) -> None:
    _, turn = kept(is_whole=False)
    texts: list[str] = []

    def main() -> None:
        first = turn.invoke_statefully(turn, q=say("x")[0])
        second = turn.invoke_statefully(turn, q=first)
        texts.extend([second.get(), first.get()])
        aside = P.variable("aside")
        turn.invoke_statefully(None, q="x", a=aside)
        texts.append(aside.get())

    P.VirtualMachine(front.url).run(main)
    P.VirtualMachine(engine="reference").run(main)
    assert texts[:3] == texts[3:]


def test_a_machine_has_its_own_conversations(front: ThreadedFront) -> None:
    """They go on from one run to the next; what is left for one function is not for another."""
    _, turn = kept(is_whole=False)
    one, other = P.VirtualMachine(front.url), P.VirtualMachine(front.url)
    texts: list[str] = []
    for vm in (one, one, other):
        vm.run(lambda: texts.append(turn.invoke_statefully(turn, q="x").get()))
    assert texts[0] == texts[2] != texts[1]


def test_what_a_turn_reads_and_fails_is_told(front: ThreadedFront) -> None:
    _, turn = kept(is_whole=False)

    def main() -> None:
        turn.invoke_statefully(turn, q=fails("boo"))
        turn.invoke_statefully(turn, q="goes on").get()

    with pytest.raises(RunError, match="KeyError: 'boo'"):
        P.VirtualMachine(front.url).run(main)


# --- several draws ---


def test_draws_on_a_core(front: ThreadedFront, engine: Recording) -> None:
    """The prompt is filled once; with a seed, the same texts come again."""
    config = P.SamplingConfig(n=4, temperature=0.9, max_gen_length=12, seed=5)

    @P.semantic_function()
    def many(x: P.Input, first: P.Output(config), second: P.Output(SHORT)):
        """Say {{x}}, of which there is a lot to say: {{first}} and {{second}}"""

    @P.native_function()
    def join(texts: list[str], out: P.Output):
        out.set("|".join(texts))

    given: list[Any] = []

    def main() -> None:
        first, second = many("x")
        joined = join(first)
        assert len(first.get()) == len(second.get()) == 4 == len(set(first.get()))
        assert joined.get() == "|".join(first.get()) and first.is_ready
        assert first.content == first.get()
        given.append((first.get(), second.get()))
        with pytest.raises(RunError, match=r"E0607.*`first` is a `list<str>`"):
            say(first)
        with pytest.raises(TypeError, match="only a text is streamed"):
            first.stream()

    vm = P.VirtualMachine(front.url)
    vm.run(main)
    assert len(engine.asked) == 8
    prompt = len("Say x, of which there is a lot to say: ")
    assert asyncio.run(engine.ping()).filled_tokens < prompt + 4 * (12 + len(" and ")) + 4
    vm.run(main)
    assert given[0] == given[1]


# --- streams ---


def test_a_text_of_a_core_is_streamed(front: ThreadedFront) -> None:
    """Of each output of a call, also when it is there already."""
    local = P.VirtualMachine(engine="reference")

    def main() -> None:
        text, end = say("x")
        told = ["".join(one.stream(timeout=20)) for one in (text, end)]
        assert told == [text.get(), end.get()]
        assert "".join(text.stream()) == text.get()
        assert list(P.variable("x", "given").stream()) == ["given"]

    async def later() -> None:
        text, end = say("x")
        told = [[piece async for piece in one.astream(timeout=20)] for one in (end, text)]
        assert ["".join(one) for one in told] == [await end.aget(), await text.aget()]

    for vm in (P.VirtualMachine(front.url), local):
        vm.run(main)
        vm.run(later)


class Halting(Recording):
    """Its generations say one piece, and go on when `gate` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        async for item in super().generate(request):
            yield item
            while not self.gate.is_set():
                await asyncio.sleep(0.005)


def test_a_piece_is_told_at_once() -> None:
    """And what was generated of one output before another is begun."""
    engine = Halting()

    def main() -> None:
        text, _ = say("x")
        stream = text.stream(timeout=20)
        first = next(stream)
        assert first and not text.is_ready
        engine.gate.set()
        assert first + "".join(stream) == text.get() != first

    with threaded(engine=engine, max_get=20.0) as front:
        P.VirtualMachine(front.url).run(main)


def test_a_stream_ends(front: ThreadedFront) -> None:
    vm = P.VirtualMachine(front.url)
    with pytest.raises(RunError, match="KeyError: 'boo'"):
        vm.run(lambda: list(say(fails("boo"))[0].stream()))
    with pytest.raises(RunTimeout, match=r"no piece of the text came in 0\.1 s"):
        vm.run(lambda: list(say(P.variable("never"))[0].stream(timeout=0.1)))

    async def later() -> None:
        async for _ in say(P.variable("never"))[0].astream(timeout=0.1):
            pass

    with pytest.raises(RunTimeout):
        vm.run(later)


def test_a_stream_that_the_core_ends_is_late() -> None:
    """As `get` is: after as long as the core lets anybody wait."""
    with threaded(engine=Recording(), max_get=0.2) as front:
        vm = P.VirtualMachine(front.url)
        with pytest.raises(RunTimeout, match="E0612"):
            vm.run(lambda: list(P.variable("never").stream()))


# --- keys ---


def test_a_core_that_wants_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """`api_key` opens the session; without it, or with another, nothing is told but that."""
    monkeypatch.setenv("CORE_KEYS", "alice 0123456789abcdef-alice\nbob 0123456789abcdef-bob\n")
    with threaded("0123456789abcdef-bob", keys_env="CORE_KEYS") as front:
        texts: list[str] = []
        vm = P.VirtualMachine(front.url, api_key="0123456789abcdef-alice")
        vm.run(lambda: texts.append(say("x")[1].get()))
        P.VirtualMachine(engine="reference").run(lambda: texts.append(say("x")[1].get()))
        assert texts[0] == texts[1]
        for key in (None, "0123456789abcdef-other"):
            vm = P.VirtualMachine(front.url, api_key=key)
            with pytest.raises(RunError, match="a known API key is needed") as error:
                vm.run(lambda: say("x")[0].get())
            assert "0123456789abcdef" not in str(error.value)
            assert "api_key=" in error.value.diagnostic.help


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
