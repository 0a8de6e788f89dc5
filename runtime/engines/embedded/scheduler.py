"""Continuous batching: what goes into the next forward pass, and what comes of it.

    fill ────► uncomputed nodes ──┐                      ┌──► contexts
                                  ├──► one forward pass ─┤
    generate ► waiting ► rows ────┘    and one draw a row └──► pieces, then the end

Each iteration feeds the last token of every running generation and, up to a budget, the tokens of
contexts that are being filled; whoever comes in the meantime joins the next one. Everything here
runs on one thread and knows nothing of threads: callers are answered through callbacks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from parrotc.runtime.engines.embedded.generation import Generation, Post
from parrotc.runtime.engines.embedded.grammar import Grammars
from parrotc.runtime.engines.embedded.kv import Node, Slots, Tree, path
from parrotc.runtime.engines.embedded.model import Llama
from parrotc.runtime.engines.embedded.output import Output
from parrotc.runtime.engines.embedded.sampler import draw
from parrotc.runtime.engines.embedded.scoring import Ids, pick, probabilities
from parrotc.runtime.engines.embedded.steps import Segment, build
from parrotc.runtime.engines.protocol import (
    ContextId,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.tokenizer import Tokenizer

Done = Callable[[EngineError | None], None]


@dataclass(frozen=True, slots=True)
class Limits:
    rows: int = 64  # generations that run at the same time
    chunk: int = 512  # tokens filled in one iteration
    tokens: int = 200_000  # held by all contexts together


LIMITS = Limits()


@dataclass(eq=False, slots=True)
class _Fill:
    requests: Sequence[FillRequest]
    nodes: list[Node]
    done: Done


@dataclass(eq=False, slots=True)
class _Scoring:
    """Options whose tokens but the last are being filled, each in a node of its own."""

    request: GenerateRequest
    parent: Node
    options: list[Ids]
    nodes: list[Node]
    post: Post


class Scheduler:
    def __init__(self, model: Llama, tokenizer: Tokenizer, limits: Limits = LIMITS) -> None:
        self.tree = Tree(model.shape, model.dtype, limits.tokens)
        self.rows: list[Generation] = []  # row i of the slots
        self.waiting: list[Generation] = []
        self.filled = self.generated = 0
        self._model = model
        self._tokenizer = tokenizer
        self._limits = limits
        self._slots = Slots(self.tree)
        self._grammars = Grammars(tokenizer)
        self._uncomputed: dict[Node, None] = {}  # in order: parents come before children
        self._fills: list[_Fill] = []
        self._scorings: list[_Scoring] = []

    @property
    def has_work(self) -> bool:
        return bool(self.rows or self.waiting or self._uncomputed or self._fills or self._scorings)

    # --- requests ---

    def fill(self, requests: Sequence[FillRequest], done: Done) -> None:
        """Make the contexts, or none of them. Raises `EngineError` for what cannot be."""
        made: dict[ContextId, Node] = {}
        try:
            for request in requests:
                made[request.context] = self._new_node(request, made)
        except EngineError:
            for node in reversed(made.values()):
                self.tree.drop(node)
            raise
        self.tree.contexts |= made
        for node in made.values():
            self._want(node)
        self._fills.append(_Fill(requests, list(made.values()), done))

    def _new_node(self, request: FillRequest, made: dict[ContextId, Node]) -> Node:
        if request.context in made or request.context in self.tree.contexts:
            raise EngineError("internal", f"context {request.context} exists already")
        if any(not 0 <= token < self._tokenizer.vocab_size for token in request.ids):
            raise EngineError("internal", "some ids are no tokens of this model")
        parent = None
        if request.parent is not None:
            parent = made.get(request.parent) or self.tree.get(request.parent)
        return self.tree.grow(parent, request.ids)

    def generate(self, request: GenerateRequest, post: Post) -> None:
        """Start a generation; `post` is told the rest. Raises `EngineError`."""
        parent = self.tree.get(request.parent)
        room = self._model.shape.context_length - parent.end
        if parent.end == 0:
            raise EngineError("internal", "there is nothing to continue: the context is empty")
        if request.sampling.max_tokens < 1:
            raise EngineError("internal", "a generation of no tokens was asked for")
        if room <= 0:
            raise EngineError("context_length", f"the context is full with {parent.end:,} tokens")
        constraint = request.constraint
        if constraint is not None and constraint.scored and constraint.choices:
            self._score(request, parent, constraint.choices, post)
            return
        generation = Generation(
            request=request,
            parent=parent,
            output=Output(self._tokenizer, () if constraint else request.sampling.stop),
            matcher=self._grammars.matcher(constraint) if constraint else None,
            ends=self._tokenizer.eos,
            room=min(room, request.sampling.max_tokens),
            post=post,
        )
        parent.holders += 1
        self.waiting.append(generation)
        self.waiting.sort(key=lambda g: (not g.request.latency, -g.request.rank))

    def _score(
        self, request: GenerateRequest, parent: Node, choices: Sequence[str], post: Post
    ) -> None:
        options: list[Ids] = [tuple(self._tokenizer.encode(text)) for text in choices]
        nodes: list[Node] = []
        try:
            for ids in options:
                nodes.append(self.tree.grow(parent, ids[:-1]))
                nodes[-1].states = []
        except EngineError:
            for node in nodes:
                self.tree.drop(node)
            raise
        for node in nodes:
            self._want(node)
        parent.holders += 1
        self._scorings.append(_Scoring(request, parent, options, nodes, post))

    def cancel(self, context: ContextId) -> None:
        """Drop a generation, wherever it is by now; one that has ended leaves its context."""
        for row, generation in enumerate(self.rows):
            if generation.request.context == context:
                self._leave(row)
                return
        for generation in self.waiting:
            if generation.request.context == context:
                self.waiting.remove(generation)
                self.tree.drop(generation.parent)
                return
        for scoring in self._scorings:
            if scoring.request.context == context:
                self._end_scoring(scoring)
                return
        if context in self.tree.contexts:
            self.tree.free(context)

    def fail(self, error: EngineError) -> None:
        """End everything that goes on with `error`. Contexts that are computed stay."""
        for generation in (*self.rows, *self.waiting):
            self.tree.drop(generation.parent)
            generation.post(error)
        for scoring in list(self._scorings):
            self._end_scoring(scoring)
            scoring.post(error)
        for fill in self._fills:
            for request in fill.requests:
                self.tree.free(request.context)
            fill.done(error)
        self.rows.clear()
        self.waiting.clear()
        self._fills.clear()
        self._uncomputed.clear()

    # --- one iteration ---

    def iterate(self) -> None:
        segments = self._segments()
        if self.rows or segments:
            self._forward(segments)
        self._report_fills()
        self._admit()
        for scoring in list(self._scorings):
            if self._is_ready(scoring.parent) and all(n.is_computed for n in scoring.nodes):
                self._finish_scoring(scoring)
        self._draw()

    def _segments(self) -> list[Segment]:
        """What is filled now: the oldest tokens first, up to the budget."""
        segments = []
        budget = self._limits.chunk
        for node in list(self._uncomputed):
            if not node.holders or node.is_computed:
                del self._uncomputed[node]
            elif budget:
                last = min(len(node.ids), node.computed + budget)
                segments.append(Segment(node, node.computed, last))
                budget -= last - node.computed
        return segments

    def _forward(self, segments: Sequence[Segment]) -> None:
        self._slots.reserve(len(self.rows), 1 + max((row.fed for row in self.rows), default=0))
        states = self._model.forward(build(self.rows, segments, self._slots))
        for row, generation in enumerate(self.rows):
            generation.hidden = states[row]
            generation.fed += 1
        end = len(self.rows)
        for segment in segments:
            start, end = end, end + segment.last - segment.first
            node = segment.node
            node.computed = segment.last
            if node.states is not None:
                node.states += states[start:end]
            if node.is_computed:
                node.hidden = states[end - 1].clone()  # not a view: it would keep all of them
                del self._uncomputed[node]

    def _report_fills(self) -> None:
        for fill in list(self._fills):
            if all(node.is_computed or not node.holders for node in fill.nodes):
                self._fills.remove(fill)
                self.filled += sum(len(node.ids) for node in fill.nodes)
                fill.done(None)

    def _admit(self) -> None:
        """Start generations whose context is there, the urgent ones first."""
        for generation in list(self.waiting):
            if len(self.rows) == self._limits.rows:
                return
            if self._is_ready(generation.parent):
                self.waiting.remove(generation)
                generation.hidden = _tip(generation.parent).hidden
                self.rows.append(generation)

    def _draw(self) -> None:
        """The next token of every row."""
        if not self.rows:
            return
        logits = self._model.logits(torch.stack([self._state(row) for row in self.rows]))
        logits = logits[:, : self._tokenizer.vocab_size]
        best = logits.argmax(dim=1).tolist()
        for row in reversed(range(len(self.rows))):  # backwards: one that ends frees its row
            generation = self.rows[row]
            try:
                token = generation.choose(logits[row]) if generation.needs_logits else best[row]
                reason = generation.take(token)
                if reason is not None:
                    self._finish(row, reason)
            except EngineError as error:
                self._leave(row)
                generation.post(error)

    def _state(self, generation: Generation) -> torch.Tensor:
        assert generation.hidden is not None, "a row is admitted with the state of its context"
        return generation.hidden

    # --- ends ---

    def _finish(self, row: int, reason: str) -> None:
        """A generation becomes a context: what it keeps, as far as it has been computed."""
        generation = self.rows[row]
        text, finished = generation.output.finished(reason)
        computed = min(finished.kept, generation.fed)
        storage = self.tree.storage(1, finished.kept)
        self._slots.copy(row, computed, storage)
        node = self.tree.grow(generation.parent, finished.ids[: finished.kept], storage)
        node.computed = computed
        if computed == finished.kept == generation.fed:
            node.hidden = self._state(generation).clone()
        self.tree.contexts[generation.request.context] = node
        self.generated += len(finished.ids)
        self._leave(row)
        if text:
            generation.post(Piece(text))
        generation.post(finished)

    def _leave(self, row: int) -> None:
        """Take a generation out; the last row moves into its place."""
        generation, last = self.rows[row], self.rows.pop()
        if last is not generation:
            self.rows[row] = last
            self._slots.move(len(self.rows), row, last.fed)
        self.tree.drop(generation.parent)

    def _finish_scoring(self, scoring: _Scoring) -> None:
        request, parent = scoring.request, scoring.parent
        hidden = _tip(parent).hidden
        assert hidden is not None and request.constraint and request.constraint.choices
        p = probabilities(self._model, hidden, scoring.options, scoring.nodes)
        chosen = pick(p, request.sampling, draw(request.sampling.key, 0))
        ids, text = scoring.options[chosen], request.constraint.choices[chosen]
        storage = self.tree.storage(1, len(ids))
        node = self.tree.grow(parent, ids, storage)
        node.computed = max(0, len(ids) - 1)
        for own, filled in zip(
            (*node.keys, *node.values),
            (*scoring.nodes[chosen].keys, *scoring.nodes[chosen].values),
            strict=True,
        ):
            own[:, :, : node.computed] = filled
        self.tree.contexts[request.context] = node
        self.generated += len(ids)
        self._end_scoring(scoring)
        scoring.post(Piece(text))
        scores = tuple(zip(request.constraint.choices, p, strict=True))
        scoring.post(Finished("constraint", text, ids, len(ids), scores=scores))

    def _end_scoring(self, scoring: _Scoring) -> None:
        self._scorings.remove(scoring)
        for node in scoring.nodes:
            self.tree.drop(node)
        self.tree.drop(scoring.parent)

    # --- computing on demand ---

    def _want(self, node: Node) -> None:
        """Have `node` and all above it computed: a generation may leave its last token undone."""
        for above in reversed(list(path(node))):
            if not above.is_computed:
                self._uncomputed.setdefault(above)

    def _is_ready(self, parent: Node) -> bool:
        """Whether a token can be drawn after `parent`; if not, what is missing is wanted."""
        tip = _tip(parent)
        if tip.is_computed and tip.hidden is None:
            tip.computed -= 1  # the state after the last token is not there: compute it again
        self._want(tip)
        return all(node.is_computed for node in path(tip))


def _tip(node: Node) -> Node:
    """The node that holds the last token up to the end of `node`."""
    return next(path(node))
