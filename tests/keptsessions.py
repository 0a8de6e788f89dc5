"""Sessions that are kept, for tests: opened, found again, and counted in the journal."""

import sqlite3
from contextlib import closing

from parrotc.runtime.core.core import ServeCore
from parrotc.runtime.core.sessions import OpenedSession, Session

TABLES = ("sessions", "variables", "calls", "generations", "natives")


def rows(journal: str) -> dict[str, int]:
    """How many there are in each table, of a journal that no core has open."""
    with closing(sqlite3.connect(journal)) as database:
        count = "select count(*) from {}"
        return {t: database.execute(count.format(t)).fetchone()[0] for t in TABLES}


def nothing(journal: str) -> bool:
    return not any(rows(journal).values())


async def opened(core: ServeCore) -> OpenedSession:
    return await core.open_session(core.tenant(None))


def of(core: ServeCore, one: OpenedSession) -> Session:
    return core.session(one.id, one.token)
