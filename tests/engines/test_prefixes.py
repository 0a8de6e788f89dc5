"""What the prefix cache finds, for whom, and what it gives up first."""

import pytest

pytest.importorskip("torch")

from parrotc.runtime.engines.embedded.contexts import Sequence
from parrotc.runtime.engines.embedded.memory import Memory
from parrotc.runtime.engines.embedded.prefixes import (
    UNKNOWN,
    Future,
    Prefixes,
    Use,
    digest,
    seed,
)

BLOCK = 4


def compute(memory: Memory, sequence: Sequence) -> int:
    """Fill a sequence as a step does. Gives how many of its tokens were there."""
    memory.share(sequence, sequence.end)
    found = sequence.computed
    assert memory.reserve(sequence, sequence.end)
    memory.advance(sequence, sequence.missing)
    memory.confirm()
    return found


def prompt(name: int, blocks: int = 1) -> tuple[int, ...]:
    return tuple(range(100 * name, 100 * name + BLOCK * blocks))


# --- what is found ---


def test_equal_prefixes_of_strangers_are_shared() -> None:
    memory = Memory(20, BLOCK)
    one = Sequence(None, (1, 2, 3, 4, 5, 6, 7, 8, 9))
    compute(memory, one)
    other = Sequence(None, (1, 2, 3, 4, 5, 6, 7, 8, 10, 11))
    assert compute(memory, other) == 8
    assert other.table[:2] == one.table[:2]


def test_a_block_is_found_only_after_the_same_beginning() -> None:
    """C2: what is found again is what was filled, whoever filled it."""
    memory = Memory(20, BLOCK)
    compute(memory, Sequence(None, (1, 2, 3, 4, 5, 6, 7, 8)))
    assert compute(memory, Sequence(None, (5, 6, 7, 8))) == 0
    assert compute(memory, Sequence(None, (9, 9, 9, 9, 5, 6, 7, 8))) == 0
    assert compute(memory, Sequence(None, (1, 2, 3, 4, 5, 6, 7, 9))) == 4


def test_how_a_prompt_is_cut_into_contexts_does_not_matter() -> None:
    memory = Memory(20, BLOCK)
    whole = Sequence(None, tuple(range(16)))
    compute(memory, whole)
    parent = Sequence(Sequence(None, (0, 1, 2)), (3, 4, 5, 6, 7, 8))
    assert compute(memory, Sequence(parent, tuple(range(9, 16)))) == 16


def test_tenants_do_not_notice_each_other() -> None:
    memory = Memory(20, BLOCK)
    compute(memory, Sequence(None, prompt(1), salt="a"))
    assert compute(memory, Sequence(None, prompt(1), salt="b")) == 0
    assert compute(memory, Sequence(None, prompt(1))) == 0
    child = Sequence(Sequence(None, (), salt="a"), prompt(1), salt="b")
    assert compute(memory, child) == BLOCK, "a child has its parent's salt"


def test_digests_say_where_one_block_ends_and_the_next_begins() -> None:
    assert digest(seed(""), (1, 2)) != digest(digest(seed(""), (1,)), (2,))
    assert digest(seed(""), (256,)) != digest(seed(""), (0, 1))
    assert digest(seed(""), (-1,)) != digest(seed(""), (1,))


# --- what goes first ---


def filled(memory: Memory, name: int, use: Use, blocks: int = 1) -> None:
    sequence = Sequence(None, prompt(name, blocks), use=use)
    compute(memory, sequence)
    memory.release(sequence)


def kept(memory: Memory, *names: int) -> list[int]:
    return [name for name in names if memory.cached(Sequence(None, prompt(name)), BLOCK)]


