"""Engines that die, drain and come back, and calls of which engines die."""

import pytest
from schedules import call, chat, engine, leftovers, placed, scheduler

from parrotc.runtime.scheduling.tasks import PrefixNode, Reason, Refused


def test_calls_of_a_dead_engine_go_elsewhere_before_younger_ones() -> None:
    sched = scheduler(2, spec={"slots": 2})
    for number in range(4):
        sched.submit(call(number), 0.0)
    assert placed(sched.schedule(0.0)) == [("0", "e0"), ("1", "e0"), ("2", "e1"), ("3", "e1")]
    sched.submit(call("young"), 1.0)
    assert sched.engine_died("e0", 1.0, "out of memory", blame=()) == ()
    sched.finish("2", 2.0)
    sched.finish("3", 2.0)
    assert placed(sched.schedule(2.0)) == [("0", "e1"), ("1", "e1")]


def test_a_call_that_kills_two_engines_is_failed_with_its_cause() -> None:
    sched = scheduler(3)
    sched.submit(call("poison"), 0.0)
    for name in ("e0", "e1"):
        assert placed(sched.schedule(0.0)) == [("poison", name)]
        failed = sched.engine_died(name, 0.0, "illegal memory access")
    (failure,) = failed
    assert (failure.task.id, failure.reason) == ("poison", Reason.POISON)
    assert failure.engines == ("e0", "e1")
    assert failure.message == "2 engines died while they ran it (e0, e1): illegal memory access"
    assert placed(sched.schedule(0.0)) == []
    assert leftovers(sched) == {}


def test_its_neighbours_are_not_failed_with_it() -> None:
    """All that ran beside it are suspects, and no two suspects run together again."""
    sched = scheduler(4)
    for name in ("poison", *"abc"):
        sched.submit(call(name), 0.0)
    done: set[str] = set()
    failed = []
    for second in range(12):
        for task, name in placed(sched.schedule(float(second))):
            if task == "poison":
                failed += sched.engine_died(name, float(second), "it crashed")
                sched.add_engine(engine(10 + second), float(second))
            else:
                done.add(task)
        for task in sorted(done):
            if task in sched._tickets and sched._tickets[task].engine:
                sched.finish(task, float(second))
    assert [each.task.id for each in failed] == ["poison"]
    assert done == set("abc")
    assert sched.counts().queued == 0


def test_blame_can_be_given() -> None:
    sched = scheduler(1, kills=1)
    for name in "ab":
        sched.submit(call(name), 0.0)
    sched.schedule(0.0)
    assert [f.task.id for f in sched.engine_died("e0", 0.0, "bad token", blame=["b"])] == ["b"]
    assert sched.counts().queued == 1


def test_a_model_without_engines_waits_for_one_to_come_back() -> None:
    sched = scheduler(1, grace=30.0)
    sched.submit(call("a"), 0.0)
    sched.schedule(0.0)
    sched.engine_died("e0", 10.0, "lost", blame=())
    sched.submit(call("b"), 15.0)
    assert placed(sched.schedule(39.0)) == []
    sched.add_engine(engine(0), 39.5)
    assert placed(sched.schedule(39.5)) == [("a", "e0"), ("b", "e0")]


def test_and_gives_up_when_none_comes() -> None:
    sched = scheduler(1, grace=30.0)
    sched.submit(call("a"), 0.0)
    sched.submit(chat("b"), 0.0)
    sched.engine_died("e0", 10.0, "lost")
    assert sched.schedule(39.9).failed == ()
    failed = sched.schedule(40.0).failed
    assert {each.task.id for each in failed} == {"a", "b"}
    assert {(each.reason, each.message) for each in failed} == {
        (Reason.NO_ENGINE, "the model `m` has no engine left")
    }
    with pytest.raises(Refused, match="the model `m` has no engine left"):
        sched.submit(call("c"), 41.0)
    assert leftovers(sched) == {}


def test_what_fitted_only_the_dead_engine_is_given_up() -> None:
    sched = scheduler(1, spec={"tokens": 100})
    sched.add_engine(engine(1, tokens=1000), 0.0)
    sched.submit(call("long", new_tokens=500), 0.0)
    sched.engine_died("e1", 5.0, "lost")
    assert sched.schedule(34.0).failed == ()
    (failed,) = sched.schedule(35.0).failed
    assert failed.reason is Reason.NEVER_FITS


