"""The scheduler over a model that can be looked into: who runs when, and that nothing is lost."""

from random import Random

import pytest

torch = pytest.importorskip("torch")

from cells import prompt, said  # noqa: E402
from stepped import SCORED, Bench  # noqa: E402

from parrotc.runtime.engines.embedded.jobs import Filling, Generating  # noqa: E402
from parrotc.runtime.engines.protocol import (  # noqa: E402
    Finished,
)

# --- one step ---


def test_a_prompt_is_filled_in_chunks(small) -> None:
    bench = Bench(small, fill_chunk_size=30)
    context = bench.fill(prompt(1, 100))
    talk = bench.generate(context)
    bench.run()
    assert [plan[0][1] for plan in bench.runner.plans[:4]] == [30, 30, 30, 10]
    assert bench.ids(talk) == said(prompt(1, 100), 5)


def test_generations_come_first_and_every_one_of_them(small) -> None:
    bench = Bench(small, fill_chunk_size=20, max_num_batched_tokens=24, max_batch_size=8)
    talks = [bench.generate(bench.fill(prompt(n, 3)), 30) for n in range(8)]
    while len(bench.planner.running) < 8:
        bench.step()
    long = bench.fill(prompt(9, 100))
    before = len(bench.runner.plans)
    while long not in bench.ends:
        bench.step()
    for plan in bench.runner.plans[before:]:
        assert [kind for kind, _ in plan[:8]] == [Generating] * 8
        assert sum(count for _, count in plan) <= 24
    assert bench.runner.plans[before][8] == (Filling, 16), "what the generations left"
    bench.run()
    for n, talk in enumerate(talks):
        assert bench.ids(talk) == said(prompt(n, 3), 30)


def test_a_chain_of_fills_is_one_step(small) -> None:
    """Each token is computed once, though every one but the first begins inside a block."""
    bench = Bench(small)
    parts = [prompt(n, length) for n, length in enumerate((5, 1, 0, 2, 9, 3))]
    contexts = bench.fills((parts[0], None), *((ids, -1) for ids in parts[1:]))
    bench.step()
    assert len(bench.runner.plans) == 1
    assert bench.runner.computed == sum(map(len, parts))
    assert [bench.ends[context] for context in contexts] == [None] * len(parts)
    whole: tuple[int, ...] = ()
    for ids, context in zip(parts, contexts, strict=True):
        whole += ids
        talk = bench.generate(context)
        bench.run()
        assert bench.ids(talk) == said(whole, 5)


@pytest.mark.parametrize("block", [4, 16])
def test_a_chain_whose_parent_is_half_done(small, block: int) -> None:
    """The child's block is copied from one of which a part is computed in this very step; and the
    next one's, if all are in one block, from that copy."""
    bench = Bench(small, fill_chunk_size=6, max_num_batched_tokens=64, block_size=block)
    root, middle, leaf = bench.fills((prompt(1, 7), None), (prompt(2, 1), -1), (prompt(3, 2), -1))
    bench.run()
    assert bench.runner.computed == 10
    for context, ids in (
        (root, prompt(1, 7)),
        (middle, prompt(1, 7) + prompt(2, 1)),
        (leaf, prompt(1, 7) + prompt(2, 1) + prompt(3, 2)),
    ):
        talk = bench.generate(context)
        bench.run()
        assert bench.ids(talk) == said(ids, 5)


@pytest.mark.parametrize("chunk", [512, 10])
def test_a_common_prefix_is_computed_once(small, chunk: int) -> None:
    """In one message or in several, in one step or over many: by the first; the others wait."""
    bench = Bench(small, fill_chunk_size=chunk)
    trunk = prompt(1, 64)
    contexts = bench.fills(*((trunk + prompt(n, 3), None) for n in range(2, 6)))
    contexts += [bench.fill(trunk + prompt(n, 3)) for n in range(6, 9)]
    bench.run()
    assert bench.runner.computed == 64 + 7 * 3
    talks = [bench.generate(context) for context in contexts]
    bench.run()
    for n, talk in enumerate(talks, 2):
        assert bench.ids(talk) == said(trunk + prompt(n, 3), 5)


def test_many_samples_are_forks_after_one_fill(small) -> None:
    bench = Bench(small)
    context = bench.fill(prompt(1, 30))
    talks = [bench.generate(context, 4) for _ in range(8)]
    bench.run()
    assert bench.runner.computed == 30 + 8 * 3, "the last token of each is not fed"
    assert {bench.ids(talk) for talk in talks} == {said(prompt(1, 30), 4)}


def test_an_equal_prompt_costs_nothing(small) -> None:
    bench = Bench(small)
    first = bench.fill(prompt(1, 32))
    bench.run()
    bench.scheduler.free(first)
    second = bench.fill(prompt(1, 32))
    bench.run()
    assert bench.runner.computed == 32
    talk = bench.generate(second)
    bench.run()
    assert bench.ids(talk) == said(prompt(1, 32), 5)
    assert bench.memory.found == 32


