"""One engine of the router: which sequences it holds, and the requests that make and free them.

What is needed of a chain is filled by one message, below what is there already. A fill goes on when
the call that began it is gone, since others may wait for it. Contexts are freed in batches; those
of which nobody knows whether they are there are freed when the engine answers again.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any

from parrotc.runtime.core.logical import Node
from parrotc.runtime.core.places import Place
from parrotc.runtime.engines.protocol import (
    ContextId,
    Engine,
    EngineError,
    FillRequest,
    Hurrying,
    new_context,
)
from parrotc.runtime.scheduling.engines import EngineSpec

_log = logging.getLogger(__name__)

# what an engine says of a request that no other engine would take either; the last two answer
# only what they were told before
REFUSALS = frozenset(
    {"context_length", "capacity", "invalid", "constraint", "unrecorded", "unanswered"}
)
AGAIN = 5.0  # seconds after which what could not be freed is tried again


class Member:
    """An engine that was registered. `patience` is how long a fill or a free may take, in seconds.

    `strikes` counts its faults since it last did something well. `heard` is when it last sent a
    heartbeat, None for an engine that need not. A member that is not `is_up` gets no calls.
    """

    def __init__(
        self, engine: Engine, spec: EngineSpec, patience: float, heard: float | None
    ) -> None:
        self.engine, self.spec, self.heard = engine, spec, heard
        self.nodes: dict[Node, None] = {}  # that it holds, the one not used for longest first
        self.strikes = 0
        self.is_up = True
        self.is_draining = False
        self.cause = ""  # why it is not up
        self.changed = asyncio.Event()  # set when it has left
        self.verdict: asyncio.Task[bool] | None = None  # while it is asked whether it is there
        self.revival: asyncio.Task[None] | None = None  # while it is down
        self._patience = patience
        self._garbage: list[ContextId] = []
        self._dead: list[ContextId] = []  # of it, those that nobody will fill again
        self._lost: list[ContextId] = []  # contexts that may be there
        self._again: asyncio.TimerHandle | None = None  # when that is seen to
        self._collecting = False
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def name(self) -> str:
        return self.spec.name

    # --- making contexts ---

    async def ensure(self, node: Node) -> ContextId:
        """The engine's name for `node`, filled now if it was not there. Raises what `fill` does."""
        while True:
            if not self.is_up:  # it went while the caller waited for a fill of somebody else's
                raise EngineError("unavailable", f"the engine {self.name} is not there any more")
            missing, place = self._missing(node)
            if not missing and place is not None and place.fill is None:
                self._touch(node)
                return place.id
            if place is None or place.fill is None:
                await asyncio.shield(self._fill(missing, place))
            else:
                self._hurry(place)
                await asyncio.wait((place.fill,))  # another call's: see again how it has ended

    def begin(self, node: Node) -> bool:
        """Fill `node` early, with what is missing above it. Whether that was begun: not while what
        it continues is on its way."""
        missing, place = self._missing(node)
        is_next = bool(missing) and (place is None or place.fill is None)
        if is_next:
            self._fill(missing, place, is_early=True)
        return is_next

    def hurry(self, nodes: Sequence[Node]) -> None:
        """Somebody waits for what may be on its way early."""
        for node in nodes:
            place = node.places.get(self.name)
            if place is not None and place.fill is not None:
                self._hurry(place)

    def adopt(self, node: Node, context: ContextId) -> None:
        """A generation has made `context`, which is `node`."""
        if self.name in node.places:
            self.discard(context)
        else:
            node.places[self.name] = Place(context)
            self._touch(node)

    def _missing(self, node: Node) -> tuple[list[Node], Place | None]:
        """The nodes to be filled for `node`, parents first, and the place of what is above them."""
        missing: list[Node] = []
        for above in node.path():
            place = above.places.get(self.name)
            if place is not None:
                return missing[::-1], place
            missing.append(above)
        return missing[::-1], None

    def _fill(
        self, nodes: list[Node], above: Place | None, is_early: bool = False
    ) -> "asyncio.Task[None]":
        places = [Place(new_context(), is_early=is_early) for _ in nodes]
        task = self.spawn(self._run_fill(nodes, places, above))
        for node, place in zip(nodes, places, strict=True):
            place.fill = task
            node.places[self.name] = place
            self._touch(node)
        return task

    async def _run_fill(self, nodes: list[Node], places: list[Place], above: Place | None) -> None:
        requests = []
        parent = above.id if above else None
        for node, place in zip(nodes, places, strict=True):
            request = node.asked or FillRequest(place.id, parent, node.ids)
            requests.append(
                replace(
                    request,
                    context=place.id,
                    parent=parent,
                    ids=node.ids,
                    early=place.is_early,
                    salt=node.salt,
                )
            )
            parent = place.id
        try:
            async with asyncio.timeout(self._patience):
                await self.engine.fill(requests)
        except BaseException as error:
            is_refusal = isinstance(error, EngineError) and error.code in REFUSALS
            for node, place in zip(nodes, places, strict=True):
                self._forget(node, place)
            if not is_refusal:
                self._lose(place.id for place in places)
            raise
        for place in places:
            place.fill = None
            if place.is_doomed:
                self.discard(place.id)

    def _hurry(self, place: Place) -> None:
        if place.is_early and isinstance(self.engine, Hurrying):
            place.is_early = False
            self.spawn(self.engine.hurry([place.id]))

    def _touch(self, node: Node) -> None:
        self.nodes.pop(node, None)
        self.nodes[node] = None

    # --- letting go of them ---

    def release(self, node: Node) -> None:
        """`node` is needed no more, here at least."""
        place = node.places.get(self.name)
        if place is None:
            return
        self._forget(node, place)
        if place.fill is not None:
            place.is_doomed = True
        else:
            self.discard(place.id, dead=node.is_dead)

    def discard(self, context: ContextId, *, dead: bool = False) -> None:
        """Free a context soon, together with others that go in the same moment."""
        (self._dead if dead else self._garbage).append(context)
        self._collect_soon()

    async def make_room(self, used: set[Node]) -> list[Node]:
        """Free what is not `used`, and give it: it can be computed again."""
        idle = [node for node in self.nodes if node not in used]
        idle = [node for node in idle if node.places[self.name].fill is None]
        for node in idle:
            self.release(node)
        await self._collect()
        return idle

    def lose_all(self) -> list[Node]:
        """Nobody knows any more what the engine holds: all is computed again where it is needed.
        Gives what it held."""
        nodes = list(self.nodes)
        for node in nodes:
            place = node.places[self.name]
            self._forget(node, place)
            if place.fill is None:
                self._lose((place.id,))
            else:
                place.is_doomed = True
        return nodes

    def _lose(self, contexts: Iterable[ContextId]) -> None:
        """These may be there or not; try again in a while to be rid of them."""
        self._lost += contexts
        if self._lost and self._again is None and self.is_up:
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(AGAIN, lambda: self.spawn(self.recover()))

    def _collect_soon(self) -> None:
        """One that is down is asked to free nothing before it answers again."""
        if not self._collecting and self.is_up:
            self._collecting = True
            self.spawn(self._collect())

    def _forget(self, node: Node, place: Place) -> None:
        if node.places.get(self.name) is place:
            del node.places[self.name]
            self.nodes.pop(node, None)

    async def _collect(self) -> None:
        await asyncio.sleep(0)  # what goes in the same moment goes with it
        self._collecting = False
        waiting = ((self._dead, True), (self._garbage, False))
        self._dead, self._garbage = [], []
        try:
            for contexts, dead in waiting:
                await self._free(contexts, dead)
        except Exception as error:
            _log.warning("%s cannot free contexts: %s", self.name, error or "no answer")
        finally:
            for contexts, _ in waiting:
                self._lose(contexts)

    async def _free(self, contexts: list[ContextId], dead: bool) -> None:
        """Free `contexts`, together or else one by one, and strike off what is gone. Raises what
        says that nobody answers: to ask for each of the others would take as long again."""
        if contexts and await self._freed(contexts, dead):
            contexts.clear()
        for context in list(contexts):
            if await self._freed([context], dead):
                contexts.remove(context)

    async def _freed(self, contexts: list[ContextId], dead: bool) -> bool:
        """Whether the engine says so, or that it has never heard of the only one."""
        try:
            async with asyncio.timeout(self._patience):
                await self.engine.free(contexts, dead)
        except Exception as error:
            code = error.code if isinstance(error, EngineError) else ""
            if code == "unavailable" or isinstance(error, TimeoutError):
                raise
            return code == "unknown_context" and len(contexts) == 1
        return True

    # --- its life ---

    async def recover(self) -> None:
        """Free what may have been left there, if it answers again."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._garbage += self._lost
        self._lost.clear()
        await self._collect()

    def inherit(self, old: "Member") -> None:
        """Free what `old`, which was the same engine, could not."""
        self._lose(old._lost + old._garbage + old._dead)

    def come_back(self) -> None:
        """It is used again; what could not be freed until now is tried again."""
        self.is_up, self.cause = True, ""
        self._lose(())
        if self._garbage or self._dead:
            self._collect_soon()

    def stop(self) -> None:
        """Cancel all that goes on: nobody needs what this engine makes."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for task in self._tasks:
            task.cancel()

    async def settle(self) -> None:
        """Wait until all that was asked of it is done."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever waits; a fill nobody waits for fails in silence
