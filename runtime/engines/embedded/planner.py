"""What goes into the next forward pass: continuous batching over the memory there is.

    waiting ──(room, and its parent is there)──► running ──► done
       ▲                                            │
       └───────── gives way when memory ends ───────┘

Sequences that generate come first, one token each, or as many as their grammar has said without
them: that keeps every stream moving. What is left of the budget goes to prompts that are being
filled, in chunks, and then to whoever waits. A prompt
gets all its blocks when it starts, so it lies side by side and never stops half way for want of
memory; a generation gets a block at a time, and takes it from those behind it when there is none.

Of prompts with a common beginning the first in the order computes it. The others start behind it,
in the same step or a later one, and by then the prefix cache knows those blocks.
"""

from bisect import insort
from collections.abc import Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from heapq import merge

from parrotc.runtime.engines.embedded.contexts import Sequence
from parrotc.runtime.engines.embedded.jobs import Filling, Generating, Job, Order
from parrotc.runtime.engines.embedded.memory import Memory


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the engine does at a time, and how much it holds."""

    max_batch_size: int = 64  # generations that run at the same time
    max_num_batched_tokens: int = 1024  # in one forward pass
    fill_chunk_size: int = 512  # of those, tokens of prompts
    max_total_tokens: int = 200_000  # held by all sequences together
    block_size: int = 16  # tokens of a block

    def __post_init__(self) -> None:
        """Raises `ValueError` for limits under which some work would never end."""
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.max_num_batched_tokens < self.max_batch_size:
            raise ValueError(
                f"{self.max_batch_size} generations at a time (max_batch_size) need as many tokens"
                f" in a step (max_num_batched_tokens is {self.max_num_batched_tokens})"
            )

    @property
    def blocks(self) -> int:
        return max(1, self.max_total_tokens // self.block_size)


@dataclass(frozen=True, slots=True)
class Slice:
    """The `count` tokens of a job's sequence from position `before` on are computed."""

    job: Job
    before: int
    count: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One forward pass. `ready` are jobs that need nothing of it any more: all was there.

    `copies` are blocks to be copied, `(source, target)`.
    """

    slices: list[Slice] = field(default_factory=list)
    ready: list[Job] = field(default_factory=list)
    copies: list[tuple[int, int]] = field(default_factory=list)


class Planner:
    """Jobs, in the order in which they are served."""

    def __init__(self, memory: Memory, limits: Limits) -> None:
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self.preemptions = 0
        self._memory = memory
        self._limits = limits
        self._jobs: dict[Sequence | None, Job] = {}
        self._generating = 0  # how many of the running ones do
        self._plan = Plan()
        self._room = 0  # tokens that this step may still have
        self._fill_room = 0  # and those of prompts among them

    def add(self, job: Job) -> None:
        self._jobs[job.sequence] = job
        insort(self.waiting, job, key=_order)
        self.hasten(job.sequence.parent, job.order)

    def remove(self, job: Job) -> None:
        """Forget a job, wherever it is. Its table is somebody else's business."""
        del self._jobs[job.sequence]
        if job.is_running:
            self._stop(job)
        else:
            self.waiting.remove(job)

    def hasten(self, sequence: Sequence | None, order: Order) -> None:
        """What an urgent job waits for is as urgent: that which computes `sequence`, and on up."""
        while (job := self._jobs.get(sequence)) is not None:
            if order[:2] < job.order[:2]:
                job.order = (*order[:2], job.order[2])
                self.waiting.sort(key=_order)
            sequence = job.sequence.parent

    def job_of(self, sequence: Sequence) -> Job | None:
        """The job that computes `sequence`, if there is one."""
        return self._jobs.get(sequence)

    def plan(self) -> Plan:
        """The next step. The memory is then as it will be when that is done."""
        self._plan = Plan()
        self._memory.copies = self._plan.copies
        self._room = self._limits.max_num_batched_tokens
        self._fill_room = self._limits.fill_chunk_size
        suspects = [job for job in (*self.running, *self.waiting) if job.suspect]
        if suspects:
            self._try_alone(sorted(suspects, key=_order))
            return self._plan
        self.running.sort(key=_order)
        talking = [job for job in self.running if job.is_talking]
        others = [job for job in self.running if not job.is_talking]
        for number, job in enumerate(talking, 1):  # each leaves a token for those behind it
            self._continue(job, self._room - (len(talking) - number))
        self._go_on(merge(others, list(self.waiting), key=_order))
        return self._plan

    def confirm(self) -> None:
        """The plan was carried out."""
        self._memory.confirm()
        for job in (*(slice.job for slice in self._plan.slices), *self._plan.ready):
            if job.sequence.computed >= job.suspect:
                job.suspect = 0

    def retract(self) -> Job | None:
        """The plan failed. All that runs is put back, and what was computed in this step will be
        alone in the next ones. Gives the job that failed, if it was alone in this one."""
        self._memory.retract()
        slices = self._plan.slices
        for slice in slices:
            slice.job.suspect = slice.before + slice.count
        for job in self._plan.ready:
            job.suspect = job.sequence.computed
        for job in list(self.running):
            self._put_back(job)
        return slices[0].job if len(slices) == 1 else None

    # --- who goes on ---

    def _try_alone(self, suspects: Many[Job]) -> None:
        for job in suspects:
            self._go_on([job])
            if self._plan.slices or self._plan.ready:
                return

    def _continue(self, job: Job, room: int) -> None:
        """Compute more of a running job, unless others have taken its blocks or the room."""
        sequence = job.sequence
        count = min(sequence.missing, room)
        if not job.is_running or count <= 0:
            return
        while not self._memory.reserve(sequence, sequence.computed + count):
            victim = self._victim(job)
            if victim is None:
                return  # it keeps what it has; those before it go on and will end
            self._put_back(victim)
            self.preemptions += 1
        self._slice(job, count)

    def _victim(self, job: Job) -> Job | None:
        """Who gives way to `job`, which generates: the last of those behind it. So it is none that
        this step has planned already. The first of a step may take from anybody: it always goes on.
        """
        for other in reversed(self.running):
            if other is not job and (other.order > job.order or not self._plan.slices):
                return other
        return None

    def _go_on(self, jobs: Iterable[Job]) -> None:
        """Continue with the prompts among `jobs` and start what can start. Nobody gives way for a
        start. Behind a job that does not fit into memory no other one gets blocks to start with,
        or a long prompt would never have its turn."""
        is_full = False
        for job in jobs:
            if job.is_running:
                self._continue(job, min(self._room, self._fill_room))
            elif self._is_blocked(job) or self._fork(job):
                continue
            elif not is_full and min(self._room, self._fill_room):
                is_full = not self._start(job)

    def _is_blocked(self, job: Job) -> bool:
        """Whether it must wait for others, whatever room there is."""
        if isinstance(job, Generating) and self._generating == self._limits.max_batch_size:
            return True
        above = self._jobs.get(job.sequence.parent)
        # only a fill can follow its parent in the very step that completes it
        return above is not None and (above.sequence.missing > 0 or not isinstance(job, Filling))

    def _fork(self, job: Job) -> bool:
        """Start a generation below a context that is all there: it needs no room yet."""
        sequence, parent = job.sequence, job.sequence.parent
        if not isinstance(job, Generating) or sequence.ids or not parent or parent.hidden is None:
            return False
        self._memory.share(sequence, sequence.end)
        if sequence.missing:  # it was taken, and must be computed again
            self._memory.release(sequence)
            return False
        job.state = parent.hidden
        self._run(job)
        self._plan.ready.append(job)
        return True

    def _start(self, job: Job) -> bool:
        """Start a job with all blocks that it needs. False where there are too few."""
        sequence = job.sequence
        self._memory.share(sequence, job.limit)
        if not self._memory.reserve(sequence, sequence.end):
            self._memory.release(sequence)
            return False
        job.restart()
        self._run(job)
        if sequence.missing:
            self._slice(job, min(sequence.missing, self._room, self._fill_room))
        else:
            self._plan.ready.append(job)
        return True

    def _slice(self, job: Job, count: int) -> None:
        before = job.sequence.computed
        self._room -= count
        if not job.is_talking:
            self._fill_room -= count
        self._memory.advance(job.sequence, count)
        self._plan.slices.append(Slice(job, before, count))

    # --- from one list to the other ---

    def _run(self, job: Job) -> None:
        self.waiting.remove(job)
        self.running.append(job)
        job.is_running = True
        self._generating += isinstance(job, Generating)

    def _stop(self, job: Job) -> None:
        self.running.remove(job)
        job.is_running = False
        self._generating -= isinstance(job, Generating)

    def _put_back(self, job: Job) -> None:
        """Take the blocks of a running job: it waits, and will be computed again."""
        self._memory.release(job.sequence)
        self._stop(job)
        insort(self.waiting, job, key=_order)


def _order(job: Job) -> Order:
    return job.order
