"""What survives the end of a core of its sessions: variables, and calls that had not ended."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cores import Recording, call, given, made, output, started
from keptsessions import TABLES, nothing, of, opened, rows
from served import Gated, until

from parrotc.runtime.core.core import ServeCore
from parrotc.runtime.core.errors import Cancelled, CoreError, Failed, NotFound, Unavailable
from parrotc.runtime.core.keeping import Keeping
from parrotc.runtime.core.sessions import OpenedSession
from parrotc.runtime.core.variables import VariableState
from parrotc.runtime.engines.protocol import GenerateRequest
from parrotc.runtime.engines.reference import ReferenceEngine

HERE = Path(__file__).parent
CALLS = 60
EMPTY, RUNNING, READY, FAILED = VariableState


@pytest.fixture
def journal(tmp_path: Path) -> str:
    return str(tmp_path / "runs.db")


# --- a process that is killed ---


def begin(folder: Path, calls: int = CALLS) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, HERE / "sessioned.py", folder, str(calls)],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def kill_when(process: subprocess.Popen[str], is_time: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_time():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def end(process: subprocess.Popen[str]) -> list[str]:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    texts: list[str] = json.loads(out)
    return texts


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def has_come_to(folder: Path, part: int) -> bool:
    """Whether the client knows its variables, and so many generations have ended."""
    return (folder / "client").exists() and len(lines(folder / "said")) >= part


def finished(journal: Path) -> int:
    """The calls whose output the journal has."""
    with closing(sqlite3.connect(journal)) as database:
        (there,) = database.execute(
            "select count(*) from variables where name = cast('a' as blob) and content is not null"
        ).fetchone()
        (on_the_way,) = database.execute("select count(*) from generations").fetchone()
    return int(there + on_the_way)


def test_a_killed_core_answers_who_asks_again(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    expected = end(begin(whole))
    assert len(expected) == CALLS == len(lines(whole / "said"))
    for part in (CALLS // 4, CALLS // 2):  # twice
        kill_when(begin(cut), partial(has_come_to, cut, part))
    kept, before = finished(cut / "runs.db"), len(lines(cut / "said"))
    assert 0 < kept <= before
    assert end(begin(cut)) == expected, "the same texts as if nothing had happened"
    assert len(lines(cut / "said")) - before == CALLS - kept, "nothing that was kept is made again"
    answered = [json.loads(line) for line in lines(cut / "got")]
    assert set(answered) <= set(expected), "what was answered before stays"
    assert len(set(expected)) > CALLS // 2, "texts differ, so this says something"
    assert rows(str(cut / "runs.db"))["calls"] == rows(str(cut / "runs.db"))["generations"] == 0


# --- in one process ---


async def test_variables_are_there_again(journal: str) -> None:
    surrogate = "\ud800 and é\x00"
    async with started(journal=journal) as core:
        one = await opened(core)
        session = of(core, one)
        empty = await core.create_variable(session, "empty")
        text = await core.create_variable(session, surrogate, surrogate)
        gone = await core.create_variable(session, "gone", "x")
        later = await core.create_variable(session, "later")
        later = await core.set_variable(session, later.id, "")
        await core.delete_variable(session, gone.id)
    async with started(journal=journal) as core:
        session = of(core, one)
        assert core.variables(session) == [empty, text, later]
        assert (empty.state, later.state, later.content) == (EMPTY, READY, "")
        await core.set_variable(session, empty.id, "now")
    async with started(journal=journal) as core:
        assert await core.get_variable(of(core, one), empty.id) == "now"
    assert rows(journal)["variables"] == 3


async def test_a_text_that_was_made_is_not_made_again(journal: str) -> None:
    async with started(journal=journal) as core:
        one = await opened(core)
        name = output(await call(core, of(core, one), "Say {{a}}", made("a", temperature=1.0)))
        text = await core.get_variable(of(core, one), name)
    engine = Recording()
    async with started(engine, journal=journal) as core:
        assert await core.get_variable(of(core, one), name) == text
        await until(lambda: not core.stats()["calls"])
        assert engine.asked == []


async def test_what_goes_on_is_begun_again_with_the_same_draws(journal: str) -> None:
    class Stuck(Gated):
        keys: list[int]

        def generate(self, request: GenerateRequest) -> Any:
            self.keys = [*getattr(self, "keys", []), request.sampling.key]
            return super().generate(request)

    stuck, going = Stuck(), Recording()
    async with started(stuck, journal=journal) as core:
        one = await opened(core)
        session = of(core, one)
        running = output(await call(core, session, "Say {{a}}", made("a", temperature=1.0)))
        q = await core.create_variable(session, "q")
        inputs = given("x", var=running), given("q", var=q.id)
        queued = output(await call(core, session, "Of {{x}} {{q}}: {{a}}", *inputs, made("a")))
        waiting = asyncio.ensure_future(core.get_variable(session, queued))
        await until(lambda: stuck.open == 1)
    with pytest.raises(Cancelled):
        await waiting
    async with started(going, journal=journal) as core:
        session = of(core, one)
        assert await core.get_variable(session, running, timeout=20)
        assert [request.sampling.key for request in going.asked] == stuck.keys
        await core.set_variable(session, q.id, "it")
        assert await core.get_variable(session, queued, timeout=20)
        assert len(going.asked) == 2


async def test_of_two_outputs_the_finished_one_stays(journal: str) -> None:
    class Second(Recording):
        """Its second generation waits for ever."""

        async def generate(self, request: Any) -> Any:
            async for item in super().generate(request):
                if len(self.asked) == 2:
                    await asyncio.Event().wait()
                yield item

    engine = Second()
    asked: Any = "A {{a}} b {{b}}", made("a", temperature=1.0, seed=5), made("b")
    async with started(engine, journal=journal) as core:
        one = await opened(core)
        view = await call(core, of(core, one), *asked)
        first = await core.get_variable(of(core, one), output(view))
        await until(lambda: len(engine.asked) == 2)
    again = Recording()
    async with started(again, journal=journal) as core:
        session = of(core, one)
        assert core.variable(session, output(view)).content == first, "at once"
        second = await core.get_variable(session, output(view, "b"), timeout=20)
        assert len(again.asked) == 1
        plain = await call(core, session, *asked)
        assert await core.get_variable(session, output(plain)) == first
        assert await core.get_variable(session, output(plain, "b")) == second


async def test_a_failure_stays_the_same(journal: str) -> None:
    engine = ReferenceEngine(fault=lambda request: b"bad" in bytes(getattr(request, "ids", ())))
    async with started(engine, journal=journal) as core:
        one = await opened(core)
        first = await call(core, of(core, one), "A bad {{a}}", made("a"))
        inputs = given("x", var=output(first))
        second = await call(core, of(core, one), "{{x}} then {{a}}", inputs, made("a"))
        names = output(first), output(second)
        before = [await _cause(core, one, name) for name in names]
        await until(lambda: not core.stats()["calls"])
    async with started(journal=journal) as core:
        assert [await _cause(core, one, name) for name in names] == before
    assert rows(journal)["calls"] == 0


async def test_a_failure_that_was_told_stays(journal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the core is killed the moment after."""
    engine = ReferenceEngine(fault=lambda request: b"bad" in bytes(getattr(request, "ids", ())))
    with monkeypatch.context() as killed:
        killed.setattr(Keeping, "over", lambda keeping, call: None)
        async with started(engine, journal=journal) as core:
            one = await opened(core)
            name = output(await call(core, of(core, one), "A bad {{a}}", made("a")))
            before = await _cause(core, one, name)
    assert rows(journal)["calls"] == 1
    async with started(journal=journal) as core:
        assert await _cause(core, one, name) == before
        await until(lambda: not core.stats()["calls"])
    assert rows(journal)["calls"] == 0


