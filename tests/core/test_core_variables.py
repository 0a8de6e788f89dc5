"""Semantic variables: every getter ends, with a value, a cause, a timeout or a cancellation."""

import asyncio
from typing import Any

import pytest
from cores import Recording, call, given, made, output, session_of, started
from served import Gated, until

from parrotc.runtime.core.errors import Cancelled, Conflict, Failed, Invalid, NotFound, TimedOut
from parrotc.runtime.core.graph import Call, Graph
from parrotc.runtime.core.variables import SemanticVariable, VariableState
from parrotc.runtime.engines.protocol import Piece
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.goals import Goal

EMPTY, RUNNING, READY, FAILED = VariableState


async def test_a_variable_is_set_once() -> None:
    async with started() as core:
        session = await session_of(core)
        made_empty = await core.create_variable(session, "q")
        assert (made_empty.state, made_empty.content) == (EMPTY, None)
        assert (await core.set_variable(session, made_empty.id, "text")).state is READY
        assert await core.get_variable(session, made_empty.id) == "text"
        with pytest.raises(Conflict):
            await core.set_variable(session, made_empty.id, "other")
        assert (await core.create_variable(session, "r", "")).state is READY, (
            "an empty text is a text"
        )


async def test_what_a_call_makes_nobody_else_sets() -> None:
    async with started(Gated()) as core:
        session = await session_of(core)
        name = output(await call(core, session, "Say {{a}}", made("a")))
        with pytest.raises(Conflict):
            await core.set_variable(session, name, "x")
        with pytest.raises(Conflict):
            await call(core, session, "Say {{b}}", {"name": "b", "is_output": True, "var_id": name})


async def test_states_as_they_come() -> None:
    engine = Gated()
    async with started(engine) as core:
        session = await session_of(core)
        q = (await core.create_variable(session, "q")).id
        name = output(await call(core, session, "Say {{q}}: {{a}}", given("q", var=q), made("a")))
        assert core.variable(session, name).state is EMPTY
        await core.set_variable(session, q, "x")
        await until(lambda: core.variable(session, name).state is RUNNING)
        engine.gate.set()
        text = await core.get_variable(session, name)
        found = core.variable(session, name)
        assert (found.state, found.content) == (READY, text)


async def test_a_getter_of_what_nobody_sets_ends_and_says_why() -> None:
    async with started() as core:
        session = await session_of(core)
        q = (await core.create_variable(session, "question")).id
        with pytest.raises(TimedOut, match="nobody has set it"):
            await core.get_variable(session, q, timeout=0.01)
        first = await call(core, session, "{{q}}{{a}}", given("q", var=q), made("a"))
        view = await call(core, session, "{{x}}{{b}}", given("x", var=output(first)), made("b"))
        with pytest.raises(TimedOut, match="waits for `question`, which no call makes"):
            await core.get_variable(session, output(view, "b"), timeout=0.01)


async def test_nobody_waits_longer_than_the_core_allows() -> None:
    async with started(max_get=0.02) as core:
        session = await session_of(core)
        q = (await core.create_variable(session, "q")).id
        for timeout in (None, 3600):
            with pytest.raises(TimedOut, match=r"0\.02 s"):
                await core.get_variable(session, q, timeout=timeout)


async def test_a_failure_poisons_all_that_depends_on_it_with_its_cause() -> None:
    engine = ReferenceEngine(fault=lambda request: b"bad" in bytes(getattr(request, "ids", ())))
    async with started(engine) as core:
        session = await session_of(core)
        first = await call(core, session, "bad {{a}}", made("a"))
        second = await call(
            core, session, "Say {{x}}{{b}}", given("x", var=output(first)), made("b")
        )
        other = await call(core, session, "Say {{c}}", made("c"))
        for name in (output(first), output(second, "b")):
            with pytest.raises(Failed) as caught:
                await core.get_variable(session, name)
            assert caught.value.diagnostic is not None
            assert caught.value.diagnostic.code == "E0608"
            assert core.variable(session, name).diagnostic == caught.value.diagnostic
        assert await core.get_variable(session, output(other, "c"))


async def test_closing_a_session_ends_every_getter() -> None:
    async with started(Gated()) as core:
        session = await session_of(core)
        q = (await core.create_variable(session, "q")).id
        running = output(await call(core, session, "Say {{a}}", made("a")))
        waits = await call(core, session, "{{q}}{{b}}", given("q", var=q), made("b"))
        names = (q, running, output(waits, "b"))
        getters = [asyncio.ensure_future(core.get_variable(session, name)) for name in names]
        await until(lambda: core.variable(session, running).state is RUNNING)
        await core.close_session(session)
        async with asyncio.timeout(5):
            for getter in getters:
                with pytest.raises(Cancelled):
                    await getter
        with pytest.raises(NotFound):
            core.variable(session, q)


async def test_a_call_that_fails_for_a_reason_of_ours_ends_its_getters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with started() as core:
        monkeypatch.setattr(core._tools.compiled, "get", lambda *_: 1 / 0)
        session = await session_of(core)
        name = output(await call(core, session, "Say {{a}}", made("a")))
        with pytest.raises(Failed, match="inside the core") as caught:
            await core.get_variable(session, name)
        assert "ZeroDivision" not in str(caught.value)


# --- streams ---


async def streamed(pieces: Any) -> list[Piece]:
    return [piece async for piece in pieces]


