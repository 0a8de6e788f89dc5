"""The scheduler over a model that can be looked into: who runs when, and that nothing is lost."""

from random import Random

import pytest

torch = pytest.importorskip("torch")

from cells import Cells, prompt, said  # noqa: E402

from parrotc.runtime.engines.embedded.contexts import Sequence  # noqa: E402
from parrotc.runtime.engines.embedded.jobs import Filling, Generating  # noqa: E402
from parrotc.runtime.engines.embedded.planner import Limits, Plan  # noqa: E402
from parrotc.runtime.engines.embedded.scheduler import Scheduler  # noqa: E402
from parrotc.runtime.engines.protocol import (  # noqa: E402
    Constraint,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
)

CONTEXT = 400
POISON = 310


class Bench:
    """A scheduler with its runner, and the answers that have come by context."""

    def __init__(self, small, **limits) -> None:
        settings = {"max_total_tokens": 4000, "block_size": 4} | limits
        self.limits = Limits(**settings)
        self.runner = Cells(self.limits)
        self.scheduler = Scheduler(self.runner, small("smollm"), self.limits, CONTEXT)
        self.planner, self.memory = self.scheduler.planner, self.scheduler.memory
        self.ends: dict[int, Finished | EngineError | None] = {}  # in the order in which they came
        self._last = 0

    def fill(self, ids, parent: int | None = None, **how) -> int:
        return self.fills((ids, parent), **how)[0]

    def fills(self, *parts, **how) -> list[int]:
        """Several in one message; a parent less than 0 counts from the end of it."""
        contexts: list[int] = []
        requests = []
        for ids, parent in parts:
            self._last += 1
            parent = contexts[parent] if parent is not None and parent < 0 else parent
            requests.append(FillRequest(self._last, parent, tuple(ids), **how))
            contexts.append(self._last)
        self.scheduler.fill(
            requests, lambda error: self.ends.update(dict.fromkeys(contexts, error))
        )
        return contexts

    def generate(self, parent: int, count: int = 5, constraint=None, **how) -> int:
        self._last += 1
        context = self._last
        request = GenerateRequest(
            context, parent, Sampling(max_tokens=count), constraint=constraint, **how
        )

        def post(item: Piece | Finished | EngineError) -> None:
            if not isinstance(item, Piece):
                self.ends[context] = item

        self.scheduler.generate(request, post)
        return context

    def step(self) -> None:
        self.scheduler.iterate()
        free, resting = self.memory.pool.count, self.memory.prefixes.resting
        assert free + resting <= self.memory.pool.size

    def run(self, most: int = 3000) -> None:
        """Until nothing is left to do."""
        for _ in range(most):
            if not self.scheduler.has_work:
                return
            self.step()
        raise AssertionError("it never ends")

    def ids(self, context: int) -> tuple[int, ...]:
        end = self.ends[context]
        assert isinstance(end, Finished), end
        return end.ids

    def free_all(self) -> None:
        """Drop what is named; then no block may be held."""
        for context in list(self.scheduler.contexts.named):
            self.scheduler.free(context)
        assert self.memory.pool.holders == [0] * self.memory.pool.size
        assert self.memory.available == self.memory.pool.size
        assert self.memory.pool.count + self.memory.prefixes.resting == self.memory.pool.size


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


# --- memory ---


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


# --- what goes wrong ---


def test_a_step_that_fails_fails_its_culprit_alone(small) -> None:
    bench = Bench(small, fill_chunk_size=16)

    def fault(plan: Plan) -> None:
        for one in plan.slices:
            if POISON in one.job.sequence.tokens(one.before, one.before + one.count):
                raise MemoryError("poisoned")

    bench.runner.fault = fault
    talking = bench.generate(bench.fill(prompt(1, 20)), 30)
    for _ in range(4):
        bench.step()
    good = [bench.fill(prompt(n, 20)) for n in (2, 3)]
    bad = bench.fills((prompt(4, 30), None), ((*prompt(5, 20), POISON, 1), -1))
    child = bench.fill(prompt(6, 5), bad[0])
    below = bench.generate(good[0], 4)
    bench.run()
    assert [bench.ends[context] for context in (*good, child)] == [None] * 3
    for context in bad:
        error = bench.ends[context]
        assert isinstance(error, EngineError) and "poisoned" in str(error)
        assert context not in bench.scheduler.contexts.named
    assert bench.ids(talking) == said(prompt(1, 20), 30)
    assert bench.ids(below) == said(prompt(2, 20), 4)
    talk = bench.generate(child, 4)
    bench.run()
    assert bench.ids(talk) == said(prompt(4, 30) + prompt(6, 5), 4)
    bench.free_all()


