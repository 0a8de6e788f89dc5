"""What plans say of the future of contexts, on a clock that is the engine's own: its generations.

    outlooks.begin(sequence, next_use=10)   about every tenth generation goes on from it
    outlooks.used(sequence)                 one does; the next is ten generations away
    outlooks.end(sequence, dead=True)       its name is gone, and nobody will fill it again

Programs know the order of things, not their times. With several at work the clock runs faster than
each of them thinks, so what is said to come soon counts for less, and nothing else goes wrong.

A pin lasts until the context is freed. One tenant can pin a part of the memory; what is more is
treated as if nobody had asked, so that nobody's pins are all there is.
"""

from collections import Counter

from parrotc.runtime.engines.embedded.contexts import Sequence
from parrotc.runtime.engines.embedded.memory import Memory
from parrotc.runtime.engines.embedded.prefixes import Future, Outlook, Use

_PINNED = 2  # a tenant may pin one part in so many of the memory


class Outlooks:
    """Keeps the uses of sequences up to date. `pinned` are tokens, by the salts of tenants."""

    def __init__(self, memory: Memory) -> None:
        self.pinned: Counter[str] = Counter()
        self._clock = memory.prefixes
        self._room = memory.capacity // _PINNED

    def begin(self, sequence: Sequence, next_use: float | None, pinned: bool) -> None:
        """A context is made, with what its request says of it."""
        tokens = len(sequence.ids)
        pinned = pinned and self.pinned[sequence.salt] + tokens <= self._room
        if pinned:
            self.pinned[sequence.salt] += tokens
        sequence.outlook = Outlook(next_use, pinned)
        self.used(sequence)

    def used(self, sequence: Sequence | None) -> None:
        """Somebody goes on from it, and so from all that is above."""
        while sequence is not None:
            if sequence.outlook.is_told:
                sequence.use = sequence.outlook.use(self._clock.now)
            sequence = sequence.parent

    def generated(self) -> None:
        """The clock goes on."""
        self._clock.now += 1

    def end(self, sequence: Sequence, dead: bool) -> None:
        """A context is freed. `dead`: the plan knows that nobody will use its tokens again."""
        outlook = sequence.outlook
        if outlook.is_pinned:
            self.pinned[sequence.salt] -= len(sequence.ids)
            sequence.outlook = Outlook(outlook.every)
            sequence.use = sequence.outlook.use(self._clock.now)
        if dead:
            sequence.outlook, sequence.use = Outlook(), Use(Future.DEAD)
