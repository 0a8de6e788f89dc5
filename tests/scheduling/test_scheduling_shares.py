"""Fair shares between tenants, and limits to what one of them may have waiting."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedules import call, chat, engine, scheduler

from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.scheduling.scheduler import Scheduler
from parrotc.runtime.scheduling.shares import REMEMBERED, Shares
from parrotc.runtime.scheduling.tasks import Reason, Refused

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=40)


@given(
    flood=SIZES,
    modest=SIZES,
    weight=st.sampled_from([0.5, 1.0, 3.0]),
    kinds=st.tuples(st.booleans(), st.booleans()),
)
@settings(deadline=None)
def test_two_that_always_wait_are_served_by_their_weights(
    flood: list[int], modest: list[int], weight: float, kinds: tuple[bool, bool]
) -> None:
    """Engine seconds over weight never differ by more than one call of each, whatever the sizes,
    while both wait (the bound of start-time fair queueing)."""
    sched = scheduler(spec={"slots": 1}, weights={"modest": weight}, patience=1e9)
    weights = {"flood": 1.0, "modest": weight}
    left: Counter[str] = Counter()
    for tenant, sizes, is_chat in zip(weights, (flood, modest), kinds, strict=True):
        for number, size in enumerate(sizes):
            make = chat if is_chat else call
            task = make(f"{tenant}{number}", tenant=tenant, new_tokens=100 * size)
            sched.submit(task, 0.0)
            left[tenant] += 1
    had: Counter[str] = Counter()
    largest: Counter[str] = Counter()
    while all(left.values()):
        (dispatch,) = sched.schedule(0.0).dispatched
        tenant = dispatch.task.tenant
        had[tenant] += dispatch.seconds / weights[tenant]
        largest[tenant] = max(largest[tenant], dispatch.seconds / weights[tenant])
        left[tenant] -= 1
        sched.finish(dispatch.task.id, 0.0)
        assert abs(had["flood"] - had["modest"]) <= largest["flood"] + largest["modest"] + 1e-9


@given(backlog=st.integers(50, 120), before=st.integers(0, 40), groups=st.booleans())
@settings(deadline=None)
def test_a_flood_does_not_delay_a_newcomer_beyond_its_share(
    backlog: int, before: int, groups: bool
) -> None:
    """However much a tenant has waiting and has had: every second call is the newcomer's."""
    sched = scheduler(spec={"slots": 1}, patience=50.0)
    for number in range(backlog):
        group = {"group": "g", "group_size": backlog} if groups else {}
        sched.submit(call(f"flood{number}", tenant="flood", depth=5, **group), 0.0)
    for _ in range(before):
        sched.finish(sched.schedule(0.0).dispatched[0].task.id, 100.0)
    for number in range(5):
        sched.submit(call(f"new{number}", tenant="new"), 100.0)
    served = []
    for second in range(10):  # all of the flood is due, and nothing of the newcomer's
        (dispatch,) = sched.schedule(100.0 + second).dispatched
        served.append(dispatch.task.tenant)
        sched.finish(dispatch.task.id, 100.0 + second)
    assert served[:3].count("new") >= 1
    assert served.count("new") >= 4


def test_a_due_flood_reserves_nothing_before_its_turn() -> None:
    """Of four calls three are the newcomer's, by its weight, though only the flood is due."""
    sched = scheduler(spec={"slots": 1}, patience=50.0, weights={"new": 3.0}, lookahead=100)
    for number in range(20):
        sched.submit(call(f"flood{number}", tenant="flood"), 0.0)
        sched.submit(call(f"new{number}", tenant="new"), 100.0)
    served = []
    for second in range(12):
        (dispatch,) = sched.schedule(100.0 + second).dispatched
        served.append(dispatch.task.tenant)
        sched.finish(dispatch.task.id, 100.0 + second)
    assert served.count("new") >= 8


def test_who_was_away_has_saved_up_nothing() -> None:
    sched = scheduler(spec={"slots": 1})
    for number in range(20):
        sched.submit(call(f"a{number}", tenant="a"), 0.0)
    sched.submit(call("b", tenant="b"), 0.0)
    for _ in range(10):
        sched.finish(sched.schedule(0.0).dispatched[0].task.id, 0.0)
    for number in range(10):
        sched.submit(call(f"b{number}", tenant="b"), 0.0)
    served = []
    for _ in range(8):
        (dispatch,) = sched.schedule(0.0).dispatched
        served.append(dispatch.task.tenant)
        sched.finish(dispatch.task.id, 0.0)
    assert served.count("b") == 4


@pytest.mark.parametrize("hogged", [0, 5, 200])
def test_what_was_had_of_one_model_is_not_held_against_anybody_at_another(hogged: int) -> None:
    """Engines of another model are another's to wait for: each has its half of this one."""
    sched = scheduler(spec={"slots": 1}, patience=1e9)
    sched.add_engine(engine(1, model="idle", slots=1), 0.0)
    for number in range(hogged):
        sched.submit(call(f"alone{number}", tenant="a", model="idle", new_tokens=1000), 0.0)
        sched.finish(sched.schedule(0.0).dispatched[0].task.id, 0.0)
    for number in range(20):
        for tenant in "ab":
            sched.submit(call(f"{tenant}{number}", tenant=tenant), 0.0)
    served: Counter[str] = Counter()
    for _ in range(20):
        (dispatch,) = sched.schedule(0.0).dispatched
        served[dispatch.task.tenant] += 1
        sched.finish(dispatch.task.id, 0.0)
    assert served == {"a": 10, "b": 10}


