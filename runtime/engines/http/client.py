"""The contexts of one client: the names that it chose, and what they stand for in the engine.

    7 ──► engine 103 ─┐
    8 ──► engine 104 ◄┘ parent

A name is taken when its request arrives and given back when the request fails, so of two requests
for one name the second is refused. A request that continues a context which is still being made
waits for it. A context that is freed while requests continue it goes when the last has ended.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from parrotc.runtime.engines.protocol import (
    ContextId,
    Engine,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Hurrying,
    Piece,
)

_log = logging.getLogger(__name__)

Post = Callable[[Piece | Finished | EngineError], None]
Work = asyncio.Task[Any]

_CANCELLED = EngineError("cancelled", "the generation was cancelled")


@dataclass(eq=False, slots=True)
class _Context:
    """`id` is its name in the engine. `own` of its `length` tokens are not its parent's."""

    id: ContextId
    own: int
    length: int
    readers: int = 0  # jobs that continue it
    is_dropped: bool = False
    is_dead: bool = False  # nobody will fill its tokens again


@dataclass(eq=False, slots=True)
class _Job:
    """A fill or a generation from its arrival to its end.

    It begins when `after` has ended. `continued` are the contexts it goes on from, by the names
    they had then, as far as they are there; they stay until it has ended, names or not.
    """

    names: set[ContextId]  # that it makes
    wanted: set[ContextId]  # that it continues
    grows: bool
    after: set[Work] = field(default_factory=set)
    continued: dict[ContextId, _Context] = field(default_factory=dict)