def test_what_is_said_continues_a_prefix(small) -> None:
    """The next turn of a conversation, sent as one prompt by somebody who knows no contexts."""
    bench = Bench(small)
    talk = bench.generate(bench.fill(prompt(1, 10)), 11)
    bench.run()
    before = bench.runner.computed
    bench.fill(prompt(1, 10) + bench.ids(talk) + prompt(2, 3))
    bench.run()
    assert bench.runner.computed == before + 24 - 20


# --- who is first ---


def test_the_order_is_latency_then_rank_then_arrival(small) -> None:
    bench = Bench(small, max_batch_size=1)
    context = bench.fill(prompt(1, 5))
    bench.run()
    plain, low, high, urgent, plain2 = (
        bench.generate(context, 2),
        bench.generate(context, 2, rank=1.0),
        bench.generate(context, 2, rank=2.0),
        bench.generate(context, 2, latency=True),
        bench.generate(context, 2),
    )
    bench.ends.clear()
    bench.run()
    assert list(bench.ends) == [urgent, high, low, plain, plain2]


def test_what_an_urgent_one_needs_is_urgent(small) -> None:
    bench = Bench(small, fill_chunk_size=50)
    other, root = bench.fill(prompt(1, 200)), bench.fill(prompt(2, 20))
    parent = bench.fill(prompt(3, 20), root)
    urgent = bench.generate(parent, 1, latency=True)
    bench.run()
    assert list(bench.ends).index(urgent) < list(bench.ends).index(other)


def test_early_fills_get_what_is_left(small) -> None:
    bench = Bench(small, fill_chunk_size=50)
    early, parent = bench.fill(prompt(1, 60), early=True), bench.fill(prompt(5, 10), early=True)
    first, second = bench.fill(prompt(2, 60)), bench.fill(prompt(3, 60))
    bench.step()
    third = bench.fill(prompt(4, 20), parent)
    bench.run()
    assert list(bench.ends) == [parent, first, second, third, early]


def test_an_early_fill_can_be_hurried(small) -> None:
    bench = Bench(small, fill_chunk_size=50)
    early = bench.fill(prompt(1, 60), early=True)
    leaf = bench.fill(prompt(1, 10), early, early=True)
    bench.scheduler.hurry(leaf)
    bench.scheduler.hurry(12345)
    late = bench.fill(prompt(2, 60))
    bench.run()
    assert list(bench.ends) == [early, leaf, late]


# --- everything together ---


@pytest.mark.parametrize("seed", range(6))
def test_random_requests_in_little_memory(small, seed: int) -> None:
    """Whatever comes in whatever order: each says what it says alone, and nothing is left."""
    rng = Random(seed)
    bench = Bench(
        small,
        block_size=rng.choice([1, 3, 4, 16]),
        max_total_tokens=rng.choice([120, 200, 600]),
        max_batch_size=rng.choice([2, 5, 16]),
        max_num_batched_tokens=rng.choice([16, 40]),
        fill_chunk_size=rng.choice([5, 16, 64]),
    )
    texts: dict[int, tuple[int, ...]] = {}  # contexts that are named, and their tokens
    wanted: dict[int, tuple[int, ...]] = {}
    scored: list[int] = []

    def fill() -> None:
        parent = rng.choice(list(texts)) if texts and rng.random() < 0.7 else None
        before = texts[parent] if parent is not None else ()
        ids = prompt(rng.randrange(4), rng.randrange(parent is None, 30))
        if len(before) + len(ids) <= 80:
            context = bench.fill(ids, parent, early=rng.random() < 0.2, pinned=rng.random() < 0.1)
            texts[context] = before + ids

    def generate() -> None:
        parents = [context for context, ids in texts.items() if ids]
        if parents:
            parent, count = rng.choice(parents), rng.randrange(1, 25)
            if rng.random() < 0.2:
                scored.append(bench.generate(parent, 1, SCORED))
                return
            talk = bench.generate(parent, count, rank=rng.random(), latency=rng.random() < 0.1)
            wanted[talk] = said(texts[parent], count)

    def free() -> None:
        if texts:
            context = rng.choice(list(texts))
            del texts[context]
            bench.scheduler.free(context, dead=rng.random() < 0.5)

    def cancel() -> None:
        if wanted:
            talk = rng.choice(list(wanted))
            bench.scheduler.cancel(talk)
            del wanted[talk]
            texts.pop(talk, None)

    for _ in range(400):
        rng.choice([fill, fill, generate, generate, free, cancel])()
        for _ in range(rng.randrange(4)):
            if bench.scheduler.has_work:
                bench.step()
        for talk in [talk for talk in wanted if isinstance(bench.ends.get(talk), Finished)]:
            assert bench.ids(talk) == wanted.pop(talk)
            bench.scheduler.free(talk)
    bench.run()
    for talk, ids in wanted.items():
        assert bench.ids(talk) == ids
    for talk in scored:
        end = bench.ends[talk]
        assert isinstance(end, Finished) and sum(p for _, p in end.scores) == pytest.approx(1)
    assert all(end is None or isinstance(end, Finished) for end in bench.ends.values())
    bench.free_all()
