"""The scheduler in little memory: who gives way, what is kept, and that all of it comes back."""

import pytest

torch = pytest.importorskip("torch")

from cells import prompt, said  # noqa: E402
from stepped import Bench  # noqa: E402

from parrotc.runtime.engines.embedded.contexts import Sequence  # noqa: E402
from parrotc.runtime.engines.embedded.planner import Limits  # noqa: E402
from parrotc.runtime.engines.protocol import (  # noqa: E402
    Finished,
)


def test_generations_give_way_and_come_back(small) -> None:
    bench = Bench(small, max_total_tokens=96)
    contexts = [bench.fill(prompt(n, 10)) for n in range(6)]
    talks = [bench.generate(context, 40) for context in contexts]
    bench.run()
    assert bench.planner.preemptions > 0
    for n, talk in enumerate(talks):
        assert bench.ids(talk) == said(prompt(n, 10), 40)
    bench.free_all()


def test_contexts_that_nobody_uses_give_way_and_are_computed_again(small) -> None:
    bench = Bench(small, max_total_tokens=64)
    contexts = [bench.fill(prompt(n, 30)) for n in range(10)]
    bench.run()
    for n, context in enumerate(contexts):
        talk = bench.generate(context, 6)
        bench.run()
        assert bench.ids(talk) == said(prompt(n, 30), 6)
    assert bench.planner.preemptions == 0
    bench.free_all()


def test_branches_of_a_context_that_was_taken_compute_it_once(small) -> None:
    bench = Bench(small, max_total_tokens=160)
    context = bench.fill(prompt(1, 64))
    bench.run()
    bench.fill(prompt(2, 160))
    bench.run()
    before = bench.runner.computed
    talks = [bench.generate(context, 2) for _ in range(4)]
    bench.run()
    assert bench.runner.computed <= before + 64 + 4 * 4
    assert {bench.ids(talk) for talk in talks} == {said(prompt(1, 64), 2)}


def test_what_a_plan_knows_of_the_future_is_heeded(small) -> None:
    """Ten agents in a cycle, with room for five: without a word of it nothing would be found."""
    assert cycled(small, None) == 0
    assert 0.39 < cycled(small, 10) < 4 / 9


def cycled(small, next_use: float | None) -> float:
    """The share of tokens that were found, of ten prompts in turn with room for five.

    And for a block more: a generation below a prompt that was found computes its last token again.
    """
    bench = Bench(small, max_total_tokens=5 * 16 + 4)
    for turn in range(100):
        context = bench.fill(prompt(turn % 10, 16), next_use=next_use)
        talk = bench.generate(context, 1)
        bench.run()
        bench.scheduler.free(context)
        bench.scheduler.free(talk, dead=True)
    return bench.memory.found / 1600


def test_contexts_that_are_held_are_kept_for_their_next_use(small) -> None:
    """Of ten that are held with room for five, the one gives way that is used last."""
    bench = Bench(small, max_total_tokens=5 * 16)
    contexts = [bench.fill(prompt(n, 16), next_use=10 * (10 - n)) for n in range(5)]
    bench.run()
    filled(bench, 20), filled(bench, 21), filled(bench, 22), filled(bench, 23)
    left = [bool(bench.scheduler.contexts.get(context).table) for context in contexts]
    assert left == [False, True, True, True, True]


def test_a_use_that_does_not_come_is_not_waited_for(small) -> None:
    """What was said to be used again soon, and is not, goes before what came after it."""
    bench = Bench(small, max_total_tokens=40)
    bench.scheduler.free(filled(bench, 50, next_use=3))
    other = filled(bench, 51, next_use=1000)
    bench.scheduler.free(other)
    assert found(bench, 50)
    for turn in range(7):
        bench.scheduler.free(filled(bench, 60 + turn), dead=False)
        talk = bench.generate(filled(bench, 70), 1)
        bench.run()
        bench.scheduler.free(talk, dead=True)
    assert not found(bench, 50) and found(bench, 51)