def test_the_order_of_eviction() -> None:
    uses = {
        1: Use(Future.PINNED),
        2: Use(Future.KNOWN, -30.0),
        3: UNKNOWN,
        4: Use(Future.DEAD),
        5: Use(Future.KNOWN, -20.0),
        6: UNKNOWN,
        7: Use(Future.DEAD),
    }
    memory = Memory(len(uses), BLOCK)
    for name, use in uses.items():
        filled(memory, name, use)
    gone = []
    for _ in uses:
        left = set(kept(memory, *uses))
        block = memory.prefixes.evict()
        assert block is not None
        memory.pool.free(block)
        gone += left - set(kept(memory, *uses))
    assert gone == [4, 7, 3, 6, 2, 5, 1]


def test_a_use_makes_a_block_recent() -> None:
    memory = Memory(3, BLOCK)
    for name in (1, 2, 3, 1, 4):
        filled(memory, name, UNKNOWN)
    assert kept(memory, 1, 2, 3, 4) == [1, 3, 4]


def test_a_prompt_goes_from_its_end() -> None:
    memory = Memory(6, BLOCK)
    filled(memory, 1, UNKNOWN, blocks=4)
    filled(memory, 2, UNKNOWN, blocks=4)
    assert compute(memory, Sequence(None, prompt(1, 4))) == 2 * BLOCK


def test_what_is_dead_takes_no_shared_prefix_with_it() -> None:
    """Own blocks of a dead context go first; those of its parent are as they were said to be."""
    memory = Memory(3, BLOCK)
    parent = Sequence(None, prompt(1))
    compute(memory, parent)
    memory.settle(parent)
    child = Sequence(parent, prompt(2), use=Use(Future.DEAD))
    compute(memory, child)
    memory.release(child)
    memory.release(parent)
    filled(memory, 3, UNKNOWN)
    filled(memory, 4, UNKNOWN)
    assert kept(memory, 1, 3, 4) == [1, 3, 4]


def test_what_was_said_after_a_dead_prompt_does_not_keep_it() -> None:
    memory = Memory(4, BLOCK)
    filled(memory, 2, UNKNOWN)
    parent = Sequence(None, prompt(1), use=Use(Future.DEAD))
    compute(memory, parent)
    memory.settle(parent)
    child = Sequence(parent, (7,))
    compute(memory, child)
    for sequence in (parent, child):
        memory.release(sequence)
    for name in (3, 4, 5):
        filled(memory, name, UNKNOWN)
    assert kept(memory, 1, 2, 3, 4, 5) == [2, 3, 4, 5]


def test_a_known_use_holds_for_the_whole_prompt() -> None:
    memory = Memory(3, BLOCK)
    parent = Sequence(None, prompt(1))
    compute(memory, parent)
    memory.settle(parent)
    child = Sequence(parent, (), use=Use(Future.PINNED))
    compute(memory, child)
    for sequence in (child, parent):
        memory.release(sequence)
    for name in (2, 3, 4):
        filled(memory, name, UNKNOWN)
    assert kept(memory, 1, 3, 4) == [1, 3, 4]


def test_what_was_said_of_a_use_is_over_with_it() -> None:
    memory = Memory(2, BLOCK)
    filled(memory, 1, Use(Future.PINNED))
    filled(memory, 1, UNKNOWN)
    filled(memory, 2, Use(Future.KNOWN, -1.0))
    filled(memory, 3, UNKNOWN)
    assert kept(memory, 1, 2, 3) == [2, 3]


def at_rest(memory: Memory, name: int, use: Use) -> Sequence:
    context = Sequence(None, prompt(name), use=use)
    compute(memory, context)
    memory.settle(context)
    return context


def test_contexts_at_rest_give_way_in_the_same_order() -> None:
    """The cache first where nobody knows which is missed more."""
    memory = Memory(4, BLOCK)
    filled(memory, 1, Use(Future.PINNED))
    context = at_rest(memory, 3, UNKNOWN)
    filled(memory, 2, Use(Future.KNOWN, -1.0))
    filled(memory, 4, UNKNOWN)
    filled(memory, 5, UNKNOWN)
    assert context.table and kept(memory, 1, 2, 4, 5) == [1, 2, 5]
    wide = Sequence(None, prompt(6, 2))
    compute(memory, wide)
    assert not context.table and kept(memory, 1, 2) == [1, 2]


