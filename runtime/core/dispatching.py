"""Between the calls of a router and the scheduler: who waits, who runs, and when that is decided.

Whatever happens in one turn of the loop, calls that come or end, engines too, is followed by one
decision at its end. A slow pulse does what waiting alone changes: engines that have not been heard
of, answers that do not come, calls that have become due.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from parrotc.runtime.core.calls import Call, close_stream, task_of
from parrotc.runtime.core.logical import Node
from parrotc.runtime.core.registry import Registry, RouterLimits
from parrotc.runtime.engines.protocol import EngineError
from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.scheduling.scheduler import Scheduler
from parrotc.runtime.scheduling.tasks import Failed, Reason, Refused

PULSE = 0.5  # seconds
AT_ONCE = 64  # calls that are placed in one turn of the loop: others want to have one too
_CODES = {
    Reason.UNKNOWN_MODEL: "unavailable",
    Reason.NO_ENGINE: "unavailable",
    Reason.NEVER_FITS: "capacity",
    Reason.TENANT_QUEUE_FULL: "busy",
    Reason.QUEUE_FULL: "busy",
    Reason.DUPLICATE: "internal",
    Reason.POISON: "poison",
}


class Dispatcher:
    """`calls` are those that the scheduler knows of, by their ids."""

    def __init__(
        self,
        model: str,
        tokenizer: Any,
        config: SchedulerConfig | None,
        limits: RouterLimits,
        clock: Callable[[], float],
    ) -> None:
        self.scheduler = Scheduler(config)
        self.registry = Registry(model, tokenizer, self.scheduler, limits, clock, self._lost)
        self.calls: dict[str, Call] = {}
        self.retries = 0
        self._model, self._limits, self._clock = model, limits, clock
        self._pulse: asyncio.TimerHandle | None = None
        self._is_woken = self._is_closed = False

    # --- calls ---

    def submit(self, call: Call) -> None:
        """Let a call wait for its engine. Raises `EngineError` for one that may not, or never can
        have one."""
        task = task_of(call, self._model, self.registry.longest)
        try:
            self.scheduler.submit(task, self._clock())
        except Refused as refused:
            raise EngineError(_CODES[refused.reason], refused.message) from None
        self.calls[call.id] = call
        self.wake()

    def withdraw(self, call: Call) -> None:
        """Take a call out, if it is here."""
        if self.calls.pop(call.id, None) is not None:
            self.scheduler.cancel(call.id, self._clock())
            self._left(call)

    def finish(self, call: Call, seconds: float) -> None:
        """A call has ended well, after `seconds` of its engine."""
        del self.calls[call.id]
        self.scheduler.finish(call.id, self._clock(), seconds=seconds)
        self._left(call)

    def running_on(self, name: str) -> Iterator[Call]:
        return (self.calls[id] for id in self.scheduler.running_on(name))

    def _left(self, call: Call) -> None:
        if call.member is not None:
            self.registry.left(call.member)
        self.wake()

    def _lost(self, running: Sequence[str], failed: Sequence[Failed]) -> None:
        """The engine of `running` has gone: they wait again, but for those that `failed`."""
        for id in running:
            self.retries += 1
            stream = self.calls[id].take_back()
            if stream is not None:
                self.registry.spawn(close_stream(stream, self._limits.ping))
        for each in failed:
            self._fail(each)
        self.wake()

    def _fail(self, failed: Failed) -> None:
        call = self.calls.pop(failed.task.id)
        call.fail(EngineError(_CODES[failed.reason], failed.message))

    # --- decisions ---

    def wake(self) -> None:
        """Decide at the end of this turn of the loop, once for all that happens in it."""
        if not self._is_woken and not self._is_closed:
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._decide)

    def _decide(self) -> None:
        self._is_woken = False
        decisions = self.scheduler.schedule(self._clock(), AT_ONCE)
        if decisions.more:
            self.wake()
        for dispatch in decisions.dispatched:
            member = self.registry.members[dispatch.engine]
            self.calls[dispatch.task.id].place(member, dispatch)
        for failed in decisions.failed:
            self._fail(failed)
        if (
            self._pulse is None
            and not self._is_closed
            and (self.calls or self.registry.is_watching)
        ):
            self._pulse = asyncio.get_running_loop().call_later(PULSE, self._beat)

    def _beat(self) -> None:
        self._pulse = None
        self.registry.expire()
        now = loop_time()
        for call in self.calls.values():
            if call.wait is not None and now - call.since > self._limits.silence:
                call.interrupt()
        self.wake()

    # --- where prefixes are ---

    def learn(self, node: Node) -> None:
        """Tell the scheduler where a sequence is."""
        for name in node.places:
            if self.scheduler.has_engine(name):
                self.scheduler.learn_prefix(name, node.chain())

    def forget(self, name: str, nodes: Iterable[Node]) -> None:
        """Tell the scheduler that an engine has these no more."""
        if self.scheduler.has_engine(name):
            self.scheduler.forget_prefixes(name, [node.prefix.digest for node in nodes])

    async def close(self, error: EngineError) -> None:
        """Let all calls end with `error`, and all engines go."""
        self._is_closed = True
        if self._pulse is not None:
            self._pulse.cancel()
        await self.registry.close()
        for call in self.calls.values():
            call.fail(error)


def loop_time() -> float:
    return asyncio.get_running_loop().time()