async def test_a_stream_is_the_text_in_pieces() -> None:
    async with started() as core:
        session = await session_of(core)
        name = output(
            await call(core, session, "Say {{a}}", made("a", 60, ignore_tokenizer_eos=True))
        )
        pieces = await streamed(core.stream_variable(session, name))
        text = await core.get_variable(session, name)
        assert len(pieces) > 1
        assert "".join(piece.text for piece in pieces) == text
        late = await streamed(core.stream_variable(session, name))
        assert [piece.text for piece in late] == [text]


async def test_a_late_stream_begins_at_the_beginning() -> None:
    engine = Gated()
    async with started(engine) as core:
        session = await session_of(core)
        name = output(
            await call(core, session, "Say {{a}}", made("a", 60, ignore_tokenizer_eos=True))
        )
        await until(lambda: engine.open == 1)
        await asyncio.sleep(0.05)
        reading = asyncio.ensure_future(streamed(core.stream_variable(session, name)))
        await asyncio.sleep(0.01)
        engine.gate.set()
        text = "".join(piece.text for piece in await reading)
        assert text == await core.get_variable(session, name)


async def test_who_reads_slowly_gets_larger_pieces_and_misses_nothing() -> None:
    variable = SemanticVariable("a")
    pieces = variable.pieces()
    variable.tell(Piece("one "))
    assert (await anext(pieces)) == Piece("one ")
    for word in ("two ", "three "):
        variable.tell(Piece(word))
    assert (await anext(pieces)) == Piece("two three ")
    variable.tell(Piece("four "))
    variable.tell(Piece("anew", restart=True))
    assert (await anext(pieces)) == Piece("anew", restart=True)
    variable.set("anew and more")
    assert (await anext(pieces)) == Piece(" and more")
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)


async def test_a_stream_ends_with_its_cause_or_its_time() -> None:
    async with started() as core:
        session = await session_of(core)
        q = (await core.create_variable(session, "q")).id
        with pytest.raises(TimedOut):
            await streamed(core.stream_variable(session, q, timeout=0.01))
        reading = asyncio.ensure_future(streamed(core.stream_variable(session, q)))
        await asyncio.sleep(0.01)
        await core.delete_variable(session, q)
        with pytest.raises(Cancelled):
            await reading
        with pytest.raises(NotFound):
            core.stream_variable(session, q)


# --- dropping ---


async def test_dropping_the_last_interest_cancels_the_work() -> None:
    engine = Gated()
    async with started(engine) as core:
        session = await session_of(core)
        first = output(await call(core, session, "Say {{a}}", made("a")))
        view = await call(core, session, "{{x}}{{b}}", given("x", var=first), made("b"))
        await until(lambda: engine.open == 1)
        await core.delete_variable(session, first)
        await asyncio.sleep(0.01)
        assert engine.open == 1, "another call needs it"
        await core.delete_variable(session, output(view, "b"))
        await until(lambda: engine.open == 0)
        assert core.stats()["calls"] == 0


async def test_one_of_two_outputs_keeps_a_call_alive() -> None:
    engine = Gated()
    async with started(engine) as core:
        session = await session_of(core)
        view = await call(core, session, "Say {{a}} {{b}}", made("a"), made("b"))
        await until(lambda: engine.open == 1)
        await core.delete_variable(session, output(view, "a"))
        engine.gate.set()
        assert await core.get_variable(session, output(view, "b"))


async def test_a_deleted_input_fails_who_waits_for_it() -> None:
    async with started() as core:
        session = await session_of(core)
        q = (await core.create_variable(session, "q")).id
        view = await call(core, session, "{{q}}{{a}}", given("q", var=q), made("a"))
        getter = asyncio.ensure_future(core.get_variable(session, output(view)))
        await asyncio.sleep(0.01)
        await core.delete_variable(session, q)
        with pytest.raises(Cancelled, match="`q` was deleted"):
            await getter


async def test_a_deleted_text_is_still_read_by_calls_that_have_it() -> None:
    engine = Recording()
    async with started(engine) as core:
        session = await session_of(core)
        q = (await core.create_variable(session, "q", "kept")).id
        view = await call(core, session, "{{q}}{{a}}", given("q", var=q), made("a"))
        await core.delete_variable(session, q)
        assert await core.get_variable(session, output(view))
        with pytest.raises(NotFound):
            core.variable(session, q)


async def test_a_long_chain_is_demanded_and_dropped_whole() -> None:
    """Longer than Python's stack is deep."""

    async def never(call: Call, given: dict[str, str]) -> None:
        raise AssertionError("nobody has set the first")

    graph = Graph(5_000)
    (last,) = graph.create("q")
    for _ in range(3_000):
        (made,) = graph.create("a")
        graph.add(Call({"x": last}, {"a": made}, 1.0, never))
        if last.depth:
            graph.delete(last.id)
        last = made
    graph.demand(last, Goal(latency=True))
    assert last.producer is not None and last.depth == 3_000
    (first,) = (variable for variable in graph if variable is not last)
    (head,) = first.consumers
    assert head.rank == 3_000 and head.goal == Goal(latency=True)
    graph.delete(last.id)
    assert len(graph) == 0
    await graph.close("over")


@pytest.mark.parametrize(
    "criteria",
    ["fast", "ttft", 3, [], {}, {"ttft": -1}, {"ttft": True}, {"latency": 1}, {"deadline": "1"}],
)
async def test_criteria_that_mean_nothing_are_refused(criteria: Any) -> None:
    async with started() as core:
        session = await session_of(core)
        q = (await core.create_variable(session, "q", "x")).id
        with pytest.raises(Invalid):
            await core.get_variable(session, q, criteria=criteria)
