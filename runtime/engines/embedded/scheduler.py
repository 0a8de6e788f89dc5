"""Requests in, answers out: what is filled, generated, rated and freed, one iteration at a time.

    fill ─────► Filling ─────┐                                    ┌──► contexts
    generate ─► Generating ──┼─► planner ─► one forward pass ─────┤
       scored ► Rating ──────┘   (memory)   one draw a generation └──► pieces, then the end

Everything here runs on one thread and knows nothing of threads: callers are answered through
callbacks. What goes wrong in one request ends that request alone.
"""

from collections.abc import Mapping
from collections.abc import Sequence as Many
from itertools import count
from math import inf

import torch
from torch import Tensor

from parrotc.runtime.engines.embedded.contexts import Contexts, Ids, Sequence
from parrotc.runtime.engines.embedded.generation import Generation, Post
from parrotc.runtime.engines.embedded.grammar import Grammars
from parrotc.runtime.engines.embedded.jobs import (
    Batch,
    Done,
    Filling,
    Generating,
    Job,
    Order,
    Rating,
    Scoring,
)
from parrotc.runtime.engines.embedded.memory import Memory
from parrotc.runtime.engines.embedded.outlooks import Outlooks
from parrotc.runtime.engines.embedded.planner import Limits, Planner, Slice
from parrotc.runtime.engines.embedded.runner import Runner
from parrotc.runtime.engines.embedded.sampler import Draw, draw, draw_batch
from parrotc.runtime.engines.embedded.scoring import logprobs, pick, probabilities
from parrotc.runtime.engines.protocol import (
    ContextId,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.tokenizer import Tokenizer


class Scheduler:
    """`context_length` is that of the model."""

    def __init__(
        self, runner: Runner, tokenizer: Tokenizer, limits: Limits, context_length: int
    ) -> None:
        self.contexts = Contexts()
        self.memory = Memory(limits.blocks, limits.block_size)
        self.planner = Planner(self.memory, limits)
        self.outlooks = Outlooks(self.memory)
        self.filled = self.generated = self.forced = 0
        self._runner = runner
        self._tokenizer = tokenizer
        self._limits = limits
        self._context_length = context_length
        self.grammars = Grammars(tokenizer)
        self._arrivals = count()
        self._talks: dict[ContextId, Generating | Scoring] = {}  # what is being generated
        self._fills: dict[Batch, None] = {}

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.vocab_size

    @property
    def has_work(self) -> bool:
        return bool(self.planner.running or self.planner.waiting)

    # --- requests ---

    def fill(self, requests: Many[FillRequest], done: Done) -> None:
        """Make the contexts, or none of them. Raises `EngineError` for what cannot be."""
        made: dict[ContextId, Sequence] = {}
        for request in requests:
            made[request.context] = self._new_context(request, made)
        self.contexts.named |= made
        batch = Batch(made, set(made.values()), done)
        self._fills[batch] = None
        for request in requests:
            sequence = made[request.context]
            self.outlooks.used(sequence.parent)
            self.outlooks.begin(sequence, request.next_use, request.pinned)
            order = self._order(rank=-inf if request.early else 0.0)
            self.planner.add(Filling(sequence, order, batch))
        self._report(batch)

    def _new_context(self, request: FillRequest, made: dict[ContextId, Sequence]) -> Sequence:
        self._require_new(request.context, made)
        self._require_tokens(request.ids)
        parent = None
        if request.parent is not None:
            parent = made.get(request.parent) or self.contexts.get(request.parent)
        sequence = Sequence(parent, request.ids, salt=request.salt)
        if sequence.end > self._context_length:
            raise EngineError(
                "context_length",
                f"{sequence.end:,} tokens are more than the model's {self._context_length:,}",
            )
        self._require_fit(sequence.end, "")
        return sequence

    def generate(self, request: GenerateRequest, post: Post) -> None:
        """Start a generation; `post` is told the rest. Raises `EngineError`."""
        parent = self.contexts.get(request.parent)
        self._require_new(request.context, {})
        room = self._context_length - parent.end
        if parent.end == 0:
            raise EngineError("invalid", "there is nothing to continue: the context is empty")
        if request.sampling.max_tokens < 1:
            raise EngineError("invalid", "a generation of no tokens was asked for")
        self._require_tokens(request.said)
        if room <= 0:
            raise EngineError("context_length", f"the context is full with {parent.end:,} tokens")
        self.outlooks.generated()
        self.outlooks.used(parent)
        constraint = request.constraint
        if constraint is not None and constraint.scored and constraint.choices:
            self._score(request, parent, constraint.choices, post)
            return
        self._require_fit(
            parent.end + min(room, request.sampling.max_tokens),
            f" ({parent.end:,} in the context, {request.sampling.max_tokens:,} to generate)",
        )
        generation = Generation(
            request,
            self._tokenizer,
            self.grammars,
            prompt=lambda: parent.tokens(0, parent.end),
            room=room,
            post=post,
        )
        order = self._order(latency=request.latency, rank=request.rank)
        job = Generating(Sequence(parent, request.said), order, generation)
        self._talks[request.context] = job
        self.planner.add(job)

    def _score(
        self, request: GenerateRequest, parent: Sequence, choices: Many[str], post: Post
    ) -> None:
        options: list[Ids] = [tuple(self._tokenizer.encode(text)) for text in choices]
        longest = parent.end + max(map(len, options))
        if longest > self._context_length:
            raise EngineError(
                "context_length",
                f"{longest:,} tokens are more than the model's {self._context_length:,}",
            )
        self._require_fit(longest, "")
        scoring = Scoring(request, parent, options, post)
        for ids in options:
            order = self._order(latency=request.latency, rank=request.rank)
            job = Rating(Sequence(parent, ids[:-1]), order, scoring)
            scoring.jobs.append(job)
            self.planner.add(job)
        self._talks[request.context] = scoring

    def hurry(self, context: ContextId) -> None:
        """Fill a context like any other, though it was asked for early."""
        self.planner.hasten(self.contexts.named.get(context), self._order())

    def free(self, context: ContextId, dead: bool = False) -> None:
        """Drop a context. `dead`: the plan knows that nobody will use its tokens again."""
        sequence = self.contexts.get(context)
        del self.contexts.named[context]
        self.outlooks.end(sequence, dead)
        job = self.planner.job_of(sequence)
        if isinstance(job, Filling):
            self.planner.remove(job)
            job.batch.left.discard(sequence)
            self._report(job.batch)
        self.memory.release(sequence)

    def cancel(self, context: ContextId) -> None:
        """Drop a generation, wherever it is by now; one that has ended leaves its context."""
        if context in self._talks:
            self._drop(context)
        elif context in self.contexts.named:
            self.free(context)

    def fail(self, error: EngineError) -> None:
        """End everything that goes on with `error`. Contexts that are computed stay."""
        for batch in list(self._fills):
            self._fail_fills(batch, error)
        for context in list(self._talks):
            self._drop(context)(error)

    def _order(self, *, latency: bool = False, rank: float = 0.0) -> Order:
        return not latency, -rank, next(self._arrivals)

    def _require_new(self, context: ContextId, made: Mapping[ContextId, Sequence]) -> None:
        if context in made or context in self.contexts.named or context in self._talks:
            raise EngineError("invalid", f"context {context} exists already")

    def _require_tokens(self, ids: Many[int]) -> None:
        if any(not 0 <= token < self._tokenizer.vocab_size for token in ids):
            raise EngineError("invalid", "some ids are no tokens of this model")

    def _require_fit(self, tokens: int, which: str) -> None:
        if not self.memory.fits(tokens):
            raise EngineError(
                "capacity",
                f"{tokens:,} tokens{which} can never be held: there is room for"
                f" {self.memory.capacity:,}",
            )

    # --- one iteration ---

    def iterate(self) -> None:
        """Compute the next step, and answer whoever it brings something for. Needs `has_work`."""
        plan = self.planner.plan()
        if not plan.slices and not plan.ready:
            raise RuntimeError("everything waits and nothing can go on")
        try:
            states = self._runner.run(plan) if plan.slices else None
        except Exception as error:  # a bug, or no memory: some request in the step caused it
            job = self.planner.retract()
            if job is not None:
                self._fail(job, _internal(error))
            return
        self.planner.confirm()
        drawing: list[Generating] = []
        rows: list[Tensor] = []
        end = 0
        for slice in plan.slices:
            assert states is not None
            start, end = end, end + slice.count
            self._computed(slice, states[start:end])
            if isinstance(slice.job, Generating) and not slice.job.sequence.missing:
                drawing.append(slice.job)
                rows.append(states[end - 1])
        for job in plan.ready:
            if isinstance(job, Generating):
                assert job.state is not None
                drawing.append(job)
                rows.append(job.state)
            else:
                self._complete(job, None)
        self._draw(drawing, rows)

    def _computed(self, slice: Slice, states: Tensor) -> None:
        """A slice has been computed, with these states after its tokens."""
        job = slice.job
        if isinstance(job, Filling):
            self.filled += slice.count
        if isinstance(job, Rating):
            job.states += states[max(0, job.limit - slice.before) :]
        if not job.sequence.missing and not isinstance(job, Generating):
            self._complete(job, states[-1])

    def _complete(self, job: Job, state: Tensor | None) -> None:
        """All of a context or an option is there; `state` is that after its last token."""
        sequence, parent = job.sequence, job.sequence.parent
        self.planner.remove(job)
        self.memory.settle(sequence)
        if state is not None:
            sequence.hidden = state.clone()  # not a view: it would keep those of the whole step
        elif parent is not None and not sequence.ids:
            sequence.hidden = parent.hidden
        job.is_done = True
        if isinstance(job, Filling):
            job.batch.left.discard(sequence)
            self._report(job.batch)
        elif isinstance(job, Rating) and job.scoring.is_complete:
            self._finish_scoring(job.scoring)

    def _draw(self, jobs: Many[Generating], rows: Many[Tensor]) -> None:
        """The next token of each generation, from the state before it."""
        if not jobs:
            return
        states = torch.stack(tuple(rows))
        for job, state, drawn in zip(jobs, states, self._drawn(jobs, states), strict=True):
            try:
                job.state = None
                reason = job.generation.take(drawn)
                if reason is None:
                    job.sequence.ids += job.generation.tokens
                    job.has_drawn = True
                else:
                    self._finish(job, reason, state)
            except EngineError as error:
                self._fail(job, error)
            except Exception as error:
                self._fail(job, _internal(error))

    def _drawn(self, jobs: Many[Generating], states: Tensor) -> list[Draw | EngineError]:
        """One draw a job, or what is wrong with it. Together; where that fails, one by one."""
        try:
            logits = self._runner.logits(states)[:, : self._tokenizer.vocab_size]
            return draw_batch(logits, [job.generation for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                return [_internal(error)]
        return [
            drawn
            for job, state in zip(jobs, states, strict=True)
            for drawn in self._drawn([job], state[None])
        ]

    # --- ends ---

    def _finish(self, job: Generating, reason: str, state: Tensor) -> None:
        """A generation becomes a context of what it keeps. `state` is before the last draw."""
        request, sequence = job.generation.request, job.sequence
        piece, finished = job.generation.finished(reason)
        drawn = len(sequence.ids)
        if finished.kept > drawn:
            sequence.ids += finished.ids[drawn : finished.kept]
        elif finished.kept == drawn:
            sequence.hidden = state.clone()
        else:
            sequence.cut(sequence.start + finished.kept, self._limits.block_size)
        self.planner.remove(job)
        self.memory.settle(sequence)
        self.contexts.named[request.context] = sequence
        del self._talks[request.context]
        self.generated += len(finished.ids)
        self.forced += job.generation.forced
        if piece.text:
            job.generation.post(piece)
        job.generation.post(finished)

    def _finish_scoring(self, scoring: Scoring) -> None:
        request = scoring.request
        assert request.constraint and request.constraint.choices
        choices = request.constraint.choices
        try:
            states = [scoring.states(job) for job in scoring.jobs]
            p = probabilities(self._runner, scoring.options, states)
            chosen = pick(p, request.sampling, draw(request.sampling.key, 0))
            ids, best = scoring.options[chosen], request.sampling.logprobs
            said = logprobs(self._runner, ids, states[chosen], best) if best >= 0 else ()
        except Exception as error:
            self._drop(request.context)(_internal(error))
            return
        sequence = scoring.jobs[chosen].sequence
        sequence.ids[:] = ids
        sequence.hidden = None
        del self._talks[request.context]
        for job in scoring.jobs:
            if job.sequence is not sequence:
                self.memory.release(job.sequence)
        self.contexts.named[request.context] = sequence
        self.generated += len(ids)
        scores = tuple(zip(choices, p, strict=True))
        scoring.post(Piece(choices[chosen]))
        text = choices[chosen]
        scoring.post(Finished("constraint", text, ids, len(ids), scores=scores, logprobs=said))

    def _report(self, batch: Batch) -> None:
        """Tell the caller when all of its contexts are there, or were freed meanwhile."""
        if not batch.left and batch in self._fills:
            del self._fills[batch]
            batch.done(None)

    def _fail(self, job: Job, error: EngineError) -> None:
        """End the request that a job belongs to, and nothing else."""
        match job:
            case Filling():
                self._fail_fills(job.batch, error)
            case Generating():
                self._drop(job.generation.request.context)(error)
            case Rating():
                self._drop(job.scoring.request.context)(error)

    def _fail_fills(self, batch: Batch, error: EngineError) -> None:
        del self._fills[batch]  # so that nothing more is reported
        for context, sequence in batch.made.items():
            if self.contexts.named.get(context) is sequence:
                self.free(context)
        batch.done(error)

    def _drop(self, context: ContextId) -> Post:
        """Forget a generation and all that was computed for it. Gives whom to tell."""
        talk = self._talks.pop(context)
        jobs = talk.jobs if isinstance(talk, Scoring) else [talk]
        for job in jobs:
            if self.planner.job_of(job.sequence) is job:
                self.planner.remove(job)
            self.memory.release(job.sequence)
        return talk.post


def _internal(error: Exception) -> EngineError:
    return EngineError("internal", f"{type(error).__name__}: {error}")
