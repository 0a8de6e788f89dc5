"""The prefix cache: full blocks by the content of everything up to their end.

    prefixes.register(block, digest, before)     the block holds what `digest` names
    prefixes.find(digest)                        → the block that does
    prefixes.rest(block)                         nobody holds it: it stays until it is evicted
    prefixes.evict()                             → the resting block that is missed least

A digest is chained, so it names all tokens from the first on, and equal prefixes of different
plans, sessions and users are found, within one tenant's salt. Only a block that no other one
continues may go: what is left of a prompt is then always its beginning.

The order of eviction: what a plan says is dead, then what nobody knows anything of (least recently
used first), then what is known to be used again (the latest first: Bélády's rule, which for equal
prefixes used in a cycle hits (C - 1) / (N - 1) where LRU hits nothing), then what is pinned. A
known use that is late by half of the time it was said to take is known no more.
"""

import heapq
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b
from math import inf

Digest = bytes


def seed(salt: str) -> Digest:
    """The digest before the first block, for one tenant."""
    return blake2b(salt.encode(), digest_size=16).digest()


def digest(before: Digest, ids: Sequence[int]) -> Digest:
    """The digest after one more block."""
    return blake2b(before + array("q", ids).tobytes(), digest_size=16).digest()


class Future(IntEnum):
    """What is known of a block's next use, in the order of eviction."""

    DEAD = 0
    UNKNOWN = 1
    KNOWN = 2
    PINNED = 3


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """When a block is used next: the greater one is missed more. `soon` is minus the time of it,
    and a known use that has not come at `until` is not believed any more. The times are those of
    `Prefixes.now`."""

    future: Future = Future.UNKNOWN
    soon: float = -inf
    until: float = field(default=inf, compare=False)

    def at(self, now: float) -> "Use":
        """What is left of it at a time."""
        return UNKNOWN if self.future is Future.KNOWN and self.until <= now else self


UNKNOWN, MOST = Use(), Use(Future.PINNED, inf)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a plan says of a sequence: it is used about `every` so many units of time."""

    every: float | None = None
    is_pinned: bool = False

    @property
    def is_told(self) -> bool:
        return self.is_pinned or self.every is not None

    def use(self, now: float) -> Use:
        """When it is used next, if it is being used now."""
        due = inf if self.every is None else now + self.every
        if self.is_pinned:
            return Use(Future.PINNED, -due)
        return UNKNOWN if self.every is None else Use(Future.KNOWN, -due, due + self.every / 2)


class _Entry:
    __slots__ = ("before", "block", "children", "digest", "is_resting", "offer", "tick", "use")

    def __init__(self, block: int, digest: Digest, before: "_Entry | None") -> None:
        self.block = block
        self.digest = digest
        self.before = before
        self.children = 0
        self.use: Use | None = None  # None: nobody has let go of it yet
        self.is_resting = False
        self.tick = 0  # when it was left
        self.offer = 0  # the number of its latest place among the candidates


class Prefixes:
    """Blocks are told by number; who holds them is counted elsewhere."""

    def __init__(self) -> None:
        self.now = 0  # a clock; whoever says when things are used lets it go on
        self.resting = 0  # how many nobody holds
        self.evictions = 0
        self._by_digest: dict[Digest, _Entry] = {}
        self._by_block: dict[int, _Entry] = {}
        # candidates, the first to go on top; an entry that changed since is skipped
        self._heap: list[tuple[Use, int, int, _Entry]] = []
        self._ends: list[tuple[float, int, _Entry]] = []  # of what is believed of candidates
        self._ticks = self._offers = 0

    def __contains__(self, block: int) -> bool:
        return block in self._by_block

    def is_leaf(self, block: int) -> bool:
        """Whether the block is known and no other one continues it."""
        return block in self._by_block and not self._by_block[block].children

    def find(self, digest: Digest) -> int | None:
        entry = self._by_digest.get(digest)
        return entry.block if entry else None

    def register(self, block: int, digest: Digest, before: Digest | None) -> None:
        """Say what a held block holds, which no other one does; `before` is the digest without it,
        None for the first. Whoever holds a block must hold the known one before it as well."""
        entry_before = self._by_digest[before] if before is not None else None
        entry = _Entry(block, digest, entry_before)
        self._by_digest[digest] = self._by_block[block] = entry
        if entry_before:
            entry_before.children += 1

    def note(self, block: int, use: Use) -> None:
        """One holder lets go and says when the block is used next; the soonest use counts."""
        entry = self._by_block[block]
        entry.use = use if entry.use is None else max(entry.use, use)

    def rest(self, block: int) -> None:
        """The last holder has let go."""
        entry = self._by_block[block]
        entry.is_resting = True
        self.resting += 1
        self._ticks += 1
        entry.tick = self._ticks
        self._offer(entry)

    def wake(self, block: int) -> None:
        """A resting block is held again; what was said of its next use is over."""
        entry = self._by_block[block]
        entry.is_resting = False
        entry.use = None
        self.resting -= 1

    def evict(self, most: Use = MOST) -> int | None:
        """Forget the resting block that is missed least and return it, or None if there is none,
        or none that is missed as much as `most` or less."""
        self._expire()
        while self._heap:
            use, _, _, entry = self._heap[0]
            if not self._is_current(*self._heap[0][2:]):
                heapq.heappop(self._heap)
                continue
            if use > most:
                return None
            heapq.heappop(self._heap)
            self.evictions += 1
            self.forget(entry.block)
            return entry.block
        return None

    def forget(self, block: int) -> None:
        """The block is no longer what it was said to be. What continues it must go first."""
        entry = self._by_block.pop(block)
        assert not entry.children, "a block that others continue is forgotten"
        del self._by_digest[entry.digest]
        self.resting -= entry.is_resting
        entry.is_resting = False
        if entry.before:
            entry.before.children -= 1
            self._offer(entry.before)

    def _offer(self, entry: _Entry) -> None:
        """Put an entry among the candidates if it is one."""
        if entry.is_resting and not entry.children:
            self._offers += 1
            entry.offer = self._offers
            use = entry.use or UNKNOWN
            heapq.heappush(self._heap, (use, entry.tick, entry.offer, entry))
            if use.until < inf:
                heapq.heappush(self._ends, (use.until, entry.offer, entry))
        if len(self._heap) > 64 + 4 * len(self._by_block):
            self._heap = [one for one in self._heap if self._is_current(*one[2:])]
            self._ends = [one for one in self._ends if self._is_current(*one[1:])]
            heapq.heapify(self._heap)
            heapq.heapify(self._ends)

    def _expire(self) -> None:
        """Believe no longer what should have come by now."""
        while self._ends and self._ends[0][0] <= self.now:
            _, offer, entry = heapq.heappop(self._ends)
            if self._is_current(offer, entry):
                entry.use = None
                self._offer(entry)

    def _is_current(self, offer: int, entry: _Entry) -> bool:
        return entry.is_resting and not entry.children and entry.offer == offer