async def _cause(core: ServeCore, one: OpenedSession, name: str) -> tuple[str, str]:
    with pytest.raises(CoreError) as caught:
        await core.get_variable(of(core, one), name, timeout=20)
    assert type(caught.value) is Failed and caught.value.diagnostic is not None
    return caught.value.diagnostic.code, caught.value.message


@pytest.mark.parametrize("effect", ["effectful", "idempotent", "pure"])
async def test_a_function_that_had_begun(journal: str, tmp_path: Path, effect: str) -> None:
    """Fails by its name, unless it may run again."""
    log = tmp_path / "log"
    allowed = {"native_path": str(HERE), "natives": ("natives:log_and_hang",)}
    payload = {
        "func_name": "log_and_hang", "effect": effect,
        "parameters": [given("path", str(log)), {"name": "a", "is_output": True}],
    }  # fmt: skip
    async with started(journal=journal, **allowed) as core:
        one = await opened(core)
        name = output(await core.native_call(of(core, one), payload))
        await until(lambda: log.exists() and log.read_text() == "ran\n", 20)
    async with started(journal=journal, **allowed) as core:
        if effect == "effectful":
            code, message = await _cause(core, one, name)
            assert code == "E0614" and "`log_and_hang` was running" in message
            await until(lambda: not core.stats()["calls"])
        else:
            await until(lambda: log.read_text() == "ran\nran\n", 20)
    assert rows(journal)["calls"] == (0 if effect == "effectful" else 1)


