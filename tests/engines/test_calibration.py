"""An engine that measures itself: with a clock of our own, what it finds is known beforehand."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from cells import Cells  # noqa: E402

from parrotc.runtime.engines.embedded.calibration import measure_speed  # noqa: E402
from parrotc.runtime.engines.embedded.engine import open_embedded  # noqa: E402
from parrotc.runtime.engines.embedded.jobs import Filling  # noqa: E402
from parrotc.runtime.engines.embedded.planner import Limits, Plan  # noqa: E402
from parrotc.runtime.engines.embedded.scheduler import Scheduler  # noqa: E402

STEP, READ, FILL = 0.010, 0.00002, 0.0005
LIMITS = Limits(max_total_tokens=4000, block_size=4)


class Machine:
    """A scheduler on a machine whose every step takes what its tokens cost."""

    def __init__(self, small, limits: Limits = LIMITS, context: int = 400) -> None:
        self.now = 0.0
        self.cells = Cells(limits)
        self.cells.fault = self.work
        self.limits, self.context = limits, context
        self.scheduler = Scheduler(self.cells, small("smollm"), limits, context)

    def work(self, plan: Plan) -> None:
        self.now += STEP
        for one in plan.slices:
            is_fill = isinstance(one.job, Filling)
            self.now += FILL * one.count if is_fill else READ * (one.before + one.count)

    def measured(self):
        return measure_speed(self.scheduler, self.limits, self.context, lambda: self.now)


def test_what_steps_cost_is_found(small) -> None:
    speed = Machine(small).measured()
    assert speed.step == pytest.approx(STEP, rel=0.05)
    assert speed.read == pytest.approx(READ, rel=0.05)
    assert speed.fill == pytest.approx(FILL + STEP / 512, rel=0.1)  # steps are of 512 tokens


def test_it_takes_about_a_second_and_leaves_nothing(small) -> None:
    machine = Machine(small)
    machine.measured()
    scheduler, memory = machine.scheduler, machine.scheduler.memory
    assert machine.now < 1.5
    assert not scheduler.contexts.named and not scheduler.has_work
    assert scheduler.filled == scheduler.generated == 0
    assert memory.pool.count + memory.prefixes.resting == memory.pool.size


def test_a_slow_machine_measures_less(small) -> None:
    machine = Machine(small)
    machine.cells.fault = lambda plan: setattr(
        machine, "now", machine.now + 0.02 * sum(one.count for one in plan.slices)
    )
    machine.measured()
    assert machine.now < 4


@pytest.mark.parametrize(
    "limits, context",
    [(Limits(max_batch_size=1, max_total_tokens=300, block_size=4), 400), (LIMITS, 40)],
)
def test_small_engines_are_measured_too(small, limits, context) -> None:
    assert Machine(small, limits, context).measured().fill > 0


def test_one_that_holds_next_to_nothing_says_nothing(small) -> None:
    assert Machine(small, Limits(max_total_tokens=16, block_size=4)).measured() is None


@pytest.mark.parametrize("measured", [False, True])
async def test_the_engine_says_what_it_can_do(tiny_folder: Path, measured: bool) -> None:
    limits = {"max_batch_size": 5, "max_total_tokens": 1000}
    engine = open_embedded(str(tiny_folder), measured=measured, **limits)
    try:
        info = await engine.ping()
    finally:
        await engine.close()
    assert (info.ability.slots, info.ability.tokens) == (5, 1000)
    assert (info.ability.speed is not None) == measured
    assert info.filled_tokens == info.generated_tokens == 0
