"""Plan, executor and an engine together give what the program means, whatever the schedule.

Random programs are run by `ir/evaluate.py` as they are written, and by the executor after the
passes: results and the exact tokens of every generation must agree. Then again with everything
delayed at random, and with cancellations and faults at random, which must leave nothing behind.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from fakes import Shaken, StrictEngine
from plans import module_plan
from programs import NATIVES, random_args, random_module
from templates import TEMPLATES, family

from parrotc.ir.evaluate import Evaluation, evaluate
from parrotc.ir.ops import Module
from parrotc.passes.table import PIPELINES
from parrotc.passes.table import run as run_passes
from parrotc.passes.target import Target
from parrotc.runtime.chat import renderer
from parrotc.runtime.errors import RunError
from parrotc.runtime.executor import Executor
from parrotc.runtime.natives import Natives

SEED = 5


@dataclass(frozen=True)
class Case:
    """A random program with inputs, for two of five families of tokenizers and templates."""

    module: Module
    args: dict[str, Any]
    target: Target

    @classmethod
    def of(cls, seed: int) -> "Case":
        rng = Random(seed)
        module = random_module(rng)
        target = Target({m.name: family(rng.choice(list(TEMPLATES))) for m in module.models})
        return cls(module, random_args(rng, module.flows[0]), target)

    def meaning(self, seed: int = SEED) -> Evaluation:
        return evaluate(
            self.module, "main", self.args, target=self.target, natives=NATIVES, seed=seed
        )


class Run:
    """One run of a compiled program: its result or the code of its failure, and what it saw."""

    def __init__(self, case: Case, level: str, rng: Random | None = None, faults: int = 0):
        self.args = case.args
        self.effects: Counter[str] = Counter()
        self.result: Any = None
        self.code: str | None = None
        models = case.target.models
        self.engines = {name: StrictEngine(model.tokenizer) for name, model in models.items()}
        optimised = run_passes(case.module, case.target, PIPELINES[level])
        self.executor = Executor(
            module_plan(optimised, level=case.module, target=case.target),
            {n: Shaken(e, rng, faults) if rng else e for n, e in self.engines.items()},
            Natives([], self._registry),
            renders={n: renderer(m.render, m.tokenizer.specials) for n, m in models.items()},
            width=rng.randint(1, 4) if rng else 128,
        )

    def _registry(self, target: str) -> Any:
        name = target.partition(":")[2]

        def call(text: str) -> str:
            self.effects[f"{name}({text})"] += name == "log"
            return NATIVES[name](text)

        return call

    async def __call__(self) -> "Run":
        try:
            self.result = await self.executor.run("main", self.args, seed=SEED)
        except RunError as error:
            self.code = error.diagnostic.code
        return self

    async def close(self) -> None:
        """What a run left behind would still be here: all but the prefixes is gone by now."""
        await self.executor.close()
        assert [engine.live for engine in self.engines.values()] == [{}, {}]

    def seen(self) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
        return {(s.prompt, s.ids) for engine in self.engines.values() for s in engine.seen}


def check(run: Run, expected: Evaluation) -> None:
    sequences = {(seen.prompt, seen.ids) for seen in expected.sequences.values()}
    assert run.seen() <= sequences, "a generation saw tokens that the program does not mean"
    if expected.failure is not None:
        assert run.code is not None, f"should have failed: {expected.failure}"
        return
    assert run.code is None, f"failed with {run.code}"
    assert run.result == expected.result


@pytest.mark.parametrize("level", ["O0", "O1"])
@pytest.mark.parametrize("block", range(4))
async def test_a_plan_gives_what_the_program_means(level: str, block: int) -> None:
    for seed in range(block * 40, block * 40 + 40):
        case = Case.of(seed)
        expected = case.meaning()
        run = await Run(case, level)()
        check(run, expected)
        if expected.failure is None and level == "O0":
            logged = Counter(f"{name}({given[0]})" for name, given in expected.effects)
            assert +run.effects == logged
        await run.close()


@pytest.mark.parametrize("block", range(3))
async def test_no_schedule_changes_anything(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parrotc.runtime.prompts.EARLY", 1)  # these programs have short texts
    for seed in range(1000 + block * 30, 1030 + block * 30):
        case = Case.of(seed)
        run = await Run(case, "O1", Random(seed))()
        check(run, case.meaning())
        await run.close()


@pytest.mark.parametrize("block", range(3))
async def test_faults_and_cancellations_leave_nothing(block: int) -> None:
    for seed in range(2000 + block * 30, 2030 + block * 30):
        rng = Random(seed)
        run = Run(Case.of(seed), "O1", rng, faults=rng.choice((0, 5, 20)))
        task = asyncio.create_task(run())
        for _ in range(rng.randrange(200)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.result()
        await run.close()


def test_the_comparison_can_fail() -> None:
    """Another seed gives other draws, so equal results are no accident."""
    cases = [Case.of(seed) for seed in range(60)]
    differing = [case for case in cases if case.meaning() != case.meaning(SEED + 1)]
    assert len(differing) > 5
