"""What goes wrong in the scheduler ends one request, and leaves nothing behind."""

import pytest

torch = pytest.importorskip("torch")

from cells import prompt, said  # noqa: E402
from stepped import SCORED, Bench  # noqa: E402

from parrotc.runtime.engines.embedded.planner import Plan  # noqa: E402
from parrotc.runtime.engines.protocol import (  # noqa: E402
    EngineError,
    FillRequest,
    GenerateRequest,
    Sampling,
)

POISON = 310


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
