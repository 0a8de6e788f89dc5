"""Calls in Parrot's words, in this process: what the prompt is, and what comes back."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from parrotc import Graph, RunError
from parrotc.compat.parrot import P
from parrotc.eager.library import Library
from parrotc.eager.node import Node
from parrotc.eager.service import Service
from parrotc.ir.source import Source
from parrotc.settings import Settings

SHORT = P.SamplingConfig(max_gen_length=12)


@pytest.fixture
def vm() -> Iterator[P.VirtualMachine]:
    """A machine on engines of its own."""
    vm = P.VirtualMachine(engine="reference")
    vm.service = Service(Settings(engine="reference"), {})
    yield vm
    vm.service.close()


def continued(prompt: str, gen: str = "max_tokens=12") -> str:
    """What the reference model says after exactly this text."""
    text = f'pfunc f(x: str) -> str:\n    "{{{{x}}}}{{{{gen {gen}}}}}"\n'
    with Graph(engine="reference") as graph:
        callee = Library.of(Source("verbatim.pfn", text), Path()).callee("f")
        return str(graph.call(callee, (prompt,)).get())


def filled(vm: P.VirtualMachine) -> int:
    return sum(engine.filled_tokens for engine in vm.service.engines())


@P.semantic_function()
def joke(topic: P.Input, text: P.Output(SHORT)):
    """A joke about {{topic}}:
    - first
      {{text}}
    """


@P.semantic_function()
def two(x: P.Input, first: P.Output(SHORT), style: str, second: P.Output(SHORT)):
    """{{x}} one: {{first}}, {{style}} two: {{second}} (what follows is never read)"""


@P.native_function()
def shout(text: P.Input, loud: P.Output):
    loud.set(text.upper())


@P.native_function()
def split(text: P.Input, head: P.Output, tail: P.Output):
    head.set(text[:3])
    tail.set(text[3:])


@P.native_function()
def fails(text: P.Input, out: P.Output):
    raise KeyError(text)


# --- prompts ---


def test_the_docstring_is_dedented_and_that_is_all(vm: P.VirtualMachine) -> None:
    """C8: newlines and indentation stay."""
    vm.run(lambda: seen.append(joke("a  cat").get()))
    assert seen.pop() == continued("A joke about a  cat:\n- first\n  ")


seen: list[str] = []


def test_values_are_never_parsed(vm: P.VirtualMachine) -> None:
    text = "{{text}} and {{topic}}\n    x"
    vm.run(lambda: seen.append(joke(text).get()))
    assert seen.pop() == continued(f"A joke about {text}:\n- first\n  ")


def test_all_outputs_and_plain_inputs(vm: P.VirtualMachine) -> None:
    """C1: the second and later outputs of a function are there as the first is."""

    def main() -> None:
        first, second = two("a", 5)
        assert first.get() == continued("a one: ")
        assert second.get() == continued(f"a one: {first.get()}, 5 two: ")
        assert (first.name, second.name) == ("first", "second") and first.id != second.id

    vm.run(main)


@pytest.mark.parametrize(
    ("formatter", "prompt"),
    [
        (P.standard_formatter, " Say x and: "),
        (P.allowing_newline, "\nSay x\n and: "),
        (None, "Say  x\n  and: "),
    ],
)
def test_a_formatter_changes_the_template_only(
    vm: P.VirtualMachine, formatter: object, prompt: str
) -> None:
    def say(value: P.Input, text: P.Output(SHORT)):
        """
        Say  {{value}}
          and: {{text}}"""

    function = P.semantic_function(formatter=formatter)(say)
    vm.run(lambda: seen.append(function("x").get()))
    assert seen.pop() == continued(prompt)
    vm.run(lambda: seen.append(function("a    b\nc").get()))
    assert seen.pop() == continued(prompt.replace("x", "a    b\nc"))


def test_the_template_of_a_chat_model(vm: P.VirtualMachine) -> None:
    chat = P.ConversationTemplate("Be kind.", ("ME", "YOU"), sep=" ", sep2="#")

    @P.semantic_function(conversation_template=chat)
    def talk(x: P.Input, a: P.Output(SHORT), b: P.Output(SHORT)):
        """Hi {{x}}.{{a}} More?{{b}}"""

    def main() -> None:
        a, b = talk("you")
        assert a.get() == continued("Be kind. ME: Hi you. YOU: ")
        assert b.get() == continued(f"Be kind. ME: Hi you. YOU: {a.get()}#ME:  More? YOU: ")

    vm.run(main)


def test_annotations_may_be_texts(vm: P.VirtualMachine) -> None:
    @P.semantic_function()
    def later(x: "P.Input", text: "P.Output(SHORT)"):
        """{{x}}! {{text}}"""

    vm.run(lambda: seen.append(later("x").get()))
    assert seen.pop() == continued("x! ")


def test_a_defined_function_is_taken_as_it_is(vm: P.VirtualMachine) -> None:
    body = "  {{x}}\n   says: {{a}}"
    params = [
        P.Parameter(name="x", typ=P.ParamType.INPUT_LOC),
        P.Parameter(name="a", typ=P.ParamType.OUTPUT_LOC, sampling_config=SHORT),
    ]
    function = vm.define_function(None, body, params, cache_prefix=True)
    vm.run(lambda: seen.append(function("He").get()))
    assert seen.pop() == continued("  He\n   says: ")


def test_how_an_output_is_drawn(vm: P.VirtualMachine) -> None:
    def drawn(config: P.SamplingConfig) -> object:
        def f(x: P.Input, a: P.Output(config)):
            """Say {{x}}: {{a}}"""

        function = P.semantic_function()(f)
        vm.run(lambda: seen.append(function("x").get()))
        return seen.pop()

    whole = continued("Say x: ")
    assert drawn(P.SamplingConfig(max_gen_length=12)) == whole
    stopped = P.SamplingConfig(max_gen_length=12, stop_str="a")
    assert drawn(stopped) == continued("Say x: ", 'max_tokens=12, stop="a"') != whole
    first = whole.encode()[0]
    without = drawn(P.SamplingConfig(max_gen_length=12, stop_token_ids=[first]))
    assert without != whole and first not in str(without).encode()
    warm = P.SamplingConfig(max_gen_length=12, temperature=1.0, n=4)
    many = drawn(warm)
    assert isinstance(many, list) and len(many) == 4 and len(set(many)) > 1
    assert drawn(warm) == many, "a run draws what the same run has drawn"
    one = P.SamplingConfig(max_gen_length=12, temperature=1.0, seed=7)
    assert drawn(one) == drawn(one) != whole


def test_what_prompts_have_in_common_is_filled_once(vm: P.VirtualMachine) -> None:
    def main() -> None:
        texts = [joke(f"topic {n}") for n in range(3)]
        for text in texts:
            text.get()

    vm.run(main)
    assert filled(vm) == len("A joke about ") + 3 * len("topic 1:\n- first\n  ")


# --- variables ---


def test_variables_are_what_calls_share(vm: P.VirtualMachine) -> None:
    def main() -> None:
        topic = P.variable(name="topic")
        text = joke(topic)
        assert not text.is_ready and text.content is None and not topic.is_ready
        topic.set("cats")
        assert text.get(P.PerformanceCriteria.THROUGHPUT) == continued(
            "A joke about cats:\n- first\n  "
        )
        assert text.is_ready and text.content == text.get(P.PerformanceCriteria.TTFT)
        assert topic.get() == "cats" == P.variable(content="cats").get()
        with pytest.raises(RuntimeError, match="`topic` is set already"):
            topic.set("dogs")

    vm.run(main)


async def test_aget_needs_no_criteria(vm: P.VirtualMachine) -> None:
    async def main() -> None:
        texts = await asyncio.gather(*[joke(str(n)).aget() for n in range(3)])
        assert texts == [continued(f"A joke about {n}:\n- first\n  ") for n in range(3)]
        other = await joke.ainvoke("x")
        assert await other.aget(P.PerformanceCriteria.TPOT) == joke.invoke("x").get()

    with vm.running_scope():
        await main()


def test_an_output_may_be_bound_before_or_after_it_is_read(vm: P.VirtualMachine) -> None:
    def main() -> None:
        before, after = P.variable("before"), P.variable("after")
        assert joke("x", text=before) == ()
        assert shout(before).get() == before.get().upper()
        loud = shout(after)
        joke("y", text=after)
        assert (
            loud.get() == after.get().upper() == continued("A joke about y:\n- first\n  ").upper()
        )
        with pytest.raises(RuntimeError, match=r"`after` gets its value|`after` is set"):
            joke("z", text=after)
        with pytest.raises(RuntimeError, match=r"`after` gets its value|`after` is set"):
            after.set("x")

    vm.run(main)


def test_what_would_need_its_own_value_is_refused(vm: P.VirtualMachine) -> None:
    def main() -> None:
        own = P.variable("own")
        loud = shout(own)
        with pytest.raises(RuntimeError, match="`own` needs its own value"):
            shout(loud, loud=own)

    with pytest.raises(RunError, match="`own` has not been set"):
        vm.run(main)


def test_a_batch_comes_in_any_order(vm: P.VirtualMachine) -> None:
    async def main() -> None:
        text, loud = P.variable("text"), P.variable("loud")
        vm.set_batch()
        shout(text, loud=loud)
        more = joke(loud)
        joke("x", text=text)
        with pytest.raises(RuntimeError, match=r"`text` comes from .* batch"):
            more.get()
        await vm.submit_batch()
        said = continued("A joke about x:\n- first\n  ")
        assert await more.aget() == continued(f"A joke about {said.upper()}:\n- first\n  ")
        graphs.append(vm.service.compilations)

    graphs: list[int] = []
    vm.run(main)
    assert graphs == [1], "one segment"


def test_a_batch_draws_as_the_calls_in_turn_do(vm: P.VirtualMachine) -> None:
    warm = P.SamplingConfig(max_gen_length=12, temperature=1.0)

    @P.semantic_function()
    def draw(x: P.Input, text: P.Output(warm)):
        """{{x}}: {{text}}"""

    def main() -> None:
        seen.append(draw(draw("a")).get())

    async def batched() -> None:
        first = P.variable("first")
        vm.set_batch()
        second = draw(first)
        draw("a", text=first)
        await vm.submit_batch()
        seen.append(await second.aget())

    batched.__name__ = main.__name__
    vm.run(main)
    vm.run(batched)
    assert seen.pop() == seen.pop()


def test_a_batch_that_needs_its_own_result(vm: P.VirtualMachine) -> None:
    async def main() -> None:
        a, b = P.variable("a"), P.variable("b")
        vm.set_batch()
        shout(a, loud=b)
        shout(b, loud=a)
        await vm.submit_batch()

    with pytest.raises(RuntimeError, match="the call of `shout` needs its own result"):
        vm.run(main)


# --- native functions ---


def test_natives_see_texts_and_give_texts(vm: P.VirtualMachine) -> None:
    def main() -> None:
        text = joke("x")
        head, tail = split(text)
        assert head.get() + tail.get() == text.get()
        assert joined([head, "-", tail]).get() == f"{head.get()}-{tail.get()}"
        assert both("a", 3).get() == "a3"

    @P.native_function()
    def joined(texts: list[str], out: P.Output):
        return "".join(texts)

    @P.native_function(timeout=5)
    def both(a: P.Input, count: int) -> P.Output:
        return f"{a}{count}"

    vm.run(main)


def test_a_native_may_take_its_time_but_no_more(vm: P.VirtualMachine) -> None:
    gate = threading.Event()

    @P.native_function(timeout=0.05)
    def slow(text: P.Input, out: P.Output):
        gate.wait(30)
        out.set(text)

    def main() -> None:
        late = slow("x")
        with pytest.raises(RunError, match=r"`slow`.* 0.05 s"):
            joke(late).get()
        gate.set()

    with pytest.raises(RunError, match="slow"):
        vm.run(main)


def test_an_effect_happens_though_nobody_reads_it(vm: P.VirtualMachine) -> None:
    done: list[str] = []

    @P.native_function()
    def note(text: P.Input, out: P.Output):
        done.append(text)
        out.set(text)

    vm.run(lambda: note("x") and None)
    assert done == ["x"]


# --- conversations ---


def test_a_stateful_call_goes_on_from_what_was_left_for_it(vm: P.VirtualMachine) -> None:
    @P.semantic_function(remove_pure_fill=False)
    def start():
        """Be kind."""

    @P.semantic_function(formatter=P.allowing_newline)
    def turn(q: P.Input, a: P.Output(SHORT)):
        """
        Q: {{q}}
        A: {{a}}"""

    def main() -> None:
        assert start.invoke_statefully(context_successor=turn) == ()
        one = turn.invoke_statefully(context_successor=turn, q="one").get()
        assert one == continued("Be kind.\nQ: one\nA: ")
        before = filled(vm)
        two = turn.invoke_statefully(turn, "two").get()
        assert two == continued(f"Be kind.\nQ: one\nA: {one}\nQ: two\nA: ")
        assert filled(vm) - before <= len("\nQ: two\nA: ") + len(one.encode())
        assert turn("x").get() == continued("\nQ: x\nA: "), "a plain call begins anew"

    vm.run(main)
    other = P.VirtualMachine(engine="reference")
    other.run(lambda: seen.append(turn.invoke_statefully(turn, q="x").get()))
    assert seen.pop() == continued("\nQ: x\nA: "), "what was left is the machine's own"


def test_turns_may_read_what_is_not_there_yet(vm: P.VirtualMachine) -> None:
    @P.semantic_function(conversation_template=P.ModelTemplate("Be brief."))
    def turn(q: P.Input, a: P.Output(SHORT)):
        """{{q}} {{a}}"""

    def main() -> None:
        first = turn.invoke_statefully(turn, q=joke("x"))
        second = turn.invoke_statefully(turn, q=first)
        loud = shout(second)
        assert loud.get() == second.get().upper()
        assert first.is_ready

    vm.run(main)


def test_a_turn_is_drawn_as_its_config_says(vm: P.VirtualMachine) -> None:
    def first_turn(config: P.SamplingConfig) -> str:
        @P.semantic_function()
        def turn(q: P.Input, a: P.Output(config)):
            """Q: {{q}} A: {{a}}"""

        vm.run(lambda: seen.append(turn.invoke_statefully(None, q="x").get()))
        return str(seen.pop())

    whole = first_turn(SHORT)
    first = whole.encode()[0]
    without = first_turn(P.SamplingConfig(max_gen_length=12, stop_token_ids=[first]))
    assert whole == continued("Q: x A: ") and first not in without.encode()
    with pytest.raises(TypeError, match="a turn has one"):
        first_turn(P.SamplingConfig(n=2))


# --- running ---


def test_run_tells_how_long_it_took_and_what_went_wrong(vm: P.VirtualMachine) -> None:
    """R6: what a program raises comes out of `run`."""
    assert vm.run(lambda: None) == vm.stat_run_time > 0
    got: list[object] = []
    vm.run(lambda *args: got.extend(args), args=[1, "x"])
    assert got == [1, "x"]
    assert vm.profile(lambda: got.append(2), warmups=1, trials=2) > 0 and got[2:] == [2, 2, 2]

    async def later() -> None:
        got.append(await joke("x").aget())

    vm.run(later())
    assert got[-1] == continued("A joke about x:\n- first\n  ")
    with pytest.raises(ZeroDivisionError):
        vm.run(lambda: 1 / 0)
    with pytest.raises(RuntimeError, match="no virtual machine runs here"):
        joke("after a failure nothing is open")


def test_what_nobody_holds_any_more_is_let_go(vm: P.VirtualMachine) -> None:
    def count() -> int:
        gc.collect()
        return sum(isinstance(held, Node) for held in gc.get_objects())

    def main() -> None:
        before = count()
        for number in range(200):
            joke(number).get()
        assert count() - before < 10

    vm.run(main)


def test_two_machines_in_two_threads(vm: P.VirtualMachine) -> None:
    """Each thread's calls go to its own machine."""
    other = P.VirtualMachine(engine="reference")
    other.service = Service(Settings(engine="reference"), {})
    both = threading.Barrier(2)

    def main(topic: str) -> None:
        both.wait(10)
        text = joke(topic)
        both.wait(10)
        seen.append(text.get())

    threads = [
        threading.Thread(target=machine.run, args=(main,), kwargs={"args": [topic]})
        for machine, topic in ((vm, "one"), (other, "three"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    got = {seen.pop(), seen.pop()}
    assert got == {continued(f"A joke about {topic}:\n- first\n  ") for topic in ("one", "three")}
    assert (filled(vm), filled(other)) == (
        len("A joke about one:\n- first\n  "),
        len("A joke about three:\n- first\n  "),
    )
    other.service.close()


def test_a_global_machine(vm: P.VirtualMachine) -> None:
    vm.set_global_env()
    try:
        text = joke("x")
        assert text.get() == continued("A joke about x:\n- first\n  ")
        worker = threading.Thread(target=lambda: seen.append(joke("y").get()))
        worker.start()
        worker.join(30)
        assert seen.pop() == continued("A joke about y:\n- first\n  ")
    finally:
        vm.unset_global_env()
    with pytest.raises(RuntimeError, match=r"vm\.set_global_env\(\)"):
        joke("x")
