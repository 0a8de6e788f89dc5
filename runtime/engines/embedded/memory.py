"""Who has which blocks: tables are given to sequences at work and taken back.

    memory.share(sequence, limit)     what others have computed of it
    memory.reserve(sequence, end)     room to write more; False: somebody must give way
    memory.advance(sequence, count)   it will be written in the step that is being made
    memory.settle(sequence)           it is at rest, and keeps its table while there is room
    memory.release(sequence)          its table is taken; full blocks stay in the prefix cache

A block that others hold, or that the cache knows, is copied before it is written. A table is never
taken from a sequence at work: who gives way is the scheduler's choice. Sequences at rest lose
theirs when they are missed less than all that is cached, and are computed again when somebody goes
on from them.
"""

from itertools import islice

from parrotc.runtime.engines.embedded.contexts import Sequence
from parrotc.runtime.engines.embedded.pages import Pool
from parrotc.runtime.engines.embedded.prefixes import MOST, UNKNOWN, Future, Prefixes, Use


class Memory:
    """A sequence is at work from `share` until `settle` or `release`.

    `copies` are whole blocks to be copied, `(source, target)`, in the step that is being made. A
    source may be written in that very step, by a sequence that comes before: `steps.py`.
    """

    def __init__(self, blocks: int, block: int) -> None:
        self.block = block
        self.pool = Pool(blocks)
        self.prefixes = Prefixes()
        self.copies: list[tuple[int, int]] = []
        self.found = 0  # own tokens of sequences that the cache had
        self._workers = [0] * blocks  # how many sequences at work hold the block
        self._busy = 0  # blocks with workers
        self._settled: dict[Sequence, None] = {}  # at rest, with tables; least recently used first
        # of the step that is being made: blocks that were registered in it, and blocks that turned
        # out to have the content of another one, at a place of a sequence's table
        self._fresh: list[int] = []
        self._twins: list[tuple[Sequence, int, int]] = []

    @property
    def available(self) -> int:
        """The blocks that can be had without taking any from a sequence at work."""
        return self.pool.size - self._busy

    @property
    def capacity(self) -> int:
        """The most tokens that one sequence can have."""
        return self.pool.size * self.block

    # --- a sequence at work ---

    def share(self, sequence: Sequence, limit: int) -> None:
        """Give it what is there of its first `limit` tokens: computed before, by whomever.

        From the cache come full blocks; from a parent, or one above, also the last partial one.
        """
        found = self.cached(sequence, limit)
        computed = len(found) * self.block
        above = sequence.parent
        while above is not None and above.end > computed:
            known = min(above.computed, limit)
            if known > computed:
                computed = known
                found = above.table[: self._blocks(known)]
                self._touch(above)
                break
            above = above.parent
        for block in found:
            self._hold(block)
        sequence.table = list(found)
        sequence.computed = computed
        self.found += max(0, computed - sequence.start)

    def cached(self, sequence: Sequence, limit: int) -> list[int]:
        """The blocks that the cache has of its first `limit` tokens."""
        blocks = []
        for name in islice(sequence.digests(self.block), limit // self.block):
            block = self.prefixes.find(name)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def reserve(self, sequence: Sequence, end: int) -> bool:
        """Make room to write its tokens from `computed` up to `end`. False, and nothing is done,
        if too few blocks are available."""
        if sequence.computed >= end:
            return True
        at = sequence.computed // self.block
        table = sequence.table
        shared = at < len(table) and not self._is_own(table[at])
        more = max(0, self._blocks(end) - len(table))
        if shared and more + 1 > self.available:
            shared = not self._claim(table[at])
        if not more + shared:  # nearly every step of a generation
            return True
        new = self._take(more + shared, after=table[-1] if table else -1)
        if new is None:
            return False
        if shared:
            self.copies.append((table[at], new[0]))
            self._let_go(table[at])
            table[at] = new.pop(0)
        table += new
        return True

    def advance(self, sequence: Sequence, count: int) -> None:
        """`count` more of its tokens are computed in the step that is being made. What is full now
        can be shared in this very step."""
        first, sequence.computed = sequence.computed, sequence.computed + count
        digests = sequence.digests(self.block)
        for at in range(first // self.block, sequence.computed // self.block):
            block, known = sequence.table[at], self.prefixes.find(digests[at])
            if known is None:
                self.prefixes.register(block, digests[at], digests[at - 1] if at else None)
                self._fresh.append(block)
            else:  # two said the same: this one goes on with the other's block, after the step
                self._hold(known)
                self._twins.append((sequence, at, known))

    def settle(self, sequence: Sequence) -> None:
        """It is at rest: its table may be taken if nothing else is left. Tokens that it was cut by
        are no longer computed."""
        sequence.computed = min(sequence.computed, sequence.end)
        last = self._blocks(sequence.computed)
        for block in sequence.table:
            self._work(block, -1)
        while len(sequence.table) > last:
            self._drop_last(sequence)
        if sequence.table:
            self._settled[sequence] = None

    def release(self, sequence: Sequence) -> None:
        """Take its table, whether it is at work or at rest. Full blocks stay in the cache until
        they are evicted."""
        if sequence in self._settled:
            del self._settled[sequence]
        else:
            for block in sequence.table:
                self._work(block, -1)
        while sequence.table:
            self._drop_last(sequence)
        sequence.computed = 0

    # --- the step ---

    def confirm(self) -> None:
        """The step was computed: its blocks hold what they are registered to hold."""
        for sequence, at, known in self._twins:
            own, sequence.table[at] = sequence.table[at], known
            self._let_go(own)
        self._twins.clear()
        self._fresh.clear()

    def retract(self) -> None:
        """The step was not computed. Its sequences must be released after this."""
        for _, _, known in self._twins:
            self._let_go(known)
        for block in reversed(self._fresh):
            self.prefixes.forget(block)
        self._twins.clear()
        self._fresh.clear()

    # --- blocks ---

    def fits(self, tokens: int) -> bool:
        """Whether a sequence of so many tokens can be held when nothing else is."""
        return tokens <= self.capacity

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.block)

    def _is_own(self, block: int) -> bool:
        """Whether the one who asks, and holds it, may write it."""
        return self.pool.holders[block] == 1 and block not in self.prefixes

    def _claim(self, block: int) -> bool:
        """Make a block one's own where there is no room for a copy: take it from sequences at rest,
        and let the cache forget it."""
        for other in [one for one in self._settled if block in one.table]:
            self.release(other)
        if self.pool.holders[block] == 1 and self.prefixes.is_leaf(block):
            self.prefixes.forget(block)
        return self._is_own(block)

    def _take(self, count: int, after: int) -> list[int] | None:
        if count > self.available:
            return None
        while self.pool.count < count:
            self._make_room()
        blocks = self.pool.take(count, after)
        for block in blocks:
            self._work(block, 1)
        return blocks

    def _make_room(self) -> None:
        """Evict a block, or take the table of a sequence at rest: whichever is missed least, and
        the block where nothing tells them apart."""
        block = self.prefixes.evict(UNKNOWN)
        if block is None:
            victim = self._least_missed()
            block = self.prefixes.evict(
                MOST if victim is None else victim.use.at(self.prefixes.now)
            )
            if block is None:
                assert victim is not None, "blocks are available, and nobody has them"
                self.release(victim)
                return
        self.pool.free(block)

    def _least_missed(self) -> Sequence | None:
        """The sequence at rest that is missed least, least recently used first; none whose blocks
        others hold as well, unless there is no other: taking its table gives nothing."""
        now, holders = self.prefixes.now, self.pool.holders
        return min(
            self._settled,
            key=lambda one: (holders[one.table[-1]] > 1, one.use.at(now)),
            default=None,
        )

    def _touch(self, sequence: Sequence) -> None:
        if sequence in self._settled:
            del self._settled[sequence]
            self._settled[sequence] = None

    def _hold(self, block: int) -> None:
        if self.pool.holders[block] == 0:
            self.prefixes.wake(block)
        self.pool.hold((block,))
        self._work(block, 1)

    def _let_go(self, block: int) -> None:
        self._work(block, -1)
        self._drop(block)

    def _work(self, block: int, workers: int) -> None:
        """`workers` more sequences at work hold the block: 1 or -1."""
        was_busy = self._workers[block] > 0
        self._workers[block] += workers
        self._busy += (self._workers[block] > 0) - was_busy

    def _drop_last(self, sequence: Sequence) -> None:
        """Let go of the last block of a table, with what is known of the use of its tokens."""
        block = sequence.table.pop()
        if block in self.prefixes:
            use = self._use(sequence, len(sequence.table))
            if use is not None:
                self.prefixes.note(block, use)
        self._drop(block)

    def _use(self, sequence: Sequence, at: int) -> Use | None:
        """What a sequence says of the next use of its block number `at`. A next use that is known
        holds for all of its blocks; that it has none, or that nobody knows, only for its own ones.
        Of the others it says what is known of whoever they belong to, who may have lost them."""
        owner = sequence
        while owner.parent is not None and at < owner.start // self.block:
            owner = owner.parent
        if owner is sequence or sequence.use.future > Future.UNKNOWN:
            return sequence.use
        return owner.use if owner.use.future is Future.KNOWN and not owner.table else None

    def _drop(self, block: int) -> None:
        if self.pool.drop(block):
            if block in self.prefixes:
                self.prefixes.rest(block)
            else:
                self.pool.free(block)