def test_of_known_uses_the_last_one_goes_wherever_it_is() -> None:
    memory = Memory(3, BLOCK)
    late, soon = (
        at_rest(memory, 1, Use(Future.KNOWN, -9.0)),
        at_rest(memory, 2, Use(Future.KNOWN, -2.0)),
    )
    filled(memory, 3, Use(Future.KNOWN, -5.0))
    filled(memory, 4, Use(Future.KNOWN, -1.0))
    assert not late.table and soon.table and kept(memory, 1, 3, 4) == [3, 4]
    filled(memory, 5, Use(Future.KNOWN, -1.5))
    assert soon.table and kept(memory, 3, 4, 5) == [4, 5]


def test_a_use_that_does_not_come_is_forgotten() -> None:
    memory = Memory(3, BLOCK)
    filled(memory, 1, Use(Future.KNOWN, -2.0, until=4.0))
    filled(memory, 2, UNKNOWN)
    filled(memory, 3, UNKNOWN)
    memory.prefixes.now = 3
    filled(memory, 4, UNKNOWN)
    assert kept(memory, 1, 2, 3, 4) == [1, 3, 4]
    memory.prefixes.now = 4
    filled(memory, 5, UNKNOWN)
    assert kept(memory, 1, 3, 4, 5) == [3, 4, 5], "it was left before the others"


def test_what_was_computed_again_is_as_its_owner_says() -> None:
    """A context that lost its table, and whose tokens somebody below it has computed again."""
    memory = Memory(3, BLOCK)
    parent = at_rest(memory, 1, Use(Future.KNOWN, -1.0))
    memory.release(parent)
    for name in (2, 3, 4):
        filled(memory, name, Use(Future.KNOWN, 0.0))
    child = Sequence(parent, prompt(5))
    compute(memory, child)
    memory.release(child)
    filled(memory, 6, UNKNOWN)
    filled(memory, 7, UNKNOWN)
    assert kept(memory, 1) == [1]


def test_many_uses_need_no_more_memory() -> None:
    prefixes = Prefixes()
    prefixes.register(0, b"a", None)
    for _ in range(10_000):
        prefixes.rest(0)
        prefixes.wake(0)
    assert len(prefixes._heap) < 200


# --- a future that is known ---


def cycle(room: int, agents: int, rounds: int, *, known: bool) -> float:
    """Agents take turns, each with a prompt of its own: the share of prompts that were found."""
    memory = Memory(room, BLOCK)
    hits = 0
    for turn in range(agents * rounds):
        use = Use(Future.KNOWN, -float(turn + agents)) if known else UNKNOWN
        sequence = Sequence(None, prompt(turn % agents), use=use)
        hits += compute(memory, sequence) == BLOCK
        memory.release(sequence)
    return hits / (agents * rounds)


def belady(room: int, agents: int, rounds: int) -> float:
    """The best there is: what is used last goes, and may be the one that has just been used."""
    cache: dict[int, int] = {}
    hits = 0
    for turn in range(agents * rounds):
        hits += turn % agents in cache
        cache[turn % agents] = turn + agents
        if len(cache) > room:
            others = {name: use for name, use in cache.items() if name != turn % agents}
            del cache[max(others, key=others.__getitem__)]
    return hits / (agents * rounds)


def test_agents_in_a_cycle() -> None:
    """With N = 10 and C = 5, LRU never hits and Bélády does in (C - 1) / (N - 1)."""
    assert cycle(5, 10, 100, known=False) == 0.0
    ours = cycle(5, 10, 100, known=True)
    assert ours == pytest.approx(belady(5, 10, 100))
    assert 0.43 < ours < 4 / 9
