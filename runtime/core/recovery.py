"""What is done about a call that its engine has not brought to an end.

    too large for this engine   ──▶  room is made there, once; else another engine, at once
    refused for what it asks    ──▶  its caller is told
    anything else               ──▶  tried again after a pause, elsewhere if that can be, so often

Its tokens are known, so whoever has it next goes on where it was.
"""

import asyncio
from collections.abc import Callable

from parrotc.runtime.core.calls import Call
from parrotc.runtime.core.dispatching import Dispatcher
from parrotc.runtime.core.members import REFUSALS, Member
from parrotc.runtime.core.registry import RouterLimits
from parrotc.runtime.engines.protocol import EngineError

TOO_LARGE = frozenset({"capacity", "context_length"})  # for an engine: another may be larger


class Recovery:
    """`submit` lets a call wait for an engine again, or raises `EngineError`."""

    def __init__(
        self, dispatcher: Dispatcher, limits: RouterLimits, submit: Callable[[Call], None]
    ) -> None:
        self._dispatcher, self._limits, self._submit = dispatcher, limits, submit

    async def meet(self, call: Call, member: Member, fault: Exception) -> None:
        """Try again after `fault`, here or elsewhere, or raise what the caller is to hear."""
        code = fault.code if isinstance(fault, EngineError) else "internal"
        turn = call.turn
        if code == "capacity" and await self._made_room(call, member):
            call.told.begin_again()
            return
        if call.turn != turn:
            return
        if code in TOO_LARGE:
            self._go_elsewhere(call, member, fault)
            return
        if code in REFUSALS:
            raise fault
        call.faults += 1
        if call.faults >= self._limits.attempts:
            if self._limits.attempts == 1:
                raise fault
            words = str(fault) or type(fault).__name__
            raise EngineError(
                code, f"{call.faults} attempts failed, the last on {member.name}: {words}"
            )
        if code == "unknown_context":  # it was started anew, and nobody told us
            self._dispatcher.forget(member.name, member.lose_all())
        elif code != "busy":
            await self._dispatcher.registry.check(member, fault)
        if call.turn == turn:
            await self._again(call, member)

    def _go_elsewhere(self, call: Call, member: Member, fault: Exception) -> None:
        """Let a call that is too large for `member` wait for another engine. Raises `fault` where
        that was the last that could have had it."""
        call.refused |= {member.name}
        call.made_room = False
        self._take_back(call)
        try:
            self._submit(call)
        except EngineError as error:
            raise fault if error.code == "capacity" else error from None

    async def _again(self, call: Call, member: Member) -> None:
        """Let a call wait for an engine once more, after a pause."""
        call.avoid |= {member.name}
        self._take_back(call)
        await asyncio.sleep(self._limits.pause(call.faults))
        self._submit(call)

    def _take_back(self, call: Call) -> None:
        self._dispatcher.retries += 1
        self._dispatcher.withdraw(call)
        call.take_back()

    async def _made_room(self, call: Call, member: Member) -> bool:
        """Free what nobody reads on an engine that is full, once for each call there."""
        if call.made_room:
            return False
        call.made_room = True
        running = self._dispatcher.running_on(member.name)
        freed = await member.make_room({node for other in running for node in other.node.path()})
        self._dispatcher.forget(member.name, freed)
        return bool(freed)
