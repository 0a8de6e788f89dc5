"""Which of several servers a call goes to, and when: calls that share a prefix go to one of them.

    rendezvous order of the prefix:   b  c  a        b, unless it is far above its share; then c

The first call with a long prefix goes ahead, and the others follow when it begins to answer: then
the server has read the prefix, and reads it once.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import blake2b

from parrotc.runtime.engines.openai.limits import Clock

WARM = 1024  # characters of a prefix that are worth waiting for
PATIENCE = 10.0  # seconds: no call waits longer for another to go ahead
_SLACK = 1.25  # of its share of the calls that a server may have
_REST = 5.0  # seconds that a server that failed is passed over
_MEMORY = 4096  # prefixes that are known to have been read


@dataclass(eq=False, slots=True)
class Server:
    """`running` are the calls it has; `down_until` is when it is tried again."""

    url: str
    running: int = 0
    down_until: float = 0.0
    name: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.url.encode()


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a call shares with others: the digest of the text, and its length in characters."""

    digest: bytes
    length: int
    is_shared: bool


class Router:
    """The servers of one endpoint."""

    def __init__(self, urls: Sequence[str], clock: Clock = time.monotonic) -> None:
        self.servers = [Server(url) for url in urls]
        self._clock = clock
        self._read: OrderedDict[tuple[str, bytes], asyncio.Event] = OrderedDict()

    def order(self, digest: bytes) -> list[Server]:
        """The servers, best first: the same for one prefix, in every process, and with one server
        less the same but for that one."""
        return sorted(
            self.servers,
            key=lambda one: blake2b(one.name + digest, digest_size=8).digest(),
            reverse=True,
        )

    def pick(self, digest: bytes) -> Server:
        """The first in order that is up and has room; if none is up, the one that is soonest."""
        now = self._clock()
        up = [one for one in self.order(digest) if one.down_until <= now]
        if not up:
            return min(self.servers, key=lambda one: one.down_until)
        most = math.ceil(_SLACK * (sum(one.running for one in up) + 1) / len(up))
        return next(one for one in up if one.running < most)

    def failed(self, server: Server) -> None:
        """The server did not answer: others first, for a while."""
        server.down_until = self._clock() + _REST

    @asynccontextmanager
    async def turn(self, server: Server, prefix: Prefix) -> AsyncIterator[Callable[[], None]]:
        """A call on a server; it says so when the answer begins."""
        server.running += 1
        key = (server.url, prefix.digest)
        leads, read = self._entry(key, prefix)
        try:
            if not leads:
                await _patiently(read)
            yield read.set
        finally:
            server.running -= 1
            if leads and not read.is_set():  # it failed: a later call goes ahead
                self._read.pop(key, None)
            read.set()

    def _entry(self, key: tuple[str, bytes], prefix: Prefix) -> tuple[bool, asyncio.Event]:
        """Whether a call goes ahead of others, and what is set when its answer begins."""
        if not prefix.is_shared or prefix.length < WARM:
            return True, asyncio.Event()
        known = self._read.get(key)
        if known is not None:
            self._read.move_to_end(key)
            return False, known
        self._read[key] = asyncio.Event()
        if len(self._read) > _MEMORY:
            self._read.popitem(last=False)[1].set()
        return True, self._read[key]


async def _patiently(read: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await read.wait()
    except TimeoutError:
        pass  # it was only to save work