async def test_a_function_that_had_ended_does_not_run_again(journal: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    allowed: Any = {"native_path": str(HERE), "natives": ("natives:log",)}
    parameters = [given("path", str(log)), {"name": "a", "is_output": True}]
    async with started(Gated(), journal=journal, **allowed) as core:
        one = await opened(core)
        view = await core.native_call(of(core, one), {"func_name": "log", "parameters": parameters})
        inputs = given("x", var=output(view))
        after = await call(core, of(core, one), "{{x}}: {{a}}", inputs, made("a"))
        assert await core.get_variable(of(core, one), output(view)) == "logged"
    async with started(journal=journal, **allowed) as core:
        assert await core.get_variable(of(core, one), output(view)) == "logged"
        assert await core.get_variable(of(core, one), output(after), timeout=20)
    assert log.read_text() == "ran\n"


async def test_what_may_not_run_any_more_fails_and_says_so(journal: str) -> None:
    payload: Any = {
        "func_name": "shout",
        "parameters": [given("x", var="?"), {"name": "a", "is_output": True}],
    }
    allowed: Any = {"native_path": str(HERE), "natives": ("natives:shout",)}
    async with started(journal=journal, **allowed) as core:
        one = await opened(core)
        q = await core.create_variable(of(core, one), "q")
        payload["parameters"][0]["var_id"] = q.id
        name = output(await core.native_call(of(core, one), payload))
    async with started(journal=journal) as core:
        with pytest.raises(CoreError, match="cannot go on: the function `shout` may not run"):
            await core.get_variable(of(core, one), name, timeout=5)
    assert rows(journal)["calls"] == 0


async def test_what_is_deleted_and_needed_is_there_for_those_who_need_it(journal: str) -> None:
    async with started(Gated(), journal=journal) as core:
        one = await opened(core)
        session = of(core, one)
        q = await core.create_variable(session, "q", "a question")
        view = await call(core, session, "{{q}}: {{a}}", given("q", var=q.id), made("a"))
        await core.delete_variable(session, q.id)
    assert rows(journal)["variables"] == 2
    async with started(journal=journal) as core:
        session = of(core, one)
        with pytest.raises(NotFound):
            core.variable(session, q.id)
        text = await core.get_variable(session, output(view), timeout=20)
        plain = await call(core, session, "a question: {{a}}", made("a"))
        assert await core.get_variable(session, output(plain)) == text
        await until(lambda: not core.stats()["calls"])
    assert rows(journal) | {"variables": 2, "calls": 0} == rows(journal), "and then it is gone"


async def test_a_call_that_nobody_needs_any_more_leaves_nothing(journal: str) -> None:
    engine = Gated()
    async with started(engine, journal=journal) as core:
        one = await opened(core)
        view = await call(core, of(core, one), "Say {{q}}: {{a}}", given("q", "x"), made("a"))
        await until(lambda: engine.open == 1)
        await core.delete_variable(of(core, one), output(view))
        await until(lambda: engine.open == 0 and not core.stats()["calls"])
    assert rows(journal) == dict.fromkeys(TABLES, 0) | {"sessions": 1}


async def test_a_call_that_was_being_cancelled_is_not_begun_again(
    journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(Keeping, "over", lambda keeping, call: None)
        async with started(Gated(), journal=journal) as core:
            one = await opened(core)
            view = await call(core, of(core, one), "Say {{a}}", made("a"))
            await core.delete_variable(of(core, one), output(view))
    assert rows(journal)["calls"] == 1
    engine = Recording()
    async with started(engine, journal=journal) as core:
        await until(lambda: not core.stats()["calls"])
        assert engine.asked == []
    assert rows(journal) == dict.fromkeys(TABLES, 0) | {"sessions": 1}


async def test_closed_and_expired_sessions_leave_nothing(journal: str) -> None:
    now = [1000.0]
    how: Any = {"journal": journal, "clock": lambda: now[0], "session_life_span": 60.0}
    engine = Gated()

    async def busy(core: ServeCore) -> OpenedSession:
        one = await opened(core)
        await core.create_variable(of(core, one), "q", "text")
        view = await call(core, of(core, one), "One {{a}} two {{b}}", made("a"), made("b"))
        await until(lambda: engine.open > 0)
        assert core.variable(of(core, one), output(view)).state is RUNNING
        return one

    async with started(engine, **how) as core:
        await core.close_session(of(core, await busy(core)))
    assert nothing(journal), "closed"
    engine = Gated()
    async with started(engine, **how) as core:
        await busy(core)
        now[0] += 61
        await until(lambda: not core.stats()["sessions"])  # the sweep
        await until(lambda: not core._closing)
    assert nothing(journal), "expired while the core ran"
    engine = Gated()
    async with started(engine, **how) as core:
        one = await busy(core)
    assert not nothing(journal)
    now[0] += 61
    async with started(**how) as core:
        with pytest.raises(NotFound):
            of(core, one)
    assert nothing(journal), "expired while no core ran"


async def test_the_file_does_not_grow(journal: str) -> None:
    async def sessions(core: ServeCore, count: int) -> int:
        """Bytes of the file after so many sessions one after the other."""
        for _ in range(count):
            one = await opened(core)
            last = (await core.create_variable(of(core, one), "q", "x" * 2000)).id
            for _ in range(5):
                inputs = given("q", var=last), made("a")
                last = output(await call(core, of(core, one), "{{q}}: {{a}}", *inputs))
            await core.get_variable(of(core, one), last)
            await core.close_session(of(core, one))
        assert core._journal is not None
        ((pages,),) = await core._journal.read("select page_count from pragma_page_count()")
        return int(pages)

    async with started(journal=journal) as core:
        few = await sessions(core, 5)
        assert await sessions(core, 30) <= few + 2
    assert nothing(journal)


async def test_no_token_is_in_the_file(journal: str) -> None:
    async with started(Gated(), journal=journal) as core:
        one = await opened(core)
        who = {"session_id": one.id, "session_auth": one.token}
        await call(core, of(core, one), "Say {{a}}", made("a"), **who)
    assert rows(journal)["calls"] == 1
    assert one.token.encode() not in Path(journal).read_bytes()


async def test_what_cannot_be_kept_is_refused_and_leaves_nothing(journal: str) -> None:
    engine = Recording()
    async with started(engine, journal=journal) as core:
        one = await opened(core)
        session = of(core, one)
        q = await core.create_variable(session, "q", "x")
        assert core._journal is not None
        await core._journal.write(("drop table calls", ()))
        with pytest.raises(Unavailable):
            await call(core, session, "Say {{a}}", made("a"))
        assert core.variables(session) == [q]
        await core._journal.write(("drop table variables", ()))
        with pytest.raises(Unavailable):
            await core.create_variable(session, "r")
        assert core.variables(session) == [q]
        await core._journal.write(("drop table sessions", ()))
        with pytest.raises(Unavailable):
            await opened(core)
        await until(lambda: not core._closing)
        assert core.stats()["sessions"] == 1 and core.stats()["calls"] == 0


async def test_a_model_may_come_later(journal: str) -> None:
    """Calls wait for it; what was finished does not."""
    async with started(journal=journal) as core:
        one = await opened(core)
        done = output(await call(core, of(core, one), "Say {{a}}", made("a")))
        text = await core.get_variable(of(core, one), done)
        q = await core.create_variable(of(core, one), "q")
        view = await call(core, of(core, one), "{{q}}: {{a}}", given("q", var=q.id), made("a"))
    async with started(journal=journal) as core:
        served = core._models._models.pop("reference")
        assert await core.get_variable(of(core, one), done) == text
        await core.set_variable(of(core, one), q.id, "x")
        waiting = asyncio.ensure_future(core.get_variable(of(core, one), output(view)))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        core._models.add(served)
        assert await asyncio.wait_for(waiting, 20)
