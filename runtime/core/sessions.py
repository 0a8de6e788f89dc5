"""Sessions: random names and random tokens, of which only the hash is kept.

A session is found by its id and its token together. Whatever is wrong with the pair, the answer is
the same and takes the same time, so nobody learns which sessions there are.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_bytes, token_urlsafe

from parrotc.runtime.core.config import CoreConfig
from parrotc.runtime.core.errors import Busy, NotFound
from parrotc.runtime.core.limits import Allowance
from parrotc.runtime.core.tenants import Tenant, digest

Clock = Callable[[], float]  # Unix time: a session outlives the process where there is a journal

_NOBODY = token_bytes(32)  # what the token of no session is compared with


@dataclass(frozen=True, slots=True)
class Session:
    """`expires` is Unix time. Keep one no longer than a request: it may be closed at any time."""

    id: str
    tenant: Tenant
    expires: float
    token_hash: bytes


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A new session. `token` (256 random bits) is told this once."""

    id: str
    token: str
    expires: float


class Sessions:
    """All that are open. A tenant has no more than its part of them."""

    def __init__(self, config: CoreConfig, clock: Clock) -> None:
        self._life_span = config.session_life_span
        self._most = config.max_sessions_num
        self._clock = clock
        self._open: dict[str, Session] = {}
        self._of_tenants = Allowance(config.max_tenant_sessions_num, "sessions are open")

    def __len__(self) -> int:
        return len(self._open)

    def open(self, tenant: Tenant) -> OpenedSession:
        """Raises `Busy` when there are as many as there may be."""
        if len(self._open) >= self._most:
            raise Busy(f"there are {self._most:,} sessions already", "close one, or try later")
        self._of_tenants.take(tenant.name)
        token = token_urlsafe(32)
        expires = self._clock() + self._life_span
        session = Session(f"s-{token_urlsafe(12)}", tenant, expires, digest(token))
        self._open[session.id] = session
        return OpenedSession(session.id, token, expires)

    def find(self, session_id: str, token: str) -> Session:
        """Raises `NotFound` unless the two belong together and the session is open."""
        session = self._open.get(session_id)
        is_right = hmac.compare_digest(session.token_hash if session else _NOBODY, digest(token))
        if session is None or not is_right or session.expires <= self._clock():
            raise NotFound("there is no such session, or the token is not its")
        return session

    def restore(self, session: Session) -> None:
        """Put back one that was open when the process ended."""
        self._of_tenants.take(session.tenant.name)
        self._open[session.id] = session

    def close(self, session_id: str) -> Session | None:
        session = self._open.pop(session_id, None)
        if session is not None:
            self._of_tenants.give(session.tenant.name)
        return session

    def expired(self) -> list[Session]:
        """Those whose time is over; they are still to be closed."""
        now = self._clock()
        return [session for session in self._open.values() if session.expires <= now]
