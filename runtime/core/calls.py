"""One generation on its way through the router, and what the scheduler is told of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

from parrotc.runtime.core.logical import Node
from parrotc.runtime.core.members import Member
from parrotc.runtime.core.told import Told
from parrotc.runtime.engines.protocol import (
    ContextId,
    EngineError,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.scheduling.engines import EngineSpec
from parrotc.runtime.scheduling.tasks import Criteria, Dispatch, Task

EXPECTED = 256  # tokens of a generation of which nothing is known

Stream = AsyncIterator[Piece | Finished]


class Call:
    """`placed` becomes the engine that the scheduler chose; `stream` is what it says.

    `turn` counts how often the call was taken from its engine, so that whoever awaits something of
    an old one can tell. `wait` is what it awaits there, by the loop's time `since` when.
    """

    __slots__ = (
        "avoid", "context", "dispatch", "faults", "id", "made_room", "member", "node",
        "placed", "refused", "request", "since", "stream", "told", "turn", "wait",
    )  # fmt: skip

    def __init__(self, id: str, request: GenerateRequest, node: Node) -> None:
        self.id, self.request, self.node = id, request, node
        self.told = Told()
        self.turn = 0
        self.context: ContextId = 0  # its name on the engine
        self.faults = 0
        self.avoid: frozenset[str] = frozenset()
        self.refused: frozenset[str] = frozenset()  # by these engines: it is too large for them
        self.made_room = False
        self.dispatch: Dispatch | None = None
        self.placed: asyncio.Future[Member] = _future()
        self.member: Member | None = None
        self.stream: Stream | None = None
        self.wait: asyncio.Timeout | None = None
        self.since = 0.0

    def place(self, member: Member, dispatch: Dispatch) -> None:
        self.dispatch = dispatch
        if not self.placed.done():
            self.placed.set_result(member)

    def take_back(self) -> Stream | None:
        """Its engine is no more its own: it waits for another one. Gives the stream to be closed,
        unless somebody awaits it just now: then that ends with a timeout."""
        stream, self.stream, self.member = self.stream, None, None
        self.turn += 1
        self.placed = _future()
        self.told.begin_again()
        if self.wait is not None:
            self.interrupt()
            return None
        return stream

    def interrupt(self) -> None:
        """Let what it awaits end with a timeout, now."""
        if self.wait is not None and not self.wait.expired():
            self.wait.reschedule(asyncio.get_running_loop().time())

    def fail(self, error: EngineError) -> None:
        if not self.placed.done():
            self.placed.set_exception(error)
            self.placed.exception()  # it may be that nobody waits any more

    def asked(self, member: Member, parent: ContextId) -> GenerateRequest:
        """What is asked of `member`: with what was said already, where it can go on with that."""
        request = self.request
        scored = request.constraint is not None and request.constraint.scored
        # the last one is drawn again: it may have been what ends the generation
        said = tuple(self.told.ids[:-1])
        cannot = scored or request.sampling.logprobs >= 0 or self.told.is_doubtful
        if cannot or not member.spec.resumes:
            said = ()
        return replace(request, context=self.context, parent=parent, said=said)


def task_of(call: Call, model: str, longest: int) -> Task:
    """The task of a call; `longest` is the longest sequence that any engine could hold.

    Raises `EngineError` for hints that mean nothing.
    """
    request, hints = call.request, call.request.hints
    criteria = hints.criteria
    if criteria is None:
        criteria = Criteria.LATENCY if request.latency else Criteria.THROUGHPUT
    try:
        return Task(
            id=call.id,
            model=model,
            new_tokens=0,
            expected_tokens=max(1, min(_expected(request), longest - call.node.length)),
            prefix=tuple(call.node.chain()),
            tenant=hints.tenant,
            application=hints.application,
            begun=hints.begun,
            depth=hints.depth,
            rank=request.rank,
            group=hints.group,
            group_size=hints.group_size,
            criteria=criteria,
            target=hints.target,
            bound=hints.bound,
            avoid=call.avoid,
            refused=call.refused,
        )
    except ValueError as error:
        raise EngineError("invalid", str(error)) from None


def _expected(request: GenerateRequest) -> int:
    """About how many tokens there will be."""
    expected, wanted = request.hints.expected_tokens or EXPECTED, request.constraint
    if wanted is not None and wanted.choices:
        expected = max(map(len, wanted.choices))  # in characters, which is enough
    return min(expected, request.sampling.max_tokens)


def engine_seconds(spec: EngineSpec, filled: int, total: int, generated: int) -> float:
    """What a call took from the others on its engine: its fills, and its part of each step."""
    cost = spec.cost
    step = cost.step(0) / spec.slots + cost.kv_bytes * total / cost.bandwidth
    return filled * cost.fill + generated * step


async def close_stream(stream: Stream | None, patience: float) -> None:
    """End a generation on its engine, which has `patience` seconds: it may not answer any more."""
    close = getattr(stream, "aclose", None)
    if close is not None:
        with suppress(Exception):
            async with asyncio.timeout(patience):
                await close()


def check_item(item: object, vocabulary: int) -> Piece | Finished:
    """What an engine has sent, if it is what an engine sends. Raises `EngineError`."""
    if isinstance(item, Piece | Finished) and isinstance(item.text, str):
        are_tokens = all(type(token) is int and 0 <= token < vocabulary for token in item.ids)
        if are_tokens and (isinstance(item, Piece) or 0 <= item.kept <= len(item.ids)):
            return item
    raise EngineError("internal", f"the engine sent what is no piece of a text: {item!r:.200}")


def _future() -> "asyncio.Future[Member]":
    return asyncio.get_running_loop().create_future()
