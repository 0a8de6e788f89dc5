"""What one run asks for beyond what its plan says of every run, and what it remembers."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from parrotc.ir.types import Json
from parrotc.runtime.engines.protocol import NO_HINTS, Finished, Hints, Sampling
from parrotc.runtime.errors import Failed
from parrotc.runtime.goals import Goal
from parrotc.runtime.plan import NativeDecl

Path = tuple[int, ...]  # iteration and attempt numbers, outermost first


class Memory(Protocol):
    """What was finished, by its place in the plan and the iteration it was in.

    A run that is begun again with the memory of one that was cut off goes on where that one was: it
    takes what it finds, and makes the rest. The run goes on when what it tells is kept.
    """

    def generation(self, site: str, path: Path, prompt: bytes) -> Finished | None:
        """What the generation of this prompt (the digest of its tokens) gave, if it ended."""
        ...

    async def keep_generation(
        self, site: str, path: Path, prompt: bytes, finished: Finished
    ) -> None: ...

    def native(self, place: str, path: Path, native: NativeDecl) -> "Ran | None":
        """How a native ended. Raises `Failed` for one that may have run and may not run twice."""
        ...

    async def begin_native(self, place: str, path: Path, native: NativeDecl) -> None: ...

    async def keep_native(self, place: str, path: Path, ran: "Ran") -> None: ...


@dataclass(frozen=True, slots=True)
class Ran:
    """The end of a native: its value, or why it has none."""

    value: Json = None
    failed: Failed | None = None


async def once(
    memory: Memory, place: str, path: Path, native: NativeDecl, run: Callable[[], Awaitable[Json]]
) -> Json:
    """What a native gave before, where that is remembered, or gives now. Raises `Failed`."""
    ran = memory.native(place, path, native)
    if ran is None:
        await memory.begin_native(place, path, native)
        try:
            ran = Ran(await run())
        except Failed as failed:
            ran = Ran(failed=failed)
        await memory.keep_native(place, path, ran)
    if ran.failed is not None:
        raise ran.failed
    return ran.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """`hints` are those of the whole run, to which a generation adds its place in it; `goal`, if
    there is one, replaces what the plan says its result is asked for. `after` are the estimated
    seconds of what waits for the result. `samplings` replace, by site, how a plan draws; the key
    of the draws stays. `seeds` replace the run's seed, by site, and what the site is called in
    that key."""

    hints: Hints = NO_HINTS
    goal: Goal | None = None
    after: float = 0.0
    samplings: Mapping[str, Sampling] = field(default_factory=dict)
    seeds: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    memory: Memory | None = None


PLAIN = Terms()