def test_what_is_pinned_goes_last_until_it_is_freed(small) -> None:
    bench = Bench(small, max_total_tokens=40)
    pinned = filled(bench, 50, pinned=True)
    filled(bench, 52, next_use=1000)
    for n in range(60, 80):
        filled(bench, n)
    before = bench.runner.computed
    talk = bench.generate(pinned, 1)
    bench.run()
    assert bench.runner.computed == before
    bench.scheduler.free(pinned)
    bench.scheduler.free(talk)
    for n in range(60, 80):
        bench.scheduler.free(filled(bench, n))
    assert not found(bench, 50)


def test_a_tenant_pins_no_more_than_its_part(small) -> None:
    """Half of the memory; what others pin is not counted, and what is freed counts no more."""
    bench = Bench(small, max_total_tokens=40)
    first = [filled(bench, n, pinned=True, salt="a") for n in range(8)]
    assert bench.scheduler.outlooks.pinned == {"a": 20}
    assert [bench.scheduler.contexts.get(c).outlook.is_pinned for c in first] == [True] * 5 + [
        False
    ] * 3
    filled(bench, 20, pinned=True, salt="b")
    assert bench.scheduler.outlooks.pinned == {"a": 20, "b": 4}
    bench.scheduler.free(first[0], dead=True)
    last = filled(bench, 9, pinned=True, salt="a")
    assert bench.scheduler.outlooks.pinned["a"] == 20
    assert bench.scheduler.contexts.get(last).outlook.is_pinned


def test_a_use_counts_for_all_that_is_above(small) -> None:
    """When it is used next is told anew by each fill and each generation below it."""
    bench = Bench(small)
    root = filled(bench, 1, next_use=10)
    middle = bench.fill(prompt(2, 4), root)
    bench.run()
    dues = []
    for talk in (True, True, False):
        below = bench.generate(middle, 1) if talk else bench.fill(prompt(3, 4), middle)
        bench.run()
        dues.append(-bench.scheduler.contexts.get(root).use.soon)
        bench.scheduler.free(below)
    assert dues == [11, 12, 12]


def filled(bench: Bench, name: int, **how) -> int:
    context = bench.fill(prompt(name, 4), **how)
    bench.run()
    return context


def found(bench: Bench, name: int) -> bool:
    """Whether the tokens are there still; nothing is used by looking."""
    return bool(bench.memory.cached(Sequence(None, prompt(name, 4)), 4))


def test_tenants_share_nothing(small) -> None:
    bench = Bench(small)
    for salt in ("a", "b", "a"):
        bench.fill(prompt(1, 32), salt=salt)
        bench.run()
    assert bench.runner.computed == 64


def test_one_that_fills_the_whole_memory_goes_on(small) -> None:
    """Its parent, in the way of its last block, gives up its own copy."""
    bench = Bench(small, max_total_tokens=32)
    context = bench.fill(prompt(1, 30))
    talk = bench.generate(context, 2)
    bench.run()
    assert bench.ids(talk) == said(prompt(1, 30), 2)
    again = bench.generate(context, 2)
    bench.run()
    assert bench.ids(again) == bench.ids(talk)


def test_a_long_prompt_has_its_turn(small) -> None:
    """However many short ones come behind it."""
    bench = Bench(small, max_total_tokens=100, max_batch_size=4)
    talks = [bench.generate(bench.fill(prompt(n, 8)), 12) for n in range(4)]
    for _ in range(5):
        bench.step()
    long = bench.fill(prompt(50, 96))
    for n in range(60):
        if long in bench.ends:
            break
        talks.append(bench.generate(bench.fill(prompt(100 + n, 8)), 12))
        bench.step()
    assert long in bench.ends
    bench.run()
    assert all(isinstance(bench.ends[talk], Finished) for talk in talks)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"fill_chunk_size": 0}, "fill_chunk_size must be at least 1"),
        ({"max_batch_size": 9, "max_num_batched_tokens": 8}, "9 generations at a time"),
    ],
)
def test_limits_that_make_no_sense(limits: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Limits(**limits)
