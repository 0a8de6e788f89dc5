"""Which prefixes an engine holds: those that running calls read, and those kept for later.

    acquire ──▶ read (counted) ──release──▶ kept (least recently used first) ──▶ forgotten

Calls name whole chains, and a chain's nodes are kept in such an order that a child is forgotten
before its parent. So what is there of a chain is always its beginning.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from parrotc.runtime.scheduling.tasks import Digest, PrefixNode

Chain = Sequence[PrefixNode]


class Resident:
    """The prefixes of one engine. `read` maps a digest to the number of its readers."""

    __slots__ = ("kept", "kept_tokens", "most", "read")

    def __init__(self, most: int) -> None:
        self.read: dict[Digest, int] = {}
        self.kept: OrderedDict[Digest, int] = OrderedDict()
        self.kept_tokens = 0
        self.most = most

    def __contains__(self, digest: Digest) -> bool:
        return digest in self.read or digest in self.kept

    def missing(self, chain: Chain) -> int:
        """Tokens of `chain` that would have to be filled."""
        missing = 0
        for digest, tokens in chain:  # a loop, since this runs for every engine looked at
            if digest not in self.read and digest not in self.kept:
                missing += tokens
        return missing

    def unread(self, chain: Chain) -> int:
        """Tokens of `chain` that no running call reads."""
        unread = 0
        for digest, tokens in chain:
            if digest not in self.read:
                unread += tokens
        return unread

    def acquire(self, chain: Chain) -> list[Digest]:
        """One more reader. Gives the digests that were not here before."""
        new = []
        for digest, _ in chain:
            readers = self.read.get(digest, 0)
            self.read[digest] = readers + 1
            if not readers:
                tokens = self.kept.pop(digest, None)
                if tokens is None:
                    new.append(digest)
                else:
                    self.kept_tokens -= tokens
        return new

    def release(self, chain: Chain) -> None:
        """One reader less; what nobody reads any more is kept, as the most recently used."""
        for digest, tokens in reversed(chain):  # parents last, so that they are forgotten last
            readers = self.read[digest] - 1
            if readers:
                self.read[digest] = readers
            else:
                del self.read[digest]
                self._keep(digest, tokens)

    def learn(self, chain: Chain) -> list[Digest]:
        """Keep a chain that the engine says it has. Gives the digests that are new."""
        new = [digest for digest, _ in chain if digest not in self]
        for digest, tokens in reversed(chain):
            if digest in self.kept:
                self.kept.move_to_end(digest)
            elif digest not in self.read:
                self._keep(digest, tokens)
        return new

    def _keep(self, digest: Digest, tokens: int) -> None:
        self.kept[digest] = tokens
        self.kept_tokens += tokens

    def shrink(self, tokens: float) -> list[Digest]:
        """Forget until no more than `tokens`, in `most` nodes, are kept. Gives what went."""
        gone = []
        while self.kept and (self.kept_tokens > tokens or len(self.kept) > self.most):
            digest, size = self.kept.popitem(last=False)
            self.kept_tokens -= size
            gone.append(digest)
        return gone

    def forget(self, digests: Iterable[Digest]) -> list[Digest]:
        """Drop what the engine says it has dropped, unless it is being read. Gives what went."""
        gone = [digest for digest in digests if digest in self.kept]
        for digest in gone:
            self.kept_tokens -= self.kept.pop(digest)
        return gone
