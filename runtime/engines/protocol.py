"""The one contract between the runtime and whatever runs a model: fill, generate, free, ping.

A context id is chosen by the caller and names one exact token sequence in an engine; its parent
is the fork point. Contexts are immutable: filling or generating makes a new one. Requests travel
in batches, so a chain of fills is one message. An engine never decides what to share: it stores a
parent's tokens once, however many children it has, because a child refers to its parent.

Everything here is plain data, so the same contract works in process and over HTTP.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import inf, isfinite
from typing import Any, Protocol, runtime_checkable

from parrotc.ir.schema import Constraint as Constraint
from parrotc.runtime.scheduling.tasks import Criteria

ContextId = int
_names = count(1)


def new_context() -> ContextId:
    """A name that nobody in this process has had: several callers may share an engine."""
    return next(_names)


@dataclass(frozen=True, slots=True)
class FillRequest:
    """Make `context`: the sequence of `parent` (None: the empty one) followed by `ids`.

    An `early` one is not needed yet, and may never be: it gets only room that nobody else needs.

    Equal tokens of different contexts may be stored once, but only within one `salt`: tenants
    that must not notice each other have different ones (a child has its parent's). What an engine
    forgets first when memory ends may be told: with `next_use`, these tokens are filled or
    continued about every so many generations, from this one on; where that does not come true, it
    counts no more. Those of a `pinned` one go last until it is freed, as far as the engine lets one
    tenant pin.
    """

    context: ContextId
    parent: ContextId | None
    ids: tuple[int, ...]
    early: bool = False
    salt: str = ""
    next_use: float | None = None
    pinned: bool = False
    shared: bool = False  # it is known that several contexts will go on from it


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose tokens, and when to stop.

    Temperature 0 takes the best token: `top_p`, `top_k`, `min_p` and `key` do nothing then, the
    penalties and what is below them still do. `key` seeds the draws together with the token's
    position, and nothing else does: batch composition and order never change a draw.

    Penalties change the logits before anything else. For a token that is in the prompt or the
    output, `repetition_penalty` divides a positive logit and multiplies a negative one (CTRL,
    arXiv:1909.05858, as in `transformers`). For one that is in the output, `frequency_penalty` is
    taken off once for each time it is there, and `presence_penalty` once (as OpenAI defines them).

    `stop_ids` end the generation as `stop` texts do, and are no part of it. A generation under a
    constraint ends by its grammar, so it reads neither. While there are fewer than `min_tokens`
    tokens no end of turn and no stop id is drawn, and no stop text counts; `ignore_eos` means that
    for the end of turn throughout. Where a grammar leaves nothing but the end, that is taken.

    Raises `ValueError` for numbers that mean nothing.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    key: int = 0  # 64 bits
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    min_tokens: int = 0
    logprobs: int = -1  # -1: none; k: of the token chosen and of the k best

    def __post_init__(self) -> None:
        for name, is_right, range_ in (
            ("temperature", 0 <= self.temperature < inf, "0 or more"),
            ("top_p", 0 <= self.top_p <= 1, "from 0 to 1"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < inf, "more than 0"),
            ("presence_penalty", isfinite(self.presence_penalty), "a number"),
            ("frequency_penalty", isfinite(self.frequency_penalty), "a number"),
            ("min_tokens", self.min_tokens >= 0, "0 or more"),
            ("logprobs", self.logprobs >= -1, "-1 or more"),
        ):
            if not is_right:
                raise ValueError(f"`{name}` is {getattr(self, name)}, but it must be {range_}")

    @property
    def has_penalties(self) -> bool:
        """Whether logits depend on the tokens before, other than through the model."""
        neutral = (1.0, 0.0, 0.0)
        return neutral != (self.repetition_penalty, self.presence_penalty, self.frequency_penalty)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What is known of a generation beyond what it says: for whoever chooses its engine.

    `begun` is when its application began, `target` that of its `criteria` (see `scheduling.tasks`),
    both by `loop.time()`. `depth` counts the generations before it. `group_size` generations of the
    same `group` are waited for together. No more than `bound` (0: any number) are to run on one
    engine with it. An engine needs none of this.
    """

    tenant: str = ""
    application: str = ""
    begun: float = 0.0
    depth: int = 0
    group: str | None = None
    group_size: int = 1
    criteria: Criteria | None = None  # None: as `GenerateRequest.latency` says
    target: float | None = None
    expected_tokens: int = 0  # 0: unknown
    bound: int = 0


NO_HINTS = Hints()


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Continue `parent` into the new context `context`.

    With `said` the generation goes on where another engine had to leave it: these are its first
    tokens. They count as drawn here (for the positions of draws, penalties, the grammar, stop texts
    and `max_tokens`), pieces and `Finished` tell them too, and at least one more will follow.
    """

    context: ContextId
    parent: ContextId
    sampling: Sampling
    constraint: Constraint | None = None
    rank: float = 0.0  # seconds from here to the end of the flow: higher goes first
    latency: bool = False
    said: tuple[int, ...] = ()
    hints: Hints = NO_HINTS
    title: str = ""  # `classify.topic`: the function and its output, for people and for mocks


@dataclass(frozen=True, slots=True)
class Piece:
    """Some more of a generation: whole characters only, never half of one, never stop text.

    `ids` are the next of the generated tokens, as far as their text is in the pieces so far: those
    of all pieces are the first of `Finished.ids`. An engine need not tell them.

    With `restart` all pieces before are void: the generation had to begin anew, and says something
    else now.
    """

    text: str
    ids: tuple[int, ...] = ()
    restart: bool = False


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How probable a token was: natural logarithms of what the model itself says.

    That is at temperature 1, before penalties, limits and constraints: `logprob` may be far below
    every one of `best`, which are the most probable tokens there, best first, with theirs.
    """

    token: int
    logprob: float
    best: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a generation has cost, in tokens as the engine counts them: those of the prompt,
    `cached` of which it had computed before, and those it generated."""

    prompt: int
    generated: int
    cached: int = 0


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
    logprobs: tuple[TokenLogprob, ...] = ()  # one for each of `ids`, when asked
    # where ids are not the engine's own tokens (see `runtime.texts`), or somebody counts; what was
    # said is the same whatever it cost
    usage: Usage | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Speed:
    """What an engine has measured of itself, in seconds: a step over nothing, for each token that
    what runs holds, and for each token of a prompt."""

    step: float
    read: float
    fill: float


@dataclass(frozen=True, slots=True)
class Ability:
    """What must be known of an engine to give it as much as it can do. None: it does not say.

    An engine that `shares` stores and reads a common prefix once, one that `caches` keeps what was
    freed until it needs the room, and one that `resumes` goes on with what another has begun.
    """

    slots: int | None = None  # generations that run at the same time
    tokens: int | None = None  # of all contexts together
    shares: bool = True
    caches: bool = True
    resumes: bool = True
    speed: Speed | None = None


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
    ability: Ability = Ability()


class EngineError(Exception):
    """A request the engine refused or could not finish. `code` says which kind, for retries:

    invalid          it makes no sense, whoever is asked
    constraint       what the text must match cannot be understood, or not be met
    context_length   the sequence is longer than the model can read
    capacity         there is no room for it
    unknown_context  it names a context that is not there
    busy             too many others are waiting; later it may be taken
    unavailable      the engine cannot be reached, or no engine is there
    poison           engines died while they ran it
    cancelled        the engine was closed, or somebody cancelled it
    unrecorded       it answers from a recording that has no such answer
    internal         something went wrong in the engine
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Engine(Protocol):
    """One model being served. All methods are called on one event loop; none blocks it.

    `fill` returns when the contexts exist (an unknown parent or a sequence longer than the
    model's context raises `EngineError` and makes none of the batch). `generate` yields pieces
    and ends with exactly one `Finished`; closing the iterator cancels the generation and drops
    its context. `free` drops contexts; storage goes when no child needs it. Nobody will
    fill the tokens of `dead` ones again, so an engine that keeps some of what is freed forgets
    those first. Freeing an unknown context is an error: it is a bug of ours.
    """

    @property
    def tokenizer(self) -> Any:
        """The model's `runtime.tokenizer.Tokenizer`."""
        ...

    async def fill(self, requests: Sequence[FillRequest]) -> None: ...

    def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]: ...

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None: ...

    async def ping(self) -> EngineInfo: ...

    async def close(self) -> None: ...


@runtime_checkable
class Hurrying(Protocol):
    """What an engine that lets early fills wait must offer too."""

    async def hurry(self, contexts: Sequence[ContextId]) -> None:
        """Fill these like any others from now on, and what they continue: somebody waits for
        them. Those that are filled already, or that nobody knows any more, are passed over."""
        ...
