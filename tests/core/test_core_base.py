"""The part of a core that both faces have: models, their engines, and programs that run there."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from cores import Recording
from faulty import FaultyEngine, dies, once
from virtual import virtually

from parrotc.driver import compile_source
from parrotc.ir.source import Source
from parrotc.program import counting
from parrotc.runtime.core.base import Core
from parrotc.runtime.core.engines import Opened
from parrotc.runtime.core.errors import NotFound
from parrotc.runtime.core.program import Manner, Program
from parrotc.runtime.engines.protocol import FillRequest, new_context
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.natives import Natives
from parrotc.targets import ModelOverrides

SAY = """
pfunc say(text: str) -> str:
    system "You say more than you are asked."
    user "{{text}}"
    assistant "{{gen max_tokens=20}}"

flow main(text: str) -> str:
    return say(text)
"""


async def program_on(core: Core, *engines: Any, settles: bool = True, text: str = SAY) -> Program:
    for number, engine in enumerate(engines):
        await core.add_engine(f"e{number}", "m", Opened(engine))
    plan = compile_source(Source("test.pfn", text), models=ModelOverrides("reference")).plan
    models = {model.name: "m" for model in plan.models}
    manner = Manner(width=64, settles=settles)
    return core.program(plan, models, lambda clients: Natives((), counting(clients)), manner)


async def test_a_program_runs_and_keeps_the_prefixes_of_its_plan() -> None:
    core, engine = Core(), ReferenceEngine()
    program = await program_on(core, engine)
    assert core.models() == ["m"]
    assert await program.run("main", {"text": "hello"})
    assert (await engine.ping()).contexts == 1
    await program.close()
    await core.settle()
    assert (await engine.ping()).contexts == 0
    await core.close()


async def test_a_model_that_nobody_serves() -> None:
    core = Core()
    with pytest.raises(NotFound, match="no engine serves the model `m`"):
        await program_on(core)


async def test_runs_without_an_application_are_given_one_each() -> None:
    core, engine = Core(), Recording()
    program = await program_on(core, engine)
    await asyncio.gather(*(program.run("main", {"text": text}) for text in "abc"))
    assert len({request.hints.application for request in engine.asked}) == 3
    await program.close()
    await core.close()


@virtually
async def test_only_the_last_run_waits_for_what_was_dropped() -> None:
    class Slow(ReferenceEngine):
        """Takes its time to free."""

        async def free(self, contexts: Sequence[int], dead: bool = False) -> None:
            await asyncio.sleep(10)
            await super().free(contexts, dead)

    core, loop = Core(), asyncio.get_running_loop()
    program = await program_on(core, Slow(latency=1.0))
    first = loop.create_task(program.run("main", {"text": "a"}))
    await asyncio.sleep(1.5)
    second = loop.create_task(program.run("main", {"text": "b"}))
    await first
    assert loop.time() < 5 and not second.done()
    await second
    assert loop.time() > 10
    await program.close()
    await core.close()


async def test_engines_come_and_go_under_a_program() -> None:
    core, one, other = Core(), FaultyEngine(), FaultyEngine()
    program = await program_on(core, one, other)
    said = await program.run("main", {"text": "hello"})
    one.trick = other.trick = once(dies, 1)
    assert await program.run("main", {"text": "hello"}) == said
    assert sorted((one.dead, other.dead)) == [False, True]
    await core.remove_engine("e0" if one.dead else "e1")
    assert await program.run("main", {"text": "hello"}) == said
    await program.close()
    await core.close()


# --- what is filled early ---


async def early(core: Core, model: str) -> None:
    client = core.engine(model)
    above, below = new_context(), new_context()
    await client.fill(
        [
            FillRequest(above, None, tuple(b"You read a long record. "), early=True),
            FillRequest(below, above, tuple(b"The record says this."), early=True),
        ]
    )
    await core.settle()


async def test_the_only_engine_fills_early_what_it_has_nothing_of() -> None:
    core, engine = Core(), FaultyEngine()
    await core.add_engine("e", "m", Opened(engine))
    await early(core, "m")
    assert [request.early for request in engine.filled] == [True, True]
    assert engine.filled[1].parent == engine.filled[0].context
    await core.close()


async def test_nobody_knows_where_to_fill_early_when_there_are_several() -> None:
    core, engines = Core(), [FaultyEngine(), FaultyEngine()]
    for number, engine in enumerate(engines):
        await core.add_engine(f"e{number}", "m", Opened(engine))
    await early(core, "m")
    assert [engine.filled for engine in engines] == [[], []]
    await core.close()
