"""Many engines of one model as one `Engine`, whichever of them come and go.

    router = Router("llama", tokenizer)
    router.register("a", engine_a)
    router.register("b", engine_b, EngineSpec(name="b", model="llama", slots=16), heartbeat=True)
    executor = Executor(plan, {"llama": router}, natives)     # runs as on one engine
    await router.close()

A context exists at once, without any engine; where a generation goes, the scheduler decides, and
what it continues is computed there, once for all that need it. A call whose engine dies, hangs or
answers nonsense is computed again elsewhere: its tokens are known, so the caller notices nothing.

All methods belong to one event loop, and none blocks it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar

from parrotc.runtime.core.calls import Call, Stream, check_item, close_stream, engine_seconds
from parrotc.runtime.core.dispatching import Dispatcher, loop_time
from parrotc.runtime.core.logical import Node, Tree
from parrotc.runtime.core.members import Member
from parrotc.runtime.core.recovery import Recovery
from parrotc.runtime.core.registry import EngineView, RouterLimits
from parrotc.runtime.core.router_client import RouterClient
from parrotc.runtime.engines.protocol import (
    ContextId,
    Engine,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Usage,
    new_context,
)
from parrotc.runtime.scheduling.engines import EngineSpec
from parrotc.runtime.scheduling.policies import SchedulerConfig

T = TypeVar("T")
Items = tuple[Piece | Finished, ...]


class Router:
    """Implements `Engine` and `Hurrying` for `model`. `clock` gives the seconds of `Hints.begun`
    and of targets; by default the event loop's."""

    def __init__(
        self,
        model: str,
        tokenizer: Any,
        *,
        config: SchedulerConfig | None = None,
        limits: RouterLimits | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.limits = limits or RouterLimits()
        self._dispatcher = Dispatcher(model, tokenizer, config, self.limits, clock or loop_time)
        self._registry = self._dispatcher.registry
        self._recovery = Recovery(self._dispatcher, self.limits, self._submit)
        # an endpoint that reads text has no vocabulary: its ids are characters
        self._vocabulary: int = getattr(tokenizer, "vocab_size", 1 << 32)
        self._tree = Tree(lambda: self._registry.longest, self._vocabulary, self._released)
        self._making: set[ContextId] = set()  # names that generations will give
        self._ids = count(1)
        self._is_closed = False
        self._filled = self._generated = self._restarts = 0

    # --- engines ---

    def register(
        self, name: str, engine: Engine, spec: EngineSpec | None = None, *, heartbeat: bool = False
    ) -> None:
        """Use `engine` from now on; it is the router's to close.

        A name that is registered already is taken over: what ran on the old engine is computed
        again. With `heartbeat` it must send one at least every `limits.heartbeat` seconds. Raises
        `EngineError`: `invalid` for another model or tokenizer, `busy` when there are as many
        engines as there may be, `cancelled` when the router is closed.
        """
        self._require_open()
        self._registry.register(name, engine, spec, heartbeat=heartbeat)
        self._dispatcher.wake()

    def heartbeat(self, name: str) -> None:
        """An engine lives. Raises `KeyError` for one that is not registered, or no more."""
        self._registry.heartbeat(name)

    async def drain(self, name: str) -> None:
        """Give an engine nothing more; returns when its last call has ended and it is closed.
        Raises `KeyError`."""
        await self._registry.drain(name)

    async def remove(self, name: str, cause: str = "it was removed") -> None:
        """Take an engine out at once; its calls are computed elsewhere. Raises `KeyError`."""
        await self._registry.remove(name, cause)

    def engines(self) -> tuple[EngineView, ...]:
        members = (call.member for call in self._dispatcher.calls.values())
        return self._registry.views(member.name for member in members if member is not None)

    @property
    def queued(self) -> int:
        """Calls that wait for an engine."""
        return self._dispatcher.scheduler.counts().queued

    # --- callers ---

    def client(self, *, tenant: str = "", application: str = "", salt: str = "") -> Engine:
        """A caller with context names of its own, as `Engine`; `close` frees all that it holds."""
        return RouterClient(self, tenant=tenant, application=application, salt=salt)

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        """The contexts exist at once; engines compute them when a generation needs them."""
        self._require_open()
        nodes = self._tree.fill(requests)
        for request, node in zip(reversed(requests), reversed(nodes), strict=True):
            if request.early:  # the last ones first: each with all that is missing above it
                self._begin(node)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        """As `Engine.generate` says, where the scheduler decides by `request.hints`.

        Raises `EngineError`: `busy` when too many wait, `capacity` for what fits on no engine,
        `unavailable` where no engine serves the model, `poison` when engines died of it, and what
        engines refuse. A fault of engines is told when `limits.attempts` have failed.
        """
        call = self._admit(request)
        is_told = False
        try:
            while not is_told:
                for item in await self._advance(call):
                    is_told = isinstance(item, Finished)
                    yield item
        finally:
            await self._leave(call, is_told)

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        self._tree.free(contexts, dead)

    async def hurry(self, contexts: Sequence[ContextId]) -> None:
        for node in (self._tree.named[name] for name in contexts if name in self._tree.named):
            for name in node.places:
                self._registry.members[name].hurry([node])

    async def ping(self) -> EngineInfo:
        counts = self._dispatcher.scheduler.counts()
        return EngineInfo(
            engine="router",
            model=self.model,
            fingerprint=self.tokenizer.fingerprint,
            context_length=self._registry.longest,
            running=counts.running,
            queued=counts.queued,
            contexts=len(self._tree.named),
            cached_tokens=self._tree.tokens,
            filled_tokens=self._filled,
            generated_tokens=self._generated,
            counters={
                "engines": counts.engines,
                "retries": self._dispatcher.retries,
                "restarts": self._restarts,
            },
        )

    async def settle(self) -> None:
        """Wait until what was dropped is freed on all engines that answer."""
        await self._registry.settle()

    async def close(self) -> None:
        """End what goes on with `cancelled`, free all contexts, close all engines."""
        self._is_closed = True
        await self._dispatcher.close(EngineError("cancelled", "the router is closed"))
        for name in list(self._tree.named):
            self._tree.free([name])

    # --- a call, from its arrival to its end ---

    def _admit(self, request: GenerateRequest) -> Call:
        """Take a call, or raise `EngineError` and keep nothing of it."""
        self._require_open()
        node = self._tree.get(request.parent)
        if request.context in self._tree.named or request.context in self._making:
            raise EngineError("invalid", f"context {request.context} exists already")
        self._tree.check_length(node.length + 1)
        node.holders += 1
        self._making.add(request.context)
        call = Call(str(next(self._ids)), request, node)
        try:
            self._submit(call)
        except EngineError:
            self._forget(call)
            raise
        return call

    def _submit(self, call: Call) -> None:
        self._require_open()
        if self._tree.shorten(call.node):
            self._dispatcher.learn(call.node)
        self._dispatcher.submit(call)

    async def _advance(self, call: Call) -> Items:
        """What comes next of a call, which may be nothing yet. Raises what its caller is to hear.

        A call that is taken from its engine meanwhile (`Call.take_back`) begins anew.
        """
        turn = call.turn
        if call.member is None:
            member = await call.placed
            if call.turn == turn:
                call.member = member
            return ()
        member, stream = call.member, call.stream
        try:
            if stream is None:
                stream = call.stream = await self._start(call, member)
            item = await self._within(call, anext(stream))
            if call.turn == turn:
                return self._hear(call, member, item)
            if isinstance(item, Finished):  # it came in the moment in which the call was taken
                member.discard(call.context)
            fault: Exception = EngineError("cancelled", "the call is no more this engine's")
        except StopAsyncIteration:
            fault = EngineError("internal", "the generation ended without a result")
        except Exception as error:
            fault = error
        call.stream = None
        await close_stream(stream, self.limits.ping)
        if call.turn == turn:
            await self._recovery.meet(call, member, fault)
        return ()

    async def _start(self, call: Call, member: Member) -> Stream:
        """Have `member` compute what the call continues, and ask it for the generation."""
        context = await self._within(call, member.ensure(call.node))
        call.context = new_context()
        return member.engine.generate(call.asked(member, context))

    async def _within(self, call: Call, work: Awaitable[T]) -> T:
        """What `work` gives. Raises `TimeoutError` after a long silence (`Dispatcher`), and at
        once when the call is taken from its engine."""
        call.since = loop_time()
        try:
            async with asyncio.timeout(None) as call.wait:  # a timer each would cost too much
                return await work
        finally:
            call.wait = None

    def _hear(self, call: Call, member: Member, item: Piece | Finished) -> Items:
        """What the caller is told of what its engine has said."""
        try:
            check_item(item, self._vocabulary)
            member.strikes = 0
            if isinstance(item, Piece):
                piece = call.told.read(item)
                return (piece,) if piece is not None else ()
            piece = call.told.end(item)
        except EngineError:
            if isinstance(item, Finished):  # then the context is there, whatever is wrong with it
                member.discard(call.context)
            raise
        item = self._finish(call, member, item)
        return (piece, item) if piece is not None else (item,)

    def _finish(self, call: Call, member: Member, finished: Finished) -> Finished:
        """Gives the end as it is told: with what it has cost, where the engine does not say."""
        node = self._tree.grown(call.node, finished.ids[: finished.kept])
        member.adopt(node, call.context)
        self._tree.named[call.request.context] = node
        assert call.dispatch is not None
        filled = call.node.length - call.dispatch.resident
        generated = len(finished.ids)
        self._filled += filled
        self._generated += generated
        seconds = engine_seconds(member.spec, filled, call.node.length, generated)
        self._dispatcher.finish(call, seconds)
        self._dispatcher.learn(node)
        self._forget(call)
        usage = finished.usage or Usage(call.node.length, generated, call.dispatch.resident)
        return replace(finished, usage=usage)

    async def _leave(self, call: Call, is_told: bool) -> None:
        """Its caller has gone: unless it was told the end, nothing of it is to remain anywhere.

        What its engine says is closed even after the end: leaving that to the garbage collector
        costs a task and a system call for each.
        """
        context = call.request.context
        if context in self._making:
            self._forget(call)
        elif not is_told and context in self._tree.named:
            self._tree.free([context])
        stream, call.stream = call.stream, None
        await close_stream(stream, self.limits.ping)

    def _forget(self, call: Call) -> None:
        self._dispatcher.withdraw(call)
        self._making.discard(call.request.context)
        self._restarts += call.told.restarts
        self._tree.drop(call.node)

    # --- where contexts are ---

    def _begin(self, node: Node) -> None:
        """Fill a context early: where what it continues is, and only there. Where nothing of it is
        anywhere, the only engine there is will be the one that needs it."""
        members = self._registry.members
        above = next((one for one in node.path() if one.places), None)
        names = above.places if above is not None else members if len(members) == 1 else ()
        for name in names:
            member = members[name]
            if member.is_up and member.begin(node):
                self._dispatcher.learn(node)
                return

    def _released(self, node: Node) -> None:
        for name in list(node.places):
            member = self._registry.members.get(name)
            if member is not None:
                member.release(node)
                if not (member.spec.caches and node.is_common):
                    self._dispatcher.forget(name, (node,))

    def _require_open(self) -> None:
        if self._is_closed:
            raise EngineError("cancelled", "the router is closed")
