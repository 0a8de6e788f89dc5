"""Random histories: calls come and end, engines come, drain and die; and what always holds."""

from collections.abc import Callable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from schedules import SLOW, History, configs, leftovers, tasks

from parrotc.runtime.scheduling.engines import EngineSpec
from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.scheduling.scheduler import Scheduler
from parrotc.runtime.scheduling.tasks import Reason, Refused, Task
from parrotc.runtime.scheduling.tickets import Bundle

EVENTS = ["submit"] * 8 + ["finish"] * 5 + ["wait"] * 2 + ["engine", "kill", "kill", "drain"]
EVENTS += ["cancel", "schedule"]
LAST = EngineSpec(name="last", model="m", tokens=400, slots=4, cost=SLOW)
HISTORIES = {
    "makers": st.lists(tasks(tenants=3), min_size=1, max_size=60),
    "config": configs,
    "seed": st.integers(0, 2**32),
}


def play(
    makers: list[Callable[[int], Task]], config: dict[str, object], seed: int, **more: object
) -> History:
    """Submit all of `makers`, with random events between them."""
    random = Random(seed)
    history = History(Scheduler(SchedulerConfig(**config | more)), random)  # type: ignore[arg-type]
    history.add_engine()
    left = list(enumerate(makers))
    while left:
        event = random.choice(EVENTS)
        if event == "submit":
            number, make = left.pop()
            try:
                history.submit(make(number))
            except Refused as refused:
                assert refused.reason in (Reason.NEVER_FITS, Reason.NO_ENGINE)
        elif event == "wait":
            history.now += random.choice([0.1, 1.0, 4.0])
        elif event == "engine":
            history.add_engine()
        else:
            happen(history, event, random)
        if random.random() < 0.7:
            history.schedule()
    return history


def happen(history: History, event: str, random: Random) -> None:
    if event == "finish" and history.running:
        history.finish(random.choice(sorted(history.running)))
    elif event == "cancel" and history.known:
        name = random.choice(sorted(history.known))
        assert history.scheduler.cancel(name, history.now) == history.running.pop(name, None)
        del history.known[name]
    elif event in ("kill", "drain"):
        alive = sorted(n for n in history.specs if history.scheduler.has_engine(n))
        if alive and event == "kill":
            history.kill(random.choice(alive))
        elif alive:
            history.scheduler.drain(random.choice(alive), history.now)


@given(**HISTORIES)
@settings(deadline=None)
def test_nothing_is_lost_and_no_engine_is_overfull(
    makers: list[Callable[[int], Task]], config: dict[str, object], seed: int
) -> None:
    """`History.check` asks after every round; in the end everything runs, and leaves nothing."""
    history = play(makers, config, seed, kills=3)
    history.scheduler.add_engine(LAST, history.now)
    history.specs["last"] = LAST
    for _ in range(4 * len(makers) + 4):
        history.now += 1.0
        history.schedule()
        for name in sorted(history.running):
            history.finish(name)
    assert history.known == {}, "these wait for ever"
    history.schedule()
    assert leftovers(history.scheduler) == {}
    assert all(each.reason in (Reason.POISON, Reason.NEVER_FITS) for each in history.failed)


@given(**HISTORIES)
@settings(deadline=None)
def test_the_same_events_have_the_same_answers(
    makers: list[Callable[[int], Task]], config: dict[str, object], seed: int
) -> None:
    first, second = (play(makers, config, seed) for _ in range(2))
    assert first.running == second.running
    assert first.failed == second.failed


@given(**HISTORIES)
@settings(deadline=None)
def test_no_room_is_left_where_the_next_call_fits(
    makers: list[Callable[[int], Task]], config: dict[str, object], seed: int
) -> None:
    """With no reservation and no limit on what is passed over, what still waits fits nowhere."""
    history = play(makers, config, seed, patience=1e9, lookahead=100)
    history.now += 1.0
    history.schedule()
    for desk in history.scheduler._desks.values():
        if desk._reserved is not None:
            return  # by a deadline
        for lane in desk.lanes.values():
            for ticket in lane.waiting.values():
                bundle = Bundle([ticket], history.scheduler.config)
                room = [e for e in desk.fleet.able(ticket.task) if e.fits(bundle)]
                assert room == [], f"{ticket.task.id} waits beside {room}"