class Client:
    """`fill` and `generate` take names, and hold what they continue, before they return: requests
    count in the order in which they were made. `room` is shared with all other clients."""

    def __init__(self, engine: Engine, new_id: Callable[[], ContextId], room: "Room") -> None:
        self._engine = engine
        self._new_id = new_id
        self._room = room
        self._contexts: dict[ContextId, _Context] = {}
        self._making: dict[ContextId, Work] = {}
        self._fills: set[Work] = set()  # of `_making`: those that cannot be stopped
        self._sent: dict[ContextId, _Context] = {}  # fills that the engine has
        self._urgent: set[ContextId] = set()  # those it has not yet, and that are needed
        self._frees: set[Work] = set()

    @property
    def is_busy(self) -> bool:
        return bool(self._making)

    @property
    def is_empty(self) -> bool:
        return not (self._contexts or self._making or self._frees)

    # --- requests ---

    def fill(self, requests: Sequence[FillRequest], *, grows: bool = False) -> "asyncio.Task[int]":
        """Make contexts, all or none; the result is how many tokens they have. Cannot be stopped.

        `grows`: a request for a context that exists continues it, under the same name. Raises
        `EngineError`, also when the task is awaited.
        """
        names = [request.context for request in requests]
        parents = {request.parent for request in requests if request.parent is not None}
        job = self._job(names, parents, grows)
        task = self._start(job, self._fill(requests, job))
        self._fills.add(task)
        task.add_done_callback(self._fills.discard)
        return task

    def generate(self, request: GenerateRequest, post: Post, *, grows: bool = False) -> None:
        """Start a generation. `post` is told what comes of it, last of all `Finished` or an
        `EngineError`. Raises `EngineError` for one that cannot be started."""
        job = self._job([request.context], {request.parent}, grows)
        task = self._start(job, self._generate(request, job, post))
        # here, and not in what the task runs: it may be cancelled before it has begun
        task.add_done_callback(lambda task: post(_CANCELLED) if task.cancelled() else None)

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> int:
        """Drop contexts; the result is how many tokens they had of their own.

        One that is being made is waited for. Raises `EngineError` for an unknown one, and then
        drops none.
        """
        await _ended({self._making[name] for name in contexts if name in self._making})
        for name in contexts:
            if name not in self._contexts:
                raise _unknown(name)
        dropped = [self._contexts.pop(name) for name in contexts]
        for context in dropped:
            context.is_dead = dead
        await self._dropped(dropped)
        return sum(context.own for context in dropped)

    async def hurry(self, contexts: Sequence[ContextId]) -> None:
        """Somebody waits for these fills now. Those that are over are passed over."""
        self._urgent |= self._making.keys() & set(contexts) - self._sent.keys()
        sent = [self._sent[name].id for name in contexts if name in self._sent]
        if sent and isinstance(self._engine, Hurrying):
            await self._engine.hurry(sent)

    async def cancel(self, contexts: Sequence[ContextId]) -> None:
        """Stop what makes these contexts, and drop those that are made. Others are no error."""
        making = {self._making[name] for name in contexts if name in self._making}
        for task in making - self._fills:
            task.cancel()
        await _ended(making)
        known = [name for name in contexts if name in self._contexts]
        await self._dropped([self._contexts.pop(name) for name in known])

    def abandon(self, contexts: Sequence[ContextId]) -> None:
        """Cancel, soon, what nobody waits for any more."""
        self._soon(self.cancel(contexts))

    async def close(self) -> None:
        """Stop everything and drop everything."""
        while self._making or self._contexts:
            try:
                await self.cancel([*self._making, *self._contexts])
            except EngineError as error:  # their names are gone all the same
                _log.error("contexts could not be freed: %s", error)
        await _ended(self._frees)

    # --- jobs ---

    def _job(self, names: Sequence[ContextId], parents: set[ContextId], grows: bool) -> _Job:
        """Check the names, and hold what is there of what the job will continue."""
        if not grows:
            for at, name in enumerate(names):
                if name in self._contexts or name in self._making or name in names[:at]:
                    raise EngineError("invalid", f"context {name} exists already")
        job = _Job(set(names), parents | set(names if grows else ()), grows)
        job.after = {self._making[name] for name in job.wanted if name in self._making}
        return job

    def _start(self, job: _Job, work: Coroutine[Any, Any, Any]) -> Work:
        try:
            self._room.enter()
        except EngineError:
            work.close()
            raise
        self._hold(job, job.wanted - self._making.keys())
        task = asyncio.get_running_loop().create_task(work)
        for name in job.names:
            self._making[name] = task
        task.add_done_callback(lambda task: self._end(job, task))
        return task

    def _end(self, job: _Job, task: Work) -> None:
        self._room.leave()
        for name in job.names:
            if self._making.get(name) is task:  # a later one may be growing it already
                del self._making[name]
                self._urgent.discard(name)
        for context in job.continued.values():
            context.readers -= 1
            if context.is_dropped and not context.readers:
                self._soon(self._drop([context]))
        if not task.cancelled():
            task.exception()  # whoever waits has it; with nobody there it is no news

    def _hold(self, job: _Job, names: Iterable[ContextId]) -> None:
        for name in names:
            if name in self._contexts and name not in job.continued:
                job.continued[name] = self._contexts[name]
                job.continued[name].readers += 1

    async def _ready(self, job: _Job) -> None:
        """Wait for what the job continues, and hold that too."""
        await _ended(job.after)
        self._hold(job, job.wanted)

    async def _fill(self, requests: Sequence[FillRequest], job: _Job) -> int:
        await self._ready(job)
        made: dict[ContextId, _Context] = {}
        replaced: list[_Context] = []
        sent: list[FillRequest] = []
        for request in requests:
            known = job.continued | made
            old = known.get(request.context) if job.grows else None
            base = old or self._base(request.parent, known)
            own, before = len(request.ids), base.length if base else 0
            if old is not None:
                own += old.own
                replaced.append(old)
            context = _Context(self._new_id(), own, before + len(request.ids))
            made[request.context] = context
            sent.append(self._translated(request, context, base))
        self._sent |= made
        try:
            await self._engine.fill(sent)
        finally:
            for name in made:
                del self._sent[name]
        self._contexts |= made
        self._soon(self._drop(replaced))
        return sum(len(request.ids) for request in requests)

    def _base(self, parent: ContextId | None, known: dict[ContextId, _Context]) -> _Context | None:
        if parent is None:
            return None
        if parent not in known:
            raise _unknown(parent)
        return known[parent]

    def _translated(
        self, request: FillRequest, context: _Context, base: _Context | None
    ) -> FillRequest:
        """The request in the engine's words."""
        return replace(
            request,
            context=context.id,
            parent=base.id if base else None,
            early=request.early and request.context not in self._urgent,
        )

    async def _generate(self, request: GenerateRequest, job: _Job, post: Post) -> None:
        """Run a generation and `post` what comes, last of all its end or an error."""
        try:
            await self._ready(job)
            old = job.continued.get(request.context) if job.grows else None
            base = old or self._base(request.parent, job.continued)
            if base is None or base.length == 0:
                raise EngineError("invalid", "there is nothing to continue: the context is empty")
            await self._pump(request, base, old, post)
        except EngineError as error:
            post(error)
        except Exception as error:
            _log.exception("a generation failed")
            post(EngineError("internal", f"{type(error).__name__}: {error}"))

    async def _pump(
        self, request: GenerateRequest, base: _Context, old: _Context | None, post: Post
    ) -> None:
        context = _Context(self._new_id(), old.own if old else 0, base.length)
        asked = replace(request, context=context.id, parent=base.id)
        async with aclosing(self._engine.generate(asked)) as items:  # type: ignore[type-var]
            async for item in items:
                if isinstance(item, Finished):
                    context.own += item.kept
                    context.length += item.kept
                    self._contexts[request.context] = context
                    if old is not None:
                        self._soon(self._drop([old]))
                post(item)

    # --- storage ---

    async def _drop(self, contexts: Sequence[_Context]) -> None:
        """Free contexts that have lost their names; what is being continued goes later."""
        for context in contexts:
            context.is_dropped = True
        for dead in (True, False):
            unused = [one.id for one in contexts if not one.readers and one.is_dead is dead]
            if unused:
                await self._engine.free(unused, dead)

    async def _dropped(self, contexts: Sequence[_Context]) -> None:
        """Drop them all, though whoever asks may go in the middle: their names are gone already."""
        await asyncio.shield(self._soon(self._drop(contexts)))

    def _soon(self, work: Coroutine[Any, Any, None]) -> Work:
        task = asyncio.get_running_loop().create_task(work)
        self._frees.add(task)
        task.add_done_callback(self._freed)
        return task

    def _freed(self, task: Work) -> None:
        self._frees.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("contexts could not be freed: %s", error)


class Room:
    """How many fills and generations there may be at the same time, of all clients together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    def enter(self) -> None:
        if self.taken >= self.most:
            raise EngineError("capacity", f"the engine has {self.taken} requests; try again later")
        self.taken += 1

    def leave(self) -> None:
        self.taken -= 1


def _unknown(name: ContextId) -> EngineError:
    return EngineError("unknown_context", f"there is no context {name}")


async def _ended(work: Iterable[Work]) -> None:
    """Wait until all of it has ended, however."""
    waiting = set(work)
    if waiting:
        await asyncio.wait(waiting)
