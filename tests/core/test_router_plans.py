"""Plans run on many engines as on one, and what the compiler noted arrives at the scheduler."""

import asyncio
from random import Random
from typing import Any

import pytest
from fakes import Shaken, StrictEngine
from faulty import FaultyEngine
from plans import module_plan
from programs import NATIVES, random_args, random_module
from templates import TEMPLATES, family
from virtual import virtually

from parrotc.driver import compile_source
from parrotc.ir.evaluate import evaluate
from parrotc.ir.source import Source
from parrotc.passes.table import PIPELINES
from parrotc.passes.table import run as run_passes
from parrotc.passes.target import Target
from parrotc.runtime.chat import renderer
from parrotc.runtime.core.calls import EXPECTED
from parrotc.runtime.core.router import Router
from parrotc.runtime.engines.protocol import (
    Constraint,
    FillRequest,
    GenerateRequest,
    Hints,
    Sampling,
)
from parrotc.runtime.errors import RunError
from parrotc.runtime.executor import Executor
from parrotc.runtime.natives import Natives
from parrotc.runtime.scheduling.engines import EngineSpec
from parrotc.runtime.scheduling.tasks import Criteria, Task
from parrotc.runtime.terms import Terms
from parrotc.targets import ModelOverrides

REFERENCE = ModelOverrides(engine="reference")


def router_of(engines: list[Any]) -> Router:
    router = Router("m", engines[0].tokenizer)
    for number, engine in enumerate(engines):
        spec = EngineSpec(name=f"e{number}", model="m", slots=2, resumes=False)
        router.register(spec.name, engine, spec)
    return router


@pytest.mark.parametrize("block", range(3))
async def test_a_plan_on_three_engines_gives_what_the_program_means(block: int) -> None:
    """Also when a request of each engine fails now and then."""
    for seed in range(3000 + block * 20, 3020 + block * 20):
        rng = Random(seed)
        module = random_module(rng)
        target = Target({m.name: family(rng.choice(list(TEMPLATES))) for m in module.models})
        args = random_args(rng, module.flows[0])
        expected = evaluate(module, "main", args, target=target, natives=NATIVES, seed=5)
        strict = {n: [StrictEngine(m.tokenizer) for _ in "123"] for n, m in target.models.items()}
        for engine in (engine for engines in strict.values() for engine in engines):
            engine.tokenizer.context_length = engine.context_length
        routers = {n: router_of([Shaken(e, rng, 30) for e in es]) for n, es in strict.items()}
        executor = Executor(
            module_plan(run_passes(module, target, PIPELINES["O1"]), level=module, target=target),
            routers,
            Natives([], lambda target: NATIVES[target.partition(":")[2]]),
            renders={n: renderer(m.render, m.tokenizer.specials) for n, m in target.models.items()},
        )
        try:
            assert await executor.run("main", args, seed=5) == expected.result
        except RunError:
            assert expected.failure is not None
        await executor.close()
        for name, router in routers.items():
            assert len(router._tree) == 0
            await asyncio.sleep(0.25)  # an engine that had a fault may be asked again
            await router.settle()
            assert [engine.live for engine in strict[name]] == [{}] * 3
            await router.close()


PROGRAM = """
model local = builtin("smollm2-135m-instruct")

pfunc note(part: str) -> str:
    user "{{part}}"
    assistant "{{gen max_tokens=40}}"

pfunc merge(notes: list[str]) -> str:
    user "{{notes | bullets}}"
    assistant "{{gen max_tokens=60}}"

@deadline(30s)
flow timed(parts: list[str]) -> str:
    return merge([note(part) for part in parts])

@latency
flow hurried(parts: list[str]) -> str:
    return merge([note(part) for part in parts])
"""


class Watched:
    """The program on a router whose scheduler is watched, for one tenant."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.engine = FaultyEngine()
        self.router = router_of([self.engine])
        submit = self.router._dispatcher.scheduler.submit

        def watched(task: Task, now: float) -> None:
            self.tasks.append(task)
            submit(task, now)

        self.router._dispatcher.scheduler.submit = watched  # type: ignore[method-assign]
        plan = compile_source(Source("case.pfn", PROGRAM), models=REFERENCE).plan
        assert plan is not None
        client = self.router.client(tenant="acme", salt="acme's own")
        engines = {model.name: client for model in plan.models}
        self.executor = Executor(plan, engines, Natives([], {}.get))

    async def run(self, flow: str, terms: Terms) -> list[Task]:
        self.tasks.clear()
        await self.executor.run(flow, {"parts": ["a", "b", "c"]}, terms=terms)
        return self.tasks

    async def close(self) -> None:
        await self.executor.close()
        await self.router.close()


@virtually
async def test_the_notes_of_a_plan_arrive_at_the_scheduler() -> None:
    watched = Watched()
    terms = Terms(hints=Hints(application="run 7", begun=5.0))
    *notes, merge = await watched.run("hurried", terms)
    assert {task.application for task in (*notes, merge)} == {"run 7"}
    assert {(task.tenant, task.begun) for task in (*notes, merge)} == {("acme", 5.0)}
    assert [task.criteria for task in notes] == [Criteria.THROUGHPUT] * 3
    assert merge.criteria is Criteria.LATENCY
    assert {(task.group, task.group_size) for task in notes} == {(notes[0].group, 3)}
    assert notes[0].group is not None and merge.group is None
    assert [task.depth for task in (*notes, merge)] == [0, 0, 0, 1]
    assert notes[0].rank > merge.rank > 0
    assert [task.expected_tokens for task in (*notes, merge)] == [40, 40, 40, 60]
    assert {task.prefix[0] for task in notes} == {notes[0].prefix[0]}, "they share their start"
    assert {request.salt for request in watched.engine.filled if request.parent is None} == {
        "acme's own"
    }
    await watched.close()


@virtually
async def test_a_deadline_arrives_at_the_scheduler() -> None:
    watched = Watched()
    *notes, merge = await watched.run("timed", Terms(hints=Hints(application="x", begun=5.0)))
    assert {task.criteria for task in (*notes, merge)} == {Criteria.DEADLINE}
    assert merge.target == 5.0 + 30
    assert all(task.target is not None and 5.0 < task.target <= 35.0 for task in notes)
    await watched.close()


@virtually
async def test_groups_of_two_runs_are_two_groups() -> None:
    watched = Watched()
    first = await watched.run("hurried", Terms(hints=Hints(application="1")))
    groups = {task.group for task in first}
    second = await watched.run("hurried", Terms(hints=Hints(application="2")))
    assert len(groups) == 2 and groups & {task.group for task in second} == {None}
    await watched.close()


@virtually
async def test_how_much_is_expected_of_a_generation() -> None:
    watched = Watched()
    router = watched.router
    await router.fill([FillRequest(-1, None, (7,) * 10)])
    for request, expected in (
        (GenerateRequest(-2, -1, Sampling(max_tokens=10_000)), EXPECTED),
        (GenerateRequest(-3, -1, Sampling(max_tokens=9)), 9),
        (GenerateRequest(-4, -1, Sampling(), hints=Hints(expected_tokens=70)), 70),
        (GenerateRequest(-5, -1, Sampling(), Constraint(choices=("yes", "perhaps"))), 7),
    ):
        async for _ in router.generate(request):
            pass
        assert watched.tasks[-1].expected_tokens == expected
    await watched.close()
