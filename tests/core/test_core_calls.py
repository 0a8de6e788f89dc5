"""Semantic calls: templates, the graph of a session, criteria, sampling, and allowed natives."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cores import Recording, call, given, made, output, session_of, started
from hypothesis import given as drawn
from hypothesis import strategies as st
from served import Gated, until

from parrotc.runtime.core.errors import Conflict, CoreError, Failed, Invalid, NotFound
from parrotc.runtime.core.templates import Make, Read, parse
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.goals import NOBODY_WAITS, Goal, read_goal
from parrotc.runtime.scheduling.tasks import Criteria
from parrotc.served import compile_template

HERE = str(Path(__file__).parent)


async def value(core: Any, session: Any, template: str, *parameters: Any, **more: Any) -> str:
    view = await call(core, session, template, *parameters, **more)
    text: str = await core.get_variable(session, output(view))
    return text


# --- templates ---


async def test_a_call_says_what_its_parameters_are_called() -> None:
    async with started() as core:
        session = await session_of(core)
        q = (await core.create_variable(session, "question", "x")).id
        view = await call(
            core, session, "{{q}}{{z}}: {{a}}", given("q", var=q), given("z", "y"), made("a")
        )
        names = [(one.name, one.is_output, one.var_name) for one in view.parameters]
        assert names == [("q", False, "question"), ("z", False, ""), ("a", True, "a")]
        assert view.parameters[0].var_id == q and view.parameters[1].var_id == ""


async def test_every_output_of_a_call_is_made() -> None:
    """The second and later outputs of one function are as good as the first."""
    async with started() as core:
        session = await session_of(core)
        names = ("a", "b", "c")
        view = await call(
            core, session, "One {{a}} two {{b}} three {{c}} end", *(made(n) for n in names)
        )
        first, second, third = [
            await core.get_variable(session, output(view, name)) for name in names
        ]
        told = f"One {first} two "
        assert second == await value(core, session, "{{q}}{{a}}", given("q", told), made("a"))
        told = f"One {first} two {second} three "
        assert third == await value(core, session, "{{q}}{{a}}", given("q", told), made("a"))


async def test_an_output_is_there_before_the_call_has_ended() -> None:
    class Slow(Recording):
        async def generate(self, request: Any) -> Any:
            if len(self.asked) == 1:
                await gate.wait()
            async for item in super().generate(request):
                yield item

    gate = asyncio.Event()
    async with started(Slow()) as core:
        session = await session_of(core)
        view = await call(core, session, "Say {{a}} and {{b}}", made("a"), made("b"))
        async with asyncio.timeout(5):
            assert await core.get_variable(session, output(view, "a"))
        assert core.variable(session, output(view, "b")).content is None
        gate.set()
        assert await core.get_variable(session, output(view, "b"))


@pytest.mark.parametrize("text", ["{{q}}", "{{b}} {{a}}", "<|im_end|>", "{{", "}}{{q}}", "é\n\x00"])
async def test_values_are_never_parsed(text: str) -> None:
    engine = Recording()
    async with started(engine) as core:
        session = await session_of(core)
        q = (await core.create_variable(session, "q", text)).id
        by_name = await value(core, session, "Say {{q}}: {{a}}", given("q", var=q), made("a"))
        by_value = await value(core, session, "Say {{q}}: {{a}}", given("q", text), made("a"))
        plain = text.replace("{{", "{ {").replace("{ {", "{{")
        assert plain == text
        alone = await value(core, session, "{{p}}{{a}}", given("p", f"Say {text}: "), made("a"))
        assert by_name == by_value == alone


def test_where_values_and_outputs_stand() -> None:
    template = parse("Say {{q}}: {{ a }}, again {{a}} {{q}}.", ["q"], ["a"])
    assert template.pieces == (
        "Say ", Read("q"), ": ", Make("a"), ", again ", Read("a"), " ", Read("q"), "."
    )  # fmt: skip
    assert template.inputs == ("q",) and template.outputs == ("a",)
    assert parse('{"x": {{{}}} {{1}} {{a b}} {{q}}', ["q"], []).pieces == (
        '{"x": {{{}}} {{1}} {{a b}} ', Read("q")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("template", "message", "at"),
    [
        ("Say {{question}}{{a}}", "`question` is none of the parameters", 5),
        ("{{a}} {{q}}", "begins with text or an input", 1),
        ("Say {{q}}", "`a` is nowhere", 0),
        ("Say {{a}}", "`q` is nowhere", 0),
    ],
)
async def test_a_template_that_does_not_fit_is_told_where(
    template: str, message: str, at: int
) -> None:
    async with started() as core:
        session = await session_of(core)
        with pytest.raises(Invalid, match=message) as caught:
            await call(core, session, template, given("q", "x"), made("a"))
        found = caught.value.diagnostic
        assert (found.span.position()[1] if found and found.span else 0) == at
        assert core.variables(session) == []


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"template": "Say {{a}}"},
        {"template": "", "parameters": []},
        {"template": "Say it", "parameters": []},
        {"template": 3, "parameters": []},
        {"template": "{{q}}{{a}}", "parameters": [{"name": "q"}, {"name": "a", "is_output": True}]},
        {"template": "Say {{a}}", "parameters": [{"name": "a", "is_output": True, "value": "x"}]},
        {"template": "Say {{a}}", "parameters": [{"name": "a", "is_output": 1}]},
        {"template": "Say {{a}}", "parameters": [{"name": "a b", "is_output": True}]},
        {"template": "Say {{a}}", "parameters": [{"name": "a", "is_output": True}] * 2},
        {"template": "Say {{a}}", "model_type": "x", "parameters": [made("a")]},
        {"template": "Say {{a}}", "temprature": 1, "parameters": [made("a")]},
        {"template": "Say {{a}}", "parameters": [made("a", temperature=-1)]},
        {"template": "Say {{a}}", "parameters": [made("a", temperature=float("nan"))]},
        {"template": "Say {{a}}", "parameters": [made("a", 0)]},
        {"template": "Say {{a}}", "output_criteria": "quick", "parameters": [made("a")]},
        {"template": "{{q}}{{a}}", "parameters": [{**given("q", "x"), "var_id": "v"}, made("a")]},
    ],
)
async def test_payloads_that_mean_nothing_are_refused(payload: Any) -> None:
    async with started() as core:
        session = await session_of(core)
        with pytest.raises(Invalid):
            await core.semantic_call(session, payload)
        assert core.variables(session) == [] and core.stats()["calls"] == 0


async def test_parrots_payload_is_understood() -> None:
    async with started() as core:
        session = await session_of(core)
        sampling = {
            "temperature": 0.5, "top_p": 0.9, "presence_penalty": 0.1, "frequency_penalty": 0.1,
            "max_gen_length": 8, "ignore_tokenizer_eos": True, "stop_token_ids": [3],
            "stop_str": "\n",
        }  # fmt: skip
        payload = {
            "session_id": "x", "session_auth": "y", "template": "Say {{a}}", "models": [],
            "model_type": "token_id", "remove_pure_fill": True, "func_name": "say",
            "cache_prefix": True, "output_criteria": "latency",
            "parameters": [{"name": "a", "is_output": True, "sampling_config": sampling}],
        }  # fmt: skip
        view = await core.semantic_call(session, payload)
        assert await core.get_variable(session, output(view)) is not None


async def test_models_are_chosen_by_name() -> None:
    async with started() as core:
        session = await session_of(core)
        assert await value(core, session, "Say {{a}}", made("a"), models=["other", "reference"])
        with pytest.raises(NotFound, match="`other`"):
            await call(core, session, "Say {{a}}", made("a"), models=["other"])


# --- sampling ---


async def test_sampling_is_the_callers() -> None:
    engine = Recording()
    async with started(engine) as core:
        session = await session_of(core)
        view = await call(
            core, session, "Say {{a}} {{b}}",
            made("a", 3, temperature=0.5, top_p=0.9, top_k=7, stop_str=["x", "y"],
                 stop_token_ids=[5], ignore_tokenizer_eos=True),
            made("b", 4),
        )  # fmt: skip
        await core.get_variable(session, output(view, "b"))
        first, second = (request.sampling for request in engine.asked)
        assert (first.max_tokens, first.temperature, first.top_p, first.top_k) == (3, 0.5, 0.9, 7)
        assert (first.stop, first.stop_ids, first.ignore_eos) == (("x", "y"), (5,), True)
        assert (second.max_tokens, second.temperature, second.stop) == (4, 0.0, ())


async def test_two_sampled_calls_are_two_draws_and_a_seed_repeats_one() -> None:
    async with started() as core:
        session = await session_of(core)

        async def say(**sampling: Any) -> str:
            return await value(core, session, "Say {{a}}", made("a", 40, **sampling))

        hot = [await say(temperature=1.0) for _ in range(4)]
        assert len(set(hot)) > 1
        assert await say(temperature=1.0, seed=7) == await say(temperature=1.0, seed=7)
        assert await say() == await say()


async def test_a_template_is_compiled_once() -> None:
    compiled: list[str] = []

    def compile(template: Any, model: Any) -> Any:
        compiled.append(template.source.text)
        return compile_template(template, model)

    async with started(max_compiled=2) as core:
        core._tools.compiled._compile = compile
        session = await session_of(core)

        async def say(word: str, number: int, tokens: int) -> str:
            asked = given("q", str(number)), made("a", tokens)
            return await value(core, session, f"{word} {{{{q}}}}{{{{a}}}}", *asked)

        await asyncio.gather(*(say("One", n, 4 + n) for n in range(20)))
        assert compiled == ["One {{q}}{{a}}"]
        for word in ("Two", "Three", "One"):
            await say(word, 0, 4)
        assert len(compiled) == 4, "the one that was not used longest was forgotten"


async def test_calls_that_wait_for_an_engine_are_counted() -> None:
    engine = Gated()
    async with started(engine) as core:
        session = await session_of(core)
        for number in range(80):  # an engine has 64 slots
            await call(core, session, "Say {{q}}: {{a}}", given("q", f"{number}"), made("a"))
        await until(lambda: core.stats()["queued"] == 80 - 64)
        engine.gate.set()
        await until(lambda: core.stats()["calls"] == 0)
        assert core.stats()["queued"] == 0


# --- the graph ---


async def test_variables_connect_calls() -> None:
    async with started() as core:
        session = await session_of(core)
        q = (await core.create_variable(session, "q")).id
        first = await call(core, session, "One {{q}}: {{a}}", given("q", var=q), made("a"))
        second = await call(
            core, session, "Two {{x}}: {{a}}", given("x", var=output(first)), made("a")
        )
        assert core.stats()["calls"] == 2
        await core.set_variable(session, q, "text")
        after = await core.get_variable(session, output(second))
        between = await core.get_variable(session, output(first))
        alone = await value(core, session, "Two {{x}}: {{a}}", given("x", between), made("a"))
        assert after == alone


async def test_an_output_may_fill_a_variable_that_is_there() -> None:
    async with started() as core:
        session = await session_of(core)
        a = (await core.create_variable(session, "answer")).id
        reader = await call(core, session, "Use {{x}}: {{b}}", given("x", var=a), made("b"))
        await call(core, session, "Say {{a}}", {"name": "a", "is_output": True, "var_id": a})
        assert await core.get_variable(session, output(reader, "b"))
        assert core.variable(session, a).content


async def test_a_call_never_waits_for_itself() -> None:
    async with started() as core:
        session = await session_of(core)
        a, b = [(await core.create_variable(session, name)).id for name in "ab"]
        to_b = {"name": "y", "is_output": True, "var_id": b}
        to_a = {"name": "y", "is_output": True, "var_id": a}
        with pytest.raises(Conflict):
            await call(core, session, "{{x}}{{y}}", given("x", var=a), to_a)
        await call(core, session, "{{x}}{{y}}", given("x", var=a), to_b)
        with pytest.raises(Conflict, match="wait for itself"):
            await call(core, session, "{{x}}{{y}}{{n}}", given("x", var=b), to_a, made("n"))
        names = [view.name for view in core.variables(session)]
        assert names == ["a", "b"], "what was refused leaves nothing"


async def test_unknown_variables_are_not_found() -> None:
    async with started() as core:
        session = await session_of(core)
        with pytest.raises(NotFound):
            await call(core, session, "{{q}}{{a}}", given("q", var="v-none"), made("a"))


# --- criteria ---


async def test_what_is_asked_of_a_result_reaches_what_it_needs() -> None:
    engine = Recording()
    async with started(engine) as core:
        session = await session_of(core)
        q = (await core.create_variable(session, "q")).id
        first = await call(core, session, "{{q}}{{a}}", given("q", var=q), made("a"))
        last = await call(core, session, "{{x}}{{b}}", given("x", var=output(first)), made("b"))
        getter = asyncio.ensure_future(
            core.get_variable(session, output(last, "b"), criteria={"ttft": 0.5})
        )
        await asyncio.sleep(0)
        await core.set_variable(session, q, "x")
        await getter
        before, after = (request.hints for request in engine.asked)
        assert (before.criteria, after.criteria) == (Criteria.LATENCY, Criteria.TTFT)
        assert after.target == 0.5
        assert (before.depth, after.depth) == (0, 1)
        assert before.application == after.application == session.id
        ranks = [request.rank for request in engine.asked]
        assert ranks[0] > ranks[1] > 0


async def test_who_asks_at_once_decides_and_nobody_waits_is_throughput() -> None:
    engine = Recording()
    async with started(engine) as core:
        session = await session_of(core)
        alone = await call(core, session, "One {{a}}", made("a"))
        await until(lambda: core.variable(session, output(alone)).content is not None)
        await value(core, session, "Two {{a}}", made("a"))
        await value(core, session, "Three {{a}}", made("a"), output_criteria={"tpot": 0.1})
        criteria = [request.hints.criteria for request in engine.asked]
        assert criteria == [Criteria.THROUGHPUT, Criteria.LATENCY, Criteria.LATENCY]


async def test_calls_that_one_call_reads_are_a_group() -> None:
    engine = Recording()
    async with started(engine) as core:
        session = await session_of(core)
        q = (await core.create_variable(session, "q")).id
        parts = [
            output(await call(core, session, f"Part {n} {{{{q}}}}{{{{a}}}}",
                              given("q", var=q), made("a")))
            for n in range(3)
        ]  # fmt: skip
        inputs = [given(f"p{n}", var=part) for n, part in enumerate(parts)]
        text = "".join(f"{{{{p{n}}}}}" for n in range(3))
        whole = await call(core, session, f"Join {text}: {{{{a}}}}", *inputs, made("a"))
        getter = asyncio.ensure_future(core.get_variable(session, output(whole)))
        await asyncio.sleep(0)
        await core.set_variable(session, q, "x")
        await getter
        *maps, join = (request.hints for request in engine.asked)
        assert {hints.group_size for hints in maps} == {3}
        assert len({hints.group for hints in maps}) == 1
        assert join.group is None
        assert {hints.criteria for hints in maps} == {Criteria.THROUGHPUT}
        assert join.criteria is Criteria.LATENCY


GOALS = st.builds(
    Goal,
    latency=st.booleans(),
    ttft=st.none() | st.floats(0.01, 1),
    tpot=st.none() | st.floats(0.01, 1),
    deadline=st.none() | st.floats(1, 100),
)


@drawn(a=GOALS, b=GOALS, c=GOALS)
def test_goals_are_a_lattice(a: Goal, b: Goal, c: Goal) -> None:
    """So it does not matter who comes first, or how often."""
    assert a | b == b | a and a | a == a and (a | b) | c == a | (b | c)
    assert a | NOBODY_WAITS == a
    assert (a | b).upstream() == a.upstream() | b.upstream()
    assert a.upstream().upstream() == a.upstream() | a.upstream().upstream()


@drawn(a=GOALS, b=GOALS)
def test_latency_beats_all_and_all_beat_nothing(a: Goal, b: Goal) -> None:
    order = [Criteria.LATENCY, Criteria.TTFT, Criteria.TPOT, Criteria.DEADLINE, Criteria.THROUGHPUT]
    joined, alone = (a | b).choice(), a.choice()
    assert order.index(joined[0]) <= order.index(alone[0])
    if joined[0] == alone[0] and alone[1] is not None and joined[1] is not None:
        assert joined[1] <= alone[1]


def test_goals_as_clients_write_them() -> None:
    assert read_goal(None, 10) == read_goal("latency", 10) == Goal(latency=True)
    assert read_goal("throughput", 10) == NOBODY_WAITS
    both = read_goal({"deadline": 5, "ttft": 0.2}, 10)
    assert both == Goal(ttft=0.2, deadline=15.0)
    assert both.upstream() == Goal(latency=True, deadline=15.0)


# --- natives ---


async def native(core: Any, session: Any, name: str, *parameters: Any, **more: Any) -> Any:
    payload = {"func_name": name, "parameters": list(parameters), **more}
    return await core.native_call(session, payload)


NATIVES = {"natives": ("natives:shout", "natives:split", "natives:number", "natives:slow")}


async def test_allowed_functions_run_in_the_graph() -> None:
    async with started(native_path=HERE, **NATIVES) as core:
        session = await session_of(core)
        first = await call(core, session, "Say {{a}}", made("a"))
        loud = {"name": "out", "is_output": True}
        view = await native(core, session, "natives:shout", given("x", var=output(first)), loud)
        text = await core.get_variable(session, output(view, "out"))
        assert text == (await core.get_variable(session, output(first))).upper() + "!"
        outs = [{"name": name, "is_output": True} for name in ("left", "right")]
        view = await native(core, session, "split", given("x", "a,b,c"), *outs)
        assert await core.get_variable(session, output(view, "left")) == "a"
        assert await core.get_variable(session, output(view, "right")) == "b,c"


@pytest.mark.parametrize(
    ("name", "message", "options"),
    [
        ("number", "gave a value that is not `str`", {}),
        ("split", "gave 1 values for 2 outputs", {}),
        ("slow", "gave nothing within", {"timeout": 0.5}),
    ],
)
async def test_a_function_that_does_not_do_as_it_says_fails_its_outputs(
    name: str, message: str, options: Any
) -> None:
    async with started(native_path=HERE, **NATIVES) as core:
        session = await session_of(core)
        outs = [{"name": n, "is_output": True} for n in ("a", "b")[: 2 if name == "split" else 1]]
        view = await native(core, session, name, given("x", "one"), *outs, **options)
        with pytest.raises(Failed, match=message):
            await core.get_variable(session, output(view))


@pytest.mark.parametrize(
    "payload",
    [
        {"func_name": "natives:log"},
        {"func_name": "os:system"},
        {"func_name": "parrotc.stdlib.text:chunk"},
        {"func_name": ""},
        {"func_name": "shout", "func_code": "gASV"},
        {"func_name": "shout", "func_code": None},
        {"func_name": "natives:shout", "parameters": [given("x", "1")]},
    ],
)
async def test_code_and_functions_that_are_not_allowed_are_refused(payload: Any) -> None:
    async with started(native_path=HERE, **NATIVES) as core:
        session = await session_of(core)
        whole = {"parameters": [given("x", "1"), {"name": "a", "is_output": True}]} | payload
        with pytest.raises(Invalid):
            await core.native_call(session, whole)


async def test_the_loop_goes_on_while_a_function_runs() -> None:
    async with started(native_path=HERE, **NATIVES) as core:
        session = await session_of(core)
        out = {"name": "a", "is_output": True}
        view = await native(core, session, "slow", given("x", "1"), out)
        assert await value(core, session, "Say {{a}}", made("a"))
        await core.delete_variable(session, output(view))
        await until(lambda: core.stats()["calls"] == 0)


async def test_a_draining_core_takes_nothing_new_and_ends_what_goes_on() -> None:
    async with started(ReferenceEngine(latency=0.05)) as core:
        session = await session_of(core)
        view = await call(core, session, "Say {{a}}", made("a"))
        assert await core.drain(5.0)
        assert core.variable(session, output(view)).content is not None
        for refused in (
            lambda: call(core, session, "Say {{a}}", made("a")),
            lambda: native(core, session, "shout"),
        ):
            with pytest.raises(CoreError, match="stopping"):
                await refused()
        with pytest.raises(CoreError, match="stopping"):
            await session_of(core)