def test_a_draw_that_fails_fails_its_generation_alone(small) -> None:
    bench = Bench(small)
    context = bench.fill(prompt(1, 9))
    talks = [bench.generate(context, 8) for _ in range(3)]
    while not bench.planner.running or not bench.planner.running[0].sequence.ids:
        bench.step()
    job = bench.scheduler._talks[talks[1]]

    class Broken:
        is_complete = False

        def __getattr__(self, name: str):
            raise ZeroDivisionError(name)

    job.generation.matcher = Broken()
    bench.run()
    error = bench.ends[talks[1]]
    assert isinstance(error, EngineError) and error.code == "internal"
    assert bench.ids(talks[0]) == bench.ids(talks[2]) == said(prompt(1, 9), 8)
    bench.free_all()


def test_a_caller_that_fails_ends_its_generation_alone(small) -> None:
    bench = Bench(small)
    context = bench.fill(prompt(1, 9))
    good = bench.generate(context, 8)
    bad = bench.generate(context, 8)
    errors = []

    def post(item: object) -> None:
        if isinstance(item, EngineError):
            errors.append(item)
        else:
            raise RuntimeError("nobody listens")

    bench.scheduler._talks[bad].generation.post = post
    bench.run()
    assert len(errors) == 1 and "nobody listens" in str(errors[0])
    assert bench.ids(good) == said(prompt(1, 9), 8)
    bench.free_all()


def test_a_name_is_given_once(small) -> None:
    bench = Bench(small)
    context = bench.fill(prompt(1, 4))
    talk = bench.generate(context)
    for request in (FillRequest(context, None, (1,)), FillRequest(talk, None, (1,))):
        with pytest.raises(EngineError, match="exists already"):
            bench.scheduler.fill([request], lambda error: None)
    with pytest.raises(EngineError, match="exists already"):
        bench.scheduler.generate(GenerateRequest(talk, context, Sampling()), lambda item: None)


SCORED = Constraint(choices=("yes", "no", "yes, but", "maybe so"), scored=True)


@pytest.mark.parametrize("room", [4000, 48])
def test_cancelling_at_any_moment_frees_everything(small, room: int) -> None:
    for moment in range(14):
        bench = Bench(small, fill_chunk_size=8, max_total_tokens=room)
        root = bench.fill(prompt(1, 18))
        leaf = bench.fill(prompt(2, 5), root)
        talks = [bench.generate(leaf, 6), bench.generate(root, 6), bench.generate(leaf, 6)]
        talks += [bench.generate(root, 4, SCORED), bench.generate(leaf, 4, SCORED)]
        for _ in range(moment):
            if bench.scheduler.has_work:
                bench.step()
        gone = talks[moment % len(talks)]
        bench.scheduler.cancel(gone)
        bench.scheduler.free(leaf)
        bench.run()
        for talk, ids in zip(talks[:3], (prompt(1, 18) + prompt(2, 5), prompt(1, 18)) * 2,
                             strict=False):  # fmt: skip
            if talk != gone:
                assert bench.ids(talk) == said(ids, 6)
        bench.free_all()


def test_ending_everything_frees_everything(small) -> None:
    for moment in range(8):
        bench = Bench(small, fill_chunk_size=8, max_total_tokens=80)
        root = bench.fill(prompt(1, 18))
        wanted = {bench.fill(prompt(2, 30), root), *(bench.generate(root, 9) for _ in range(3))}
        wanted.add(bench.generate(root, 4, SCORED))
        for _ in range(moment):
            bench.step()
        bench.scheduler.fail(EngineError("cancelled", "the end"))
        assert not bench.scheduler.has_work
        assert wanted <= bench.ends.keys()
        bench.free_all()


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