def test_a_draining_engine_ends_what_it_has() -> None:
    sched = scheduler(2)
    sched.submit(call("a"), 0.0)
    sched.schedule(0.0)
    sched.drain("e0", 0.0)
    sched.submit(call("b"), 0.0)
    assert placed(sched.schedule(0.0)) == [("b", "e1")]
    assert sched.has_engine("e0")
    sched.finish("a", 1.0)
    assert not sched.has_engine("e0")
    sched.drain("e1", 1.0)
    assert sched.engine_died("e1", 2.0, "killed while it drained", blame=()) == ()
    assert sched.counts().queued == 1


def test_an_engine_with_its_old_name_knows_nothing() -> None:
    prefix = (PrefixNode("p", 50),)
    sched = scheduler(1)
    sched.submit(call("a", prefix=prefix), 0.0)
    sched.schedule(0.0)
    sched.engine_died("e0", 0.0, "lost", blame=())
    sched.add_engine(engine(0), 1.0)
    (dispatch,) = sched.schedule(1.0).dispatched
    assert (dispatch.engine, dispatch.resident) == ("e0", 0)
    with pytest.raises(ValueError, match="e0 is registered already"):
        sched.add_engine(engine(0), 1.0)


def test_a_large_call_gets_an_engine_for_itself_in_the_end() -> None:
    """Small calls never stop coming; once the large one is due an engine is kept free for it."""
    sched = scheduler(2, spec={"tokens": 100, "slots": 4}, patience=5.0)
    running: list[tuple[float, str]] = []
    started = None
    for second in range(30):
        now = float(second)
        for number in range(8):
            sched.submit(call(f"{second}.{number}", new_tokens=10, expected_tokens=15), now)
        if second == 1:
            sched.submit(call("large", new_tokens=90), now)
        for end, name in [each for each in running if each[0] <= now]:
            running.remove((end, name))
            sched.finish(name, now)
        for dispatch in sched.schedule(now).dispatched:
            running.append((now + 2 + len(running) % 2, dispatch.task.id))
            if dispatch.task.id == "large":
                started = now
    assert started is not None and 6.0 <= started <= 6.0 + 3.0, "as long as the longest call"


def test_a_reservation_ends_with_its_call_or_its_engine() -> None:
    for end in ("cancel", "die", "drain"):
        sched = scheduler(2, spec={"tokens": 100}, patience=0.0)
        for name in ("r0", "r1"):
            sched.submit(call(name, new_tokens=80), 0.0)
        sched.schedule(0.0)
        sched.submit(call("large", new_tokens=80), 1.0)
        assert placed(sched.schedule(1.0)) == []
        if end == "cancel":
            assert sched.cancel("large", 2.0) is None
        elif end == "die":
            sched.engine_died("e0", 2.0, "lost", blame=())
        else:
            sched.drain("e0", 2.0)
        sched.finish("r1", 3.0)
        sched.submit(call("small", new_tokens=1), 3.0)
        expected = {"cancel": "small", "die": "r0", "drain": "large"}[end]
        assert placed(sched.schedule(3.0))[0] == (expected, "e0" if end == "cancel" else "e1")


def test_cancelling_tells_where_it_ran() -> None:
    sched = scheduler(1, spec={"slots": 1})
    for name in "ab":
        sched.submit(call(name), 0.0)
    sched.schedule(0.0)
    with pytest.raises(KeyError, match="not running"):
        sched.finish("b", 0.0)
    assert sched.cancel("a", 0.0) == "e0"
    assert placed(sched.schedule(0.0)) == [("b", "e0")]
    with pytest.raises(KeyError):
        sched.cancel("a", 0.0)


def test_a_call_whose_reserved_engine_died_gets_another() -> None:
    sched = scheduler(2, spec={"tokens": 100}, patience=0.0)
    for name in ("r0", "r1"):
        sched.submit(call(name, new_tokens=80), 0.0)
    sched.schedule(0.0)
    sched.submit(call("large", new_tokens=80), 1.0)
    assert placed(sched.schedule(1.0)) == [], "e0 is kept for it"
    sched.engine_died("e0", 2.0, "lost", blame=())
    sched.finish("r1", 3.0)
    assert placed(sched.schedule(3.0)) == [("r0", "e1")]
    sched.submit(call("small", new_tokens=1, expected_tokens=1), 4.0)
    assert placed(sched.schedule(4.0)) == [], "e1 is kept for it now, though there is room"
    sched.finish("r0", 5.0)
    assert placed(sched.schedule(5.0))[0] == ("large", "e1")
