"""What a core keeps over its end, however sudden: sessions, plans, runs, and what they have made.

    journal = await Journal.open(Path("runs.db"))
    await journal.write(("insert into …", (…,)))     # durable when this returns
    rows = await journal.read("select …")

SQLite in WAL mode, on a thread of its own: the event loop never waits for a disk. Writes that come
while others are being committed are committed together, so many at once cost little more than one.
A process that is killed loses nothing that was written; a machine that loses its power may lose
the last moments (`synchronous = normal`), and is never left with half of anything.
"""

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parrotc.ir.diagnostic import Diagnostic
from parrotc.runtime.core.errors import Unavailable
from parrotc.runtime.engines.configfile import CODE, ConfigError

_log = logging.getLogger(__name__)

VERSION = 2
Statement = tuple[str, tuple[Any, ...]]

_UNWRITABLE = (sqlite3.Error, ValueError, OverflowError)  # the last two: SQLite has no such value

_SCHEMA = """
create table sessions (
    id text primary key, tenant text not null, token_hash blob not null, expires real not null
) without rowid;
create table variables (
    session text not null, id text not null, name blob not null, is_named integer not null,
    content blob, failure text, primary key (session, id)
);
create table calls (
    session text not null, id text not null, request text not null, primary key (session, id)
);
create table plans (
    tenant text not null, name text not null, digest text not null, primary key (tenant, name)
) without rowid;
create table plan_bytes (digest text primary key, raw blob not null);
create table runs (
    id text primary key, tenant text not null, session text, plan text not null,
    digest text not null, flow text not null, request text not null, started real not null,
    state text not null, ended real, outcome text
) without rowid;
create table generations ( -- of runs, and of calls of sessions
    run text not null, site text not null, path text not null, prompt blob not null,
    finished text not null, primary key (run, site, path)
) without rowid;
create table natives (
    run text not null, place text not null, path text not null, outcome text,
    primary key (run, place, path)
) without rowid;
create index plans_of_digest on plans (digest);
create index running on runs (digest) where state = 'running';
"""


@dataclass(slots=True)
class _Work:
    """Statements of one writer, or one question; `done` is told on its loop."""

    statements: Sequence[Statement]
    is_question: bool
    done: "asyncio.Future[Any] | None"
    result: Any = None
    error: Exception | None = None


class Journal:
    """Opened by `open`. All methods belong to one event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="journal", daemon=True)
        self._opened: asyncio.Future[None] = self._loop.create_future()

    @classmethod
    async def open(cls, path: Path) -> "Journal":
        """Raises `ConfigError` for a file that is no journal, or is another core's."""
        journal = cls(path)
        journal._thread.start()
        try:
            await journal._opened
        except sqlite3.Error as error:
            raise ConfigError(
                Diagnostic(
                    CODE,
                    f"the journal {path} cannot be used: {error}",
                    help="each core needs a journal of its own",
                )
            ) from None
        return journal

    async def write(self, *statements: Statement) -> None:
        """Returns when all of them are durable, or raises `Unavailable` when none is."""
        await self._ask(statements, is_question=False)

    def post(self, *statements: Statement) -> None:
        """Write soon, after what was written before. For what nobody has to wait for."""
        self._waiting.put(_Work(statements, False, None))

    async def read(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows, as they are after all that was written before."""
        rows: list[tuple[Any, ...]] = await self._ask([(sql, values)], is_question=True)
        return rows

    async def close(self) -> None:
        """Write what waits, and end the thread."""
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)

    async def _ask(self, statements: Sequence[Statement], *, is_question: bool) -> Any:
        if not self._thread.is_alive():
            raise Unavailable("the journal is closed")
        done = self._loop.create_future()
        self._waiting.put(_Work(statements, is_question, done))
        try:
            return await done
        except _UNWRITABLE as error:
            raise Unavailable(f"the journal cannot be written: {error}") from None

    # --- on the thread ---

    def _serve(self) -> None:
        try:
            database = _connect(self._path)
        except sqlite3.Error as error:
            self._tell_opened(error)
            return
        self._tell_opened(None)
        is_open = True
        while is_open:
            batch = [self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            is_open = None not in batch
            self._commit(database, [work for work in batch if work is not None])
        database.close()

    def _commit(self, database: sqlite3.Connection, batch: list[_Work]) -> None:
        """All in one transaction; where that fails each in its own, so that one harms no other."""
        try:
            _run(database, batch)
        except _UNWRITABLE:
            for work in batch:
                try:
                    _run(database, [work])
                except _UNWRITABLE as error:
                    work.error = error
        self._call(lambda: _settle(batch))

    def _tell_opened(self, error: Exception | None) -> None:
        self._call(lambda: _settle([_Work((), False, self._opened, error=error)]))

    def _call(self, work: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(work)


def _run(database: sqlite3.Connection, batch: Sequence[_Work]) -> None:
    with database:  # commits, or takes all back
        database.execute("begin immediate")
        for work in batch:
            for sql, values in work.statements:
                cursor = database.execute(sql, values)
                work.result = cursor.fetchall() if work.is_question else None


def _settle(batch: Sequence[_Work]) -> None:
    for work in batch:
        if work.done is None:
            if work.error is not None:
                _log.error("the journal cannot be written: %s", work.error)
        elif not work.done.done():
            if work.error is None:
                work.done.set_result(work.result)
            else:
                work.done.set_exception(work.error)


def _connect(path: Path) -> sqlite3.Connection:
    """The database, made if it is not there, for this process alone. Raises `sqlite3.Error`."""
    try:  # inputs and outputs are nobody else's to read
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise sqlite3.OperationalError(error.strerror) from None
    database = sqlite3.connect(path, isolation_level=None, timeout=1.0)
    try:
        database.execute("pragma locking_mode = exclusive")
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = normal")
        _prepare(database)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection) -> None:
    (version,) = database.execute("pragma user_version").fetchone()
    (tables,) = database.execute("select count(*) from sqlite_master").fetchone()
    if version == VERSION:
        database.execute("begin immediate").execute("commit")  # takes the lock
    elif version == 0 and tables == 0:
        database.executescript(f"begin; {_SCHEMA} pragma user_version = {VERSION}; commit;")
    else:
        raise sqlite3.DatabaseError("it is not a journal, or that of another version")
