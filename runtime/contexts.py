"""Contexts at run time: which token sequences an engine holds for us, and for how long.

A `Prompt` is the value of a context: a `Node`, which is an exact token sequence, and the text after
it that is not tokenised yet, because what follows may still change its tokens:

    node ─────────────────────────────┐ pending ────────┐
    <|im_start|>user\\n Summarise …     "The first part "   + the next text, then a hard boundary

Nodes form a tree. One is filled when the first generation below it needs it, once, however many
prompts share it, and is freed in the engine when nothing needs it any more. Both are counted:
whoever keeps one takes it, and drops it in the end. So a run that dropped everything it took leaves
nothing in any engine.

A node that will be needed may be filled *early*, with what room the engine has: see `begin`.
"""

import asyncio
from array import array
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from parrotc.runtime.answers import Answers
from parrotc.runtime.engines.protocol import (
    ContextId,
    Engine,
    EngineError,
    FillRequest,
    Finished,
    Hurrying,
    new_context,
)
from parrotc.runtime.errors import Failed
from parrotc.runtime.trace import Counters, Trace


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the plan knows of tokens: about every `next_use` generations they are gone on from; a
    `passing` context belongs to one round of a loop, and nobody fills its tokens again."""

    next_use: float | None = None
    is_passing: bool = False


UNTOLD, PASSING = Outlook(), Outlook(is_passing=True)

PATIENCE = 0.01  # seconds: what is needed that soon is not filled early
AHEAD = 16  # nodes of a session that were filled early and have not been needed yet


class Session:
    """One engine, and the contexts that somebody here holds in it.

    `room` bounds the generations that run at the same time, each with a prompt of its own: what
    waits for room holds no storage, however many calls are ready.
    """

    def __init__(self, engine: Engine, context_length: int, width: int) -> None:
        self.engine = engine
        self.context_length = context_length
        self.room = asyncio.Semaphore(width)
        self.answers = Answers()
        self.ahead: set[Node] = set()  # filled early, and nobody has needed them yet
        self._garbage: list[tuple[ContextId, bool]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def discard(self, context: ContextId, *, dead: bool = False) -> None:
        """Free a context soon, together with others that go in the same moment."""
        self._garbage.append((context, dead))
        if len(self._garbage) == 1:
            self.spawn(self._collect())

    async def _collect(self) -> None:
        garbage, self._garbage = self._garbage, []
        for dead in (True, False):
            contexts = [context for context, is_dead in garbage if is_dead is dead]
            if contexts:
                await self.engine.free(contexts, dead)

    def hurry(self, contexts: Sequence[ContextId]) -> None:
        """Somebody waits for contexts that are being filled early."""
        if contexts and isinstance(self.engine, Hurrying):
            self.spawn(self.engine.hurry(contexts))

    def count_filled(self, counters: Counters, nodes: "Sequence[Node]") -> None:
        counters.tokens_filled += sum(len(node.ids) for node in nodes)

    def count_prompt(self, counters: Counters, node: "Node") -> None:
        """Of a generation: what its prompt would cost alone."""
        counters.tokens_without_sharing += node.length - node.generated_length

    def count_answer(self, counters: Counters, finished: Finished) -> None:
        counters.tokens_generated += len(finished.ids)

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run engine work that nobody may cut in the middle."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settle(self) -> None:
        """Wait until all fills have ended and all that was discarded is freed."""
        while self._tasks:
            await asyncio.wait(self._tasks)


class Node:
    """An exact token sequence: that of `parent`, then `ids`. Starts with one holder.

    The first `generated_length` tokens were there when the last generation in it ended: going on
    from there is no sharing.
    """

    __slots__ = (
        "_count", "_fill", "_hash",
        "context", "generated_length", "ids", "is_shared", "length", "outlook", "parent",
        "session",
    )  # fmt: skip

    def __init__(
        self,
        session: Session,
        parent: "Node | None",
        ids: Sequence[int],
        outlook: Outlook = UNTOLD,
    ) -> None:
        self.session = session
        self.outlook = outlook
        self.parent = parent
        self.ids = tuple(ids)
        self.length: int = (parent.length if parent else 0) + len(self.ids)
        self.generated_length: int = parent.generated_length if parent else 0
        self.context: ContextId | None = None  # once the engine has it
        self.is_shared = False  # it is known that several sequences go on from it
        self._fill: _Fill | None = None  # while it is being filled
        self._count = 1
        self._hash: blake2b = parent._hash.copy() if parent else blake2b(digest_size=16)
        self._hash.update(array("I", self.ids).tobytes())
        if parent:
            parent.take()  # until the engine has this node

    @classmethod
    def generated(cls, before: "Node", context: ContextId, kept: Sequence[int]) -> "Node":
        """The node of a context that a generation made: the engine has it already."""
        node = cls(before.session, None, (), PASSING if before.outlook.is_passing else UNTOLD)
        node.length = node.generated_length = before.length + len(kept)
        node.context = context
        node._hash = before._hash.copy()
        node._hash.update(array("I", kept).tobytes())
        return node

    @property
    def digest(self) -> bytes:
        """Of the whole token sequence, however it was cut into nodes."""
        return self._hash.digest()

    def take(self) -> "Node":
        assert self._count > 0, "a context is used after its storage went"
        self._count += 1
        return self

    def drop(self) -> None:
        """One holder less; the last one frees it, and so on up the tree."""
        node: Node | None = self
        while node is not None:
            node._count -= 1
            if node._count or node._fill is not None:
                return  # while it is being filled, the end of the fill looks again
            node = node._release()

    def _release(self) -> "Node | None":
        """Let go of the storage; gives the parent, which has one holder less to hear of it."""
        self._count = -1  # so that it can neither be taken nor released again
        self.session.ahead.discard(self)
        if self.context is not None:
            self.session.discard(self.context, dead=self.outlook.is_passing)
        parent, self.parent = self.parent, None
        return parent

    async def ensure(self, trace: Trace) -> ContextId:
        """The engine's context of this sequence, filled now if it was not.

        Raises `Failed` when it is longer than the model's context, and `EngineError`.
        """
        while self.context is None:
            self.check_length()
            self._hurry()
            fill = self._fill or self._start_fill(trace)
            try:
                await asyncio.shield(fill.task)
            except EngineError:
                if not fill.began_early:  # else it was refused the room that it may have now
                    raise
        self.session.ahead.discard(self)
        return self.context

    def begin(self, trace: Trace, *, at_once: bool = False) -> None:
        """Fill this node early, unless it is needed or dropped in the next moment (`PATIENCE`).

        Never fails: what cannot be filled early is filled when it is needed, and fails then.
        """
        session = self.session
        if self.context is None and self._fill is None and self.length <= session.context_length:
            self.take()
            session.spawn(self._begin(trace, 0.0 if at_once else PATIENCE))

    async def _begin(self, trace: Trace, patience: float) -> None:
        await asyncio.sleep(patience)
        is_wanted = self._count > 1 and len(self.session.ahead) < AHEAD
        if is_wanted and self.context is None and self._fill is None:
            self.session.ahead.add(self)
            self._start_fill(trace, is_early=True)
        self.drop()

    def _hurry(self) -> None:
        """What is being filled early, here and above, is needed now."""
        asked: list[ContextId] = []
        node: Node | None = self
        while node is not None and node.context is None:
            if node._fill is not None:
                asked += node._fill.asked if node._fill.is_early else ()
                node._fill.is_early = False
            node = node.parent
        self.session.hurry(asked)

    def check_length(self, more: int = 0) -> None:
        """Raises `Failed` if the model cannot read this sequence and `more` tokens after it."""
        limit = self.session.context_length
        if self.length + more > limit:
            raise Failed(
                "E0604",
                f"the prompt has {self.length:,} tokens, and the model's context holds {limit:,}",
                help="shorten what the prompt reads, with `truncate(tokens=…)` or smaller chunks",
            )

    def _start_fill(self, trace: Trace, is_early: bool = False) -> "_Fill":
        """Fill this node and those above it that wait too, in one message."""
        chain: list[Node] = []
        node: Node | None = self
        while node is not None and node.context is None and node._fill is None:
            chain.append(node)
            node = node.parent
        fill = _Fill(chain[::-1], trace, is_early)
        for node in chain:
            node._fill = fill
        return fill


class _Fill:
    """The filling of a chain of nodes by one message, below one that may be on its way.

    `is_early` as long as nobody needs them. An early one takes what room there is: it makes
    nothing above it urgent, and where it fails the nodes are filled again when they are needed.
    """

    def __init__(self, chain: list[Node], trace: Trace, is_early: bool) -> None:
        self.is_early = self.began_early = is_early
        self.asked: list[ContextId] = []  # of the engine, parents first
        self.task = chain[0].session.spawn(self._run(chain, trace))
        self.task.add_done_callback(_retrieve)

    async def _run(self, chain: list[Node], trace: Trace) -> None:
        session, above = chain[0].session, chain[0].parent
        try:
            parent = await self._parent(above, trace) if above else None
            requests: list[FillRequest] = []
            for node in chain:
                self.asked.append(new_context())
                requests.append(
                    FillRequest(
                        self.asked[-1],
                        parent,
                        node.ids,
                        self.is_early,
                        next_use=node.outlook.next_use,
                        shared=node.is_shared,
                    )
                )
                parent = self.asked[-1]
            await session.engine.fill(requests)
            for node, context in zip(chain, self.asked, strict=True):
                node.context = context
            session.count_filled(trace.counters, chain)
            trace.tell("filled")
        finally:
            _end_fill(chain)

    async def _parent(self, above: Node, trace: Trace) -> ContextId:
        while self.is_early and above._fill is not None:
            await asyncio.wait((above._fill.task,))
        if self.is_early and above.context is None:
            raise EngineError("capacity", "there was no room for what an early fill continues")
        return await above.ensure(trace)


def _end_fill(chain: list[Node]) -> None:
    """Let the children go from their parents, and free what nobody waits for any more."""
    for node in chain:
        node._fill = None
    for node in reversed(chain):
        if node.context is not None and node.parent is not None:
            parent, node.parent = node.parent, None
            parent.drop()
        if node._count == 0:
            above = node._release()
            if above is not None:
                above.drop()


def _retrieve(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()  # told to whoever waits; a fill nobody waits for fails in silence
