"""The embedded engine's scheduler, stepped by hand over a model that can be looked into."""

from cells import Cells

from parrotc.runtime.engines.embedded.planner import Limits
from parrotc.runtime.engines.embedded.scheduler import Scheduler
from parrotc.runtime.engines.protocol import (
    Constraint,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
)

CONTEXT = 400
SCORED = Constraint(choices=("yes", "no", "yes, but", "maybe so"), scored=True)


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