def test_what_a_call_really_took_is_settled() -> None:
    """A tenant whose calls take longer than was thought is served less."""
    sched = scheduler(spec={"slots": 1}, patience=1e9)
    for number in range(60):
        for tenant in "ab":
            sched.submit(call(f"{tenant}{number}", tenant=tenant), 0.0)
    served: Counter[str] = Counter()
    for _ in range(40):
        (dispatch,) = sched.schedule(0.0).dispatched
        served[dispatch.task.tenant] += 1
        factor = 3.0 if dispatch.task.tenant == "a" else 1.0
        sched.finish(dispatch.task.id, 0.0, seconds=factor * dispatch.seconds)
    assert 28 <= served["b"] <= 32, "three for each of the other's"


def test_a_passed_over_tenant_keeps_its_turn() -> None:
    """Its large call waits for room while small ones of others pass; then it is first."""
    sched = scheduler(spec={"slots": 3, "tokens": 100}, patience=1e9)
    sched.submit(call("r", tenant="a", new_tokens=50), 0.0)
    sched.schedule(0.0)
    sched.submit(call("large", tenant="z", new_tokens=80), 0.0)
    sched.submit(call("s0", tenant="a"), 0.0)
    sched.submit(call("s1", tenant="a"), 0.0)
    assert [d.task.id for d in sched.schedule(0.0).dispatched] == ["s0", "s1"]
    sched.submit(call("s2", tenant="c", new_tokens=80), 0.0)
    for name in ("r", "s0", "s1"):
        sched.finish(name, 1.0)
    assert sched.schedule(1.0).dispatched[0].task.id == "large"


def test_the_queue_of_one_tenant_is_limited() -> None:
    sched = scheduler(spec={"slots": 1}, tenant_queue_limit=2, queue_limit=3)
    sched.submit(call(0, tenant="a"), 0.0)
    sched.submit(call(1, tenant="a"), 0.0)
    with pytest.raises(Refused, match="2 calls of this tenant are waiting already") as refused:
        sched.submit(call(2, tenant="a"), 0.0)
    assert refused.value.reason is Reason.TENANT_QUEUE_FULL
    assert refused.value.reason.is_temporary
    sched.submit(call(2, tenant="b"), 0.0)
    with pytest.raises(Refused) as refused:
        sched.submit(call(3, tenant="c"), 0.0)
    assert refused.value.reason is Reason.QUEUE_FULL
    assert len(sched.schedule(0.0).dispatched) == 1, "what runs does not wait"
    sched.submit(call(3, tenant="a"), 0.0)


@pytest.mark.parametrize(
    ("fields", "reason", "message"),
    [
        ({"model": "other"}, Reason.UNKNOWN_MODEL, "no engine serves the model `other`"),
        ({"id": "here"}, Reason.DUPLICATE, "the task here is here already"),
        ({"new_tokens": 2000}, Reason.NEVER_FITS,
         "2,008 tokens are more than any engine of `m` has room for (1,000)"),
    ],
)  # fmt: skip
def test_what_can_never_run_is_refused_at_once(
    fields: dict[str, object], reason: Reason, message: str
) -> None:
    sched = scheduler(2, spec={"tokens": 1000})
    sched.submit(call("here"), 0.0)
    with pytest.raises(Refused) as refused:
        sched.submit(call(fields.pop("id", "x"), **fields), 0.0)
    assert (refused.value.reason, refused.value.message) == (reason, message)
    assert sched.counts().queued == 1


def test_only_engines_for_its_kind_count() -> None:
    sched = Scheduler(SchedulerConfig())
    sched.add_engine(engine(0, role="latency", tokens=100), 0.0)
    sched.add_engine(engine(1, role="throughput", tokens=1000), 0.0)
    with pytest.raises(Refused, match="more than any engine"):
        sched.submit(chat("long", new_tokens=500), 0.0)
    sched.submit(call("long", new_tokens=500), 0.0)


def test_an_engine_that_has_refused_a_call_never_gets_it() -> None:
    """The call waits for another; where there is none it is given up, as what is too large."""
    sched = scheduler(2, spec={"slots": 1}, grace=5.0)
    sched.submit(call("busy", refused=frozenset({"e1"})), 0.0)
    assert sched.schedule(0.0).dispatched[0].engine == "e0"
    sched.submit(call("next", refused=frozenset({"e1"})), 0.0)
    assert sched.schedule(0.0).dispatched == ()
    sched.engine_died("e0", 1.0, "gone", blame=())
    assert sched.schedule(2.0).failed == (), "it may come back"
    assert {each.reason for each in sched.schedule(7.0).failed} == {Reason.NEVER_FITS}
    with pytest.raises(Refused, match="large enough have refused it") as refused:
        sched.submit(call("late", refused=frozenset({"e1"})), 7.0)
    assert refused.value.reason is Reason.NEVER_FITS


def test_idle_tenants_are_forgotten() -> None:
    shares = Shares({})
    for number in range(100):
        shares.begin(f"t{number}")
        shares.end(f"t{number}", now=float(number))
    assert len(shares) <= REMEMBERED + 1


@pytest.mark.parametrize(
    "wrong", [{"new_tokens": -1}, {"group_size": 0}, {"target": 1.0}, {"depth": -1}]
)
def test_a_task_that_means_nothing_is_no_task(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="task x"):
        call("x", **wrong)


@pytest.mark.parametrize(
    "wrong", [{"lookahead": 0}, {"stretch": 0.5}, {"patience": -1.0}, {"weights": {"a": 0.0}}]
)
def test_a_config_that_would_stop_it_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        SchedulerConfig(**wrong)  # type: ignore[arg-type]
