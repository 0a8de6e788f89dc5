"""What a step costs on this machine: measured once, before the first request.

    a step over nothing          `step` seconds
    a token held by what runs    `read` seconds in each step
    a token of a prompt          `fill` seconds

A few contexts are filled and continued through the scheduler itself, so what is measured is what
requests meet. Afterwards they are freed and forgotten.
"""

from collections.abc import Callable

from parrotc.runtime.engines.embedded.planner import Limits
from parrotc.runtime.engines.embedded.scheduler import Scheduler
from parrotc.runtime.engines.protocol import (
    ContextId,
    FillRequest,
    GenerateRequest,
    Sampling,
    Speed,
    new_context,
)

Clock = Callable[[], float]

BUDGET = 0.5  # seconds that filling may take, about
WARM = 16  # tokens of the fill that is not measured: memory is touched, kernels are compiled
ROWS = 4
LENGTH = 128  # tokens of each, at the most
STEPS = 5  # of each kind; the shortest counts, so that a busy machine does not


def measure_speed(
    scheduler: Scheduler, limits: Limits, context_length: int, clock: Clock
) -> Speed | None:
    """The costs of an engine whose scheduler has no work yet, from about a second of it; None for
    one that holds too little to tell."""
    rows = min(ROWS, limits.max_batch_size)
    most = min(LENGTH, context_length - STEPS - 2, limits.max_total_tokens // (2 * rows) - STEPS)
    if most < WARM:
        return None
    (warm,) = _filled(scheduler, [WARM], 0)
    scheduler.free(warm, dead=True)
    start = clock()
    (probe,) = _filled(scheduler, [WARM], WARM)
    each = (clock() - start) / WARM
    scheduler.free(probe, dead=True)
    length = max(WARM, min(most, int(BUDGET / (rows * max(each, 1e-9)))))
    start = clock()
    contexts = _filled(scheduler, [length] * rows, 2 * WARM)
    fill = (clock() - start) / (rows * length)
    one, together = (_step(scheduler, some, clock) for some in (contexts[:1], contexts))
    for context in contexts:
        scheduler.free(context, dead=True)
    scheduler.filled = scheduler.generated = 0
    read = max(0.0, together - one) / max(1, (rows - 1) * length)
    return Speed(step=max(0.0, one - read * length), read=read, fill=fill)


def _filled(scheduler: Scheduler, lengths: list[int], first: int) -> list[ContextId]:
    """Contexts of so many tokens, none of which begins as another does."""
    requests = []
    for number, length in enumerate(lengths):
        ids = tuple((first + number + step) % scheduler.vocab_size for step in range(length))
        requests.append(FillRequest(new_context(), None, ids))
    scheduler.fill(requests, lambda _: None)
    _finish(scheduler)
    return [request.context for request in requests]


def _step(scheduler: Scheduler, parents: list[ContextId], clock: Clock) -> float:
    """Seconds of a step that continues `parents`."""
    endless = Sampling(max_tokens=STEPS + 2, ignore_eos=True)
    made = [new_context() for _ in parents]
    for context, parent in zip(made, parents, strict=True):
        scheduler.generate(GenerateRequest(context, parent, endless), lambda _: None)
    scheduler.iterate()  # the first token comes from the fill
    best = float("inf")
    for _ in range(STEPS):
        start = clock()
        scheduler.iterate()
        best = min(best, clock() - start)
    _finish(scheduler)
    for context in made:
        scheduler.free(context, dead=True)
    return best


def _finish(scheduler: Scheduler) -> None:
    while scheduler.has_work:
        scheduler.iterate()
