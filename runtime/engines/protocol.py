"""The one contract between the runtime and whatever runs a model: fill, generate, free, ping.

A context id is chosen by the caller and names one exact token sequence in an engine; its parent
is the fork point. Contexts are immutable: filling or generating makes a new one. Requests travel
in batches, so a chain of fills is one message. An engine never decides what to share: it stores a
parent's tokens once, however many children it has, because a child refers to its parent.

Everything here is plain data, so the same contract works in process and over HTTP.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

ContextId = int


@dataclass(frozen=True, slots=True)
class FillRequest:
    """Make `context`: the sequence of `parent` (None: the empty one) followed by `ids`."""

    context: ContextId
    parent: ContextId | None
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose tokens. Temperature 0 is greedy and ignores the rest.

    `key` seeds the draws together with the token's position, and nothing else does: batch
    composition and order never change a draw.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    key: int = 0  # 64 bits


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the text must match: exactly one field is set.

    `choices`: one of these texts (with `scored`, the probability of each is reported).
    `regex`: a full match. `json_schema`: a JSON document of that schema.
    """

    choices: tuple[str, ...] | None = None
    regex: str | None = None
    json_schema: str | None = None  # canonical JSON text
    scored: bool = False


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Continue `parent` into the new context `context`."""

    context: ContextId
    parent: ContextId
    sampling: Sampling
    constraint: Constraint | None = None
    rank: float = 0.0  # seconds from here to the end of the flow: higher goes first
    latency: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """Some more of a generation: whole characters only, never half of one, never stop text."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a generation.

    `text` is the value: everything before the stop text or the end of turn. `ids` are all the
    tokens generated, `kept` how many of them the new context holds: the longest run whose text
    lies inside `text`. `rest` is the part of `text` after those.
    """

    reason: str  # stop, length, end, constraint (complete by its grammar)
    text: str
    ids: tuple[int, ...]
    kept: int
    rest: str = ""
    scores: tuple[tuple[str, float], ...] = ()  # choice → probability, when asked


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is and what it is doing (`ping`)."""

    engine: str  # embedded, reference, …
    model: str
    fingerprint: str  # of the tokenizer
    context_length: int
    precision: str = ""
    running: int = 0
    queued: int = 0
    contexts: int = 0
    cached_tokens: int = 0  # tokens held by live contexts, each counted once
    filled_tokens: int = 0  # computed by fills since the start
    generated_tokens: int = 0
    counters: Mapping[str, float] = field(default_factory=dict)


class EngineError(Exception):
    """A request the engine refused or could not finish.

    `code` says which kind, for retries: context_length, unknown_context, capacity, constraint,
    cancelled, internal.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Engine(Protocol):
    """One model being served. All methods are called on one event loop; none blocks it.

    `fill` returns when the contexts exist (an unknown parent or a sequence longer than the
    model's context raises `EngineError` and makes none of the batch). `generate` yields pieces
    and ends with exactly one `Finished`; closing the iterator cancels the generation and drops
    its context. `free` drops contexts; storage goes when no child needs it. Freeing an unknown
    context is an error: it is a bug of ours.
    """

    @property
    def tokenizer(self) -> Any:
        """The model's `runtime.tokenizer.Tokenizer`."""
        ...

    async def fill(self, requests: Sequence[FillRequest]) -> None: ...

    def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]: ...

    async def free(self, contexts: Sequence[ContextId]) -> None: ...

    async def ping(self) -> EngineInfo: ...

    async def close(self) -> None: ...
