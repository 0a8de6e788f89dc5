"""What the engines share that hash tokens instead of computing them: contexts, and what is said.

The next token is a hash of the exact tokens before it (`ir/hashvalue.py`), read back through a tree
of contexts as attention would read them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf

from parrotc.ir.hashvalue import Drawn, value_ids
from parrotc.ir.tokenhash import extend, start
from parrotc.runtime.engines.protocol import (
    Constraint,
    ContextId,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.tokenizer import ByteTokenizer, Decoder, Tokenizer


@dataclass(eq=False, slots=True)
class Context:
    """Its own tokens after its parent's. `holders`: the caller, every child, a generation."""

    parent: "Context | None"
    ids: tuple[int, ...]
    length: int
    filled: int = 0  # of its own tokens, where filling takes time
    holders: int = 1
    is_shared: bool = False  # see `FillRequest.shared`

    def path(self) -> Iterator["Context"]:
        context: Context | None = self
        while context is not None:
            yield context
            context = context.parent


class Contexts:
    """The contexts that callers have names for. `tokens` are those of all that somebody holds."""

    def __init__(self, limit: int) -> None:
        """`limit` is the most tokens of one context."""
        self.named: dict[ContextId, Context] = {}
        self.tokens = 0
        self._limit = limit

    def get(self, name: ContextId) -> Context:
        try:
            return self.named[name]
        except KeyError:
            raise EngineError("unknown_context", f"there is no context {name}") from None

    def made(self, requests: Sequence[FillRequest]) -> dict[ContextId, Context]:
        """The contexts that `requests` ask for, parents first, none of them kept yet. Raises
        `EngineError` if one cannot be."""
        made: dict[ContextId, Context] = {}
        for request in requests:
            if request.context in self.named or request.context in made:
                raise EngineError("invalid", f"context {request.context} exists already")
            parent = made.get(request.parent) if request.parent is not None else None
            if request.parent is not None and parent is None:
                parent = self.get(request.parent)
            made[request.context] = self.grown(parent, request.ids)
            made[request.context].is_shared = request.shared
        return made

    def grown(self, parent: Context | None, ids: tuple[int, ...]) -> Context:
        length = (parent.length if parent else 0) + len(ids)
        if length > self._limit:
            raise EngineError(
                "context_length", f"{length:,} tokens are more than the model's {self._limit:,}"
            )
        return Context(parent, ids, length)

    def keep(self, name: ContextId, context: Context) -> None:
        if context.parent is not None:
            context.parent.holders += 1
        self.named[name] = context
        self.tokens += len(context.ids)

    def fill(self, requests: Sequence[FillRequest]) -> int:
        """Keep what `requests` ask for; gives the number of its tokens. Raises `EngineError`."""
        made = self.made(requests)
        for name, context in made.items():
            self.keep(name, context)
        return sum(len(context.ids) for context in made.values())

    @contextmanager
    def held(self, name: ContextId) -> Iterator[Context]:
        """A context that stays while something is generated after it. Raises `EngineError`."""
        context = self.get(name)
        context.holders += 1
        try:
            yield context
        finally:
            self.drop(context)

    def go_on(self, request: GenerateRequest, parent: Context, finished: Finished) -> None:
        """Keep what a generation after `parent` leaves. Raises `EngineError`."""
        self.keep(request.context, self.grown(parent, finished.ids[: finished.kept]))

    def free(self, names: Sequence[ContextId]) -> None:
        for name in names:
            context = self.get(name)
            del self.named[name]
            self.drop(context)

    def drop(self, context: Context | None) -> None:
        """One holder less; what nobody holds goes, and so on up the tree."""
        while context is not None:
            context.holders -= 1
            if context.holders:
                return
            self.tokens -= len(context.ids)
            context = context.parent

    def clear(self) -> None:
        self.named.clear()
        self.tokens = 0


def ids_of(context: Context) -> tuple[int, ...]:
    """Every token of a context, from the first."""
    parts = reversed([one.ids for one in context.path()])
    return tuple(token for part in parts for token in part)


def state_after(parent: Context, request: GenerateRequest) -> int:
    """The hash of every token from the root to `parent`, with the request's draws."""
    sampling = request.sampling
    state = start(sampling.key if sampling.temperature > 0 else 0)
    for context in reversed(list(parent.path())):
        state = extend(state, context.ids)
    return state


def drawn_value(
    state: int, tokenizer: Tokenizer | ByteTokenizer, request: GenerateRequest
) -> Drawn:
    """What is said after `state`, as the meaning of programs says. Raises `EngineError`."""
    wanted = request.constraint or Constraint()
    try:
        return value_ids(
            state,
            tokenizer,
            max_tokens=request.sampling.max_tokens,
            stop=request.sampling.stop,
            choices=wanted.choices,
            regex=wanted.regex,
            json_schema=wanted.json_schema,
            scored=wanted.scored,
        )
    except (ValueError, RecursionError) as error:
        raise EngineError("constraint", str(error)) from None
    except (LookupError, TypeError, AttributeError) as error:  # a schema may be any JSON
        raise EngineError("constraint", f"this is no JSON Schema: {error!r}") from None


def require_said(request: GenerateRequest, ids: Sequence[int]) -> None:
    """Raises `EngineError` where what was said elsewhere is not what this model says, `ids`."""
    if tuple(ids[: len(request.said)]) != request.said:
        raise EngineError("internal", "this model does not say what was said before it")


def pieces(finished: Finished, tokenizer: Tokenizer | ByteTokenizer, size: int) -> Iterator[Piece]:
    """The text in pieces of `size` characters, each with the ids whose text ends in it."""
    decoder = Decoder(tokenizer)
    ends: list[float] = []
    length = 0
    for token in finished.ids[: finished.kept]:
        length += len(decoder.push(token))
        ends.append(length if decoder.is_whole else inf)
    told = 0
    for at in range(0, len(finished.text), size):
        inside = (number for number in range(told, len(ends)) if ends[number] <= at + size)
        first, told = told, max(inside, default=told - 1) + 1
        yield Piece(finished.text[at : at + size], finished.ids[first:told])
