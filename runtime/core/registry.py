"""The engines of one model: they come, are asked whether they live, leave, and may come again.

             register                    drain, remove, no heartbeat, registered again
                │                                          │
                ▼          does not answer, too many faults │
               up ─────────────────────────────────► down ──┴──► gone (closed)
                ▲           answers a ping again       │
                └──────────────────────────────────────┘

An engine that is down is asked again and again, at growing intervals. Whatever ran on an engine
that goes down or leaves waits for another one.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from parrotc.runtime.core.members import Member
from parrotc.runtime.engines.protocol import Engine, EngineError
from parrotc.runtime.scheduling.engines import EngineSpec
from parrotc.runtime.scheduling.scheduler import Scheduler
from parrotc.runtime.scheduling.tasks import Failed

_log = logging.getLogger(__name__)

LONGEST_BACKOFF = 10.0  # seconds
Lost = Callable[[Sequence[str], Sequence[Failed]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterLimits:
    """Times are in seconds."""

    engines: int = 2048  # that are registered at the same time
    silence: float = 120.0  # without a piece, after which an engine is asked whether it lives
    ping: float = 5.0  # that it has to answer then, and to end well when it leaves
    heartbeat: float = 15.0  # without one, after which an engine that sends them is gone
    attempts: int = 4  # of one call, before its fault is told
    strikes: int = 5  # faults in a row that take an engine out of service for a while
    backoff: float = 0.1  # before the second attempt; doubles, up to `LONGEST_BACKOFF`

    def pause(self, faults: int) -> float:
        """How long to wait after so many faults in a row."""
        return min(LONGEST_BACKOFF, self.backoff * 2.0 ** max(0, faults - 1))


@dataclass(frozen=True, slots=True)
class EngineView:
    """An engine to look at. `state`: up, down (`cause` says why), draining."""

    name: str
    spec: EngineSpec
    state: str
    cause: str
    running: int
    contexts: int
    strikes: int


class Registry:
    """`lost` is told of calls whose engine has gone: all of them, and those that failed with it."""

    def __init__(
        self,
        model: str,
        tokenizer: Any,
        scheduler: Scheduler,
        limits: RouterLimits,
        clock: Callable[[], float],
        lost: Lost,
    ) -> None:
        self.members: dict[str, Member] = {}
        self.longest = tokenizer.context_length  # tokens that some engine can read
        self._model, self._tokenizer = model, tokenizer
        self._scheduler, self._limits, self._clock, self._lost = scheduler, limits, clock, lost
        self._tasks: set[asyncio.Task[Any]] = set()
        self._gone: dict[str, asyncio.Task[None]] = {}  # the last one of each name

    # --- they come ---

    def register(
        self, name: str, engine: Engine, spec: EngineSpec | None, *, heartbeat: bool
    ) -> None:
        spec = spec or self._default_spec(name)
        self._check(name, engine, spec)
        old = self.members.get(name)
        if old is not None:
            self._retire(old, "it was registered again", close=old.engine is not engine)
        heard = self._clock() if heartbeat else None
        self.members[name] = Member(engine, spec, self._limits.silence, heard)
        self._scheduler.add_engine(spec, self._clock())
        self._sum_up()

    def _default_spec(self, name: str) -> EngineSpec:
        length = self._tokenizer.context_length
        return EngineSpec(
            name=name, model=self._model, tokens=max(400_000, length), context_length=length
        )

    def _check(self, name: str, engine: Engine, spec: EngineSpec) -> None:
        if name not in self.members and len(self.members) >= self._limits.engines:
            raise EngineError("busy", f"there are {self._limits.engines:,} engines already")
        for is_right, words in (
            (spec.name == name, f"the engine `{name}` calls itself `{spec.name}`"),
            (spec.model == self._model, f"it serves `{spec.model}`, and not `{self._model}`"),
            (
                engine.tokenizer.fingerprint == self._tokenizer.fingerprint,
                f"the engine `{name}` has another tokenizer than `{self._model}`",
            ),
        ):
            if not is_right:
                raise EngineError("invalid", words)

    def _sum_up(self) -> None:
        lengths = [member.spec.context_length for member in self.members.values()]
        if lengths:
            self.longest = min(self._tokenizer.context_length, max(lengths))

    # --- they live ---

    @property
    def is_watching(self) -> bool:
        """Whether any engine must send heartbeats."""
        return any(member.heard is not None for member in self.members.values())

    def heartbeat(self, name: str) -> None:
        member = self.members[name]
        if member.heard is not None:
            member.heard = self._clock()

    def expire(self) -> None:
        """Let go of those that have not been heard of for too long."""
        latest = self._clock() - self._limits.heartbeat
        for member in list(self.members.values()):
            if member.heard is not None and member.heard < latest:
                silence = self._clock() - member.heard
                self._retire(member, f"no heartbeat for {silence:.0f} s")

    async def check(self, member: Member, fault: Exception) -> None:
        """A call met a fault of `member`, which nobody but the engine can be blamed for: see
        whether it is alive. If not, or after too many faults in a row, it goes down."""
        member.strikes += 1
        if member.strikes >= self._limits.strikes:
            self.take_down(member, f"{member.strikes} faults in a row, the last: {fault}", blame=())
            return
        if member.verdict is None:
            member.verdict = self.spawn(self._answers(member))
        verdict = member.verdict
        await asyncio.wait((verdict,))
        member.verdict = None
        if not verdict.result():
            self.take_down(member, str(fault) or type(fault).__name__)

    async def _answers(self, member: Member) -> bool:
        try:
            async with asyncio.timeout(self._limits.ping):
                info = await member.engine.ping()
        except Exception as error:
            _log.info("%s does not answer: %s", member.name, error)
            return False
        return bool(info.fingerprint == self._tokenizer.fingerprint)

    # --- they go, and may come again ---

    def take_down(
        self, member: Member, cause: str, *, blame: tuple[str, ...] | None = None
    ) -> None:
        """Use `member` no more until it answers. `blame`: see `Scheduler.engine_died`."""
        if member.is_up and self.members.get(member.name) is member:
            _log.warning("the engine %s is down: %s", member.name, cause)
            self._take_out(member, cause, blame)
            if member.is_draining:
                self._retire(member, cause)
            else:
                member.revival = self.spawn(self._revive(member))

    def _take_out(self, member: Member, cause: str, blame: tuple[str, ...] | None) -> None:
        member.is_up, member.cause = False, cause
        if self._scheduler.has_engine(member.name):
            running = self._scheduler.running_on(member.name)
            failed = self._scheduler.engine_died(member.name, self._clock(), cause, blame=blame)
        else:
            running, failed = (), ()
        member.lose_all()
        member.stop()
        self._lost(running, failed)

    async def _revive(self, member: Member) -> None:
        faults = max(1, member.strikes - self._limits.strikes + 1)
        while True:
            await asyncio.sleep(self._limits.pause(faults))
            if self.members.get(member.name) is not member:
                return
            if await self._answers(member):
                break
            faults += 1
        await member.settle()
        await member.recover()
        if self.members.get(member.name) is member:
            member.come_back()
            self._scheduler.add_engine(member.spec, self._clock())
            self._lost((), ())  # what waits may go there

    async def drain(self, name: str) -> None:
        member = self.members[name]
        if not member.is_draining:
            member.is_draining = True
            if member.is_up:
                self._scheduler.drain(name, self._clock())
        self.left(member)
        while self.members.get(name) is member:
            await member.changed.wait()
        await self.gone(name)

    async def remove(self, name: str, cause: str) -> None:
        self._retire(self.members[name], cause)
        await self.gone(name)

    async def gone(self, name: str) -> None:
        """Wait until the last engine of that name is closed."""
        if name in self._gone:
            await asyncio.wait((self._gone[name],))

    def left(self, member: Member) -> None:
        """A call has left `member`: if it drains, that may have been the last."""
        is_here = self.members.get(member.name) is member
        if member.is_draining and is_here and not self._scheduler.has_engine(member.name):
            self._retire(member, "it was drained")

    def _retire(self, member: Member, cause: str, *, close: bool = True) -> None:
        """Forget `member`. Nobody is blamed: it did not die of what ran there."""
        del self.members[member.name]
        member.changed.set()
        if member.is_up:
            self._take_out(member, cause, ())
        if member.revival is not None:
            member.revival.cancel()
        self._sum_up()
        task = self._gone[member.name] = self.spawn(self._bury(member, close))
        task.add_done_callback(lambda done: self._forget(member.name, done))

    def _forget(self, name: str, done: "asyncio.Task[None]") -> None:
        if self._gone.get(name) is done:
            del self._gone[name]

    async def _bury(self, member: Member, close: bool) -> None:
        """Leave nothing on an engine that goes, as far as it answers."""
        with suppress(Exception):
            async with asyncio.timeout(self._limits.ping):
                if member.revival is not None:  # cancelled, and about to say what it has not freed
                    await asyncio.wait((member.revival,))
                await member.settle()
                await member.recover()
        if close:
            with suppress(Exception):
                async with asyncio.timeout(self._limits.ping):
                    await member.engine.close()
        for heir in self.members.values():
            if heir.engine is member.engine:
                heir.inherit(member)

    async def close(self) -> None:
        for member in list(self.members.values()):
            self._retire(member, "the router was closed")
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def settle(self) -> None:
        """Wait until what was dropped is freed on all engines that answer."""
        for member in list(self.members.values()):
            await member.settle()

    # --- what there is ---

    def views(self, running: Iterable[str]) -> tuple[EngineView, ...]:
        """`running` names the engine of each call that runs."""
        counts: dict[str, int] = {}
        for name in running:
            counts[name] = counts.get(name, 0) + 1
        return tuple(_view(member, counts.get(name, 0)) for name, member in self.members.items())

    def spawn(self, work: Any) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _view(member: Member, running: int) -> EngineView:
    state = "down" if not member.is_up else "draining" if member.is_draining else "up"
    return EngineView(
        member.name, member.spec, state, member.cause, running, len(member.nodes), member.strikes
    )
