"""What survives the end of a core: sessions, plans, runs, and all that runs have finished."""

import asyncio
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cores import plan_bytes, session_of, started
from served import Gated, until

from parrotc.ir.tokenhash import draw_key
from parrotc.runtime.core.errors import NotFound, Unavailable
from parrotc.runtime.core.journal import Journal
from parrotc.runtime.core.records import Records, RunRecord
from parrotc.runtime.core.views import RunState
from parrotc.runtime.engines.configfile import ConfigError
from parrotc.runtime.engines.protocol import Finished
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.errors import Failed
from parrotc.runtime.terms import Ran

HERE = Path(__file__).parent
CALLS = 200
SAY = """
pfunc say(q: int) -> str:
    "Say {{q}}: {{gen max_tokens=12, temperature=1.0}}"

pfunc join(parts: list[str]) -> str:
    "Join {{parts | json}}: {{gen max_tokens=12}}"

flow main(n: int) -> list[str]:
    return [say(q=i) for i in range(n)]

flow chain(n: int) -> str:
    return join(parts=[say(q=i) for i in range(n)])
"""
EFFECT = """
{mark}
extern def effect(path: str) -> str = "natives:{name}"

pfunc say(q: str) -> str:
    "Say {{{{q}}}}: {{{{gen max_tokens=12}}}}"

flow main(path: str) -> str:
    return say(q=effect(path=path))
"""
AFTER = """
pfunc tell(q: str, i: int) -> str:
    "Tell {{q}} {{i}}: {{gen max_tokens=12}}"

flow after(path: str, n: int) -> list[str]:
    done = effect(path=path)
    return [tell(q=done, i=i) for i in range(n)]
"""


def begin(folder: Path, text: str, flow: str, **inputs: Any) -> subprocess.Popen[str]:
    (folder / "plan").write_bytes(plan_bytes(text))
    return subprocess.Popen(
        [sys.executable, HERE / "journaled.py", folder, folder / "plan", flow, json.dumps(inputs)],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def kill_when(process: subprocess.Popen[str], is_time: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_time():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)  # with the workers of natives
    process.communicate()


def end(process: subprocess.Popen[str]) -> Any:
    """What a process says of the run when it is over: id, state, result, cause."""
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    first, last = out.splitlines()
    over = json.loads(last)
    assert over[0] == first
    return over


def said(folder: Path) -> list[int]:
    path = folder / "said"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def kept(folder: Path) -> set[int]:
    """The keys of the draws that the journal has."""
    rows = sqlite3.connect(folder / "runs.db").execute("select site, path from generations")
    return {draw_key(11, site, tuple(map(int, path.split(".")))) for site, path in rows}


def test_a_killed_core_goes_on_without_repeating_a_finished_call(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    expected = end(begin(whole, SAY, "main", n=CALLS))
    assert expected[1] == "done" and len(expected[2]) == CALLS
    assert len(said(whole)) == len(set(said(whole))) == CALLS

    for part in (60, 120):  # twice
        kill_when(begin(cut, SAY, "main", n=CALLS), lambda at=part: len(said(cut)) >= at)
    finished = kept(cut)
    assert 60 < len(finished) < CALLS
    before = said(cut)
    again = end(begin(cut, SAY, "main", n=CALLS))
    after = said(cut)[len(before) :]
    assert again[1:] == expected[1:], "the same result as if nothing had happened"
    assert not finished & set(after), "no finished call was generated again"
    assert len(after) == CALLS - len(finished)
    assert kept(cut) == set(), "what is over leaves only its result"


def test_an_effect_that_had_begun_fails_the_run_by_name(tmp_path: Path) -> None:
    log = tmp_path / "log"
    text = EFFECT.format(mark="", name="log_and_hang")
    kill_when(begin(tmp_path, text, "main", path=str(log)), log.exists)
    _, state, _, cause = end(begin(tmp_path, text, "main", path=str(log)))
    assert (state, cause[0]) == ("failed", "E0614")
    assert "`effect` was running when the core ended" in cause[1]
    assert log.read_text() == "ran\n", "it did not run again"


@pytest.mark.parametrize("mark", ["@idempotent", "@pure"])
def test_what_may_run_again_does(tmp_path: Path, mark: str) -> None:
    log = tmp_path / "log"
    text = EFFECT.format(mark=mark, name="log_and_hang")
    for times in (1, 2):
        process = begin(tmp_path, text, "main", path=str(log))
        kill_when(process, lambda n=times: log.exists() and log.read_text().count("ran") == n)


def test_an_effect_that_had_ended_does_not_run_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    text = EFFECT.format(mark="", name="log") + AFTER
    kill_when(begin(tmp_path, text, "after", path=str(log), n=CALLS), lambda: bool(said(tmp_path)))
    _, state, _, cause = end(begin(tmp_path, text, "after", path=str(log), n=CALLS))
    assert (state, cause) == ("done", None)
    assert log.read_text() == "ran\n"


# --- in one process ---


async def test_all_is_there_again(tmp_path: Path) -> None:
    journal = str(tmp_path / "runs.db")
    async with started(journal=journal) as core:
        tenant = core.tenant(None)
        kept, closed = [await core.open_session(tenant) for _ in range(2)]
        await core.close_session(core.session(closed.id, closed.token))
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        await core.put_plan(tenant, "gone", plan_bytes(SAY))
        await core.delete_plan(tenant, "gone")
        begun = await core.invoke(tenant, "p", "chain", {"n": 3})
        done = await core.wait_run(tenant, begun.id)
    async with started(journal=journal) as core:
        assert core.session(kept.id, kept.token).tenant == tenant
        with pytest.raises(NotFound):
            core.session(closed.id, closed.token)
        assert [plan.name for plan in core.plans(tenant)] == ["p"]
        assert core.run(tenant, begun.id) == done
        again = await core.invoke(tenant, "p", "chain", {"n": 3})
        assert (await core.wait_run(tenant, again.id)).result == done.result


async def test_what_goes_on_when_a_core_is_closed_goes_on_in_the_next(tmp_path: Path) -> None:
    journal = str(tmp_path / "runs.db")
    engine = Gated()
    async with started(engine, journal=journal) as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        cut = await core.invoke(tenant, "p", "chain", {"n": 3})
        cancelled = await core.invoke(tenant, "p", "chain", {"n": 3})
        await until(lambda: engine.open == 6)
        await core.cancel_run(tenant, cancelled.id)
        await core.delete_plan(tenant, "p")  # runs keep theirs
    async with started(journal=journal) as core:
        assert core.run(tenant, cancelled.id).state is RunState.CANCELLED
        over = await core.wait_run(tenant, cut.id, timeout=20)
        assert over.state is RunState.DONE and over.started == cut.started


async def test_a_run_whose_session_has_expired_meanwhile_is_over(tmp_path: Path) -> None:
    journal = str(tmp_path / "runs.db")
    now = [1000.0]
    how: Any = {"journal": journal, "clock": lambda: now[0], "session_life_span": 60.0}
    async with started(Gated(), **how) as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        session = await session_of(core)
        cut = await core.invoke(tenant, "p", "chain", {"n": 3}, session=session)
    now[0] += 61
    async with started(**how) as core:
        over = core.run(tenant, cut.id)
        assert over.state is RunState.FAILED and over.diagnostic is not None
        assert "session" in over.diagnostic.message


async def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with started(journal=str(path)) as core:
        opened = await core.open_session(core.tenant(None))
    assert opened.id.encode() in path.read_bytes(), "it is the right file"
    assert opened.token.encode() not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_journal_is_one_cores(tmp_path: Path) -> None:
    path = str(tmp_path / "runs.db")
    async with started(journal=path):
        with pytest.raises(ConfigError, match="journal of its own"):
            async with started(journal=path):
                pass


@pytest.mark.parametrize("content", [b"text", b"SQLite format 3\x00" + b"\x01" * 100])
async def test_what_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "runs.db").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be used"):
        await Journal.open(tmp_path / "runs.db")


async def test_another_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "runs.db") as database:
        database.execute("pragma user_version = 99")
    with pytest.raises(ConfigError, match="another version"):
        await Journal.open(tmp_path / "runs.db")


async def test_a_write_that_fails_harms_no_other(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "runs.db")
    insert = "insert into plan_bytes values (?, ?)"
    writes = [journal.write((insert, (name, b""))) for name in ("a", "b", "a", "c")]
    found = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(one) for one in found] == [type(None), type(None), Unavailable, type(None)]
    assert len(await journal.read("select * from plan_bytes")) == 3
    await journal.close()
    with pytest.raises(Unavailable):
        await journal.write((insert, ("d", b"")))


async def test_a_run_that_cannot_be_kept_does_not_begin(tmp_path: Path) -> None:
    async with started(journal=str(tmp_path / "runs.db")) as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        assert core._journal is not None
        await core._journal.write(("drop table runs", ()))
        with pytest.raises(Unavailable):
            await core.invoke(tenant, "p", "chain", {"n": 1})
        assert core.stats()["runs_going_on"] == 0 and core.runs(tenant) == []


async def test_a_generation_that_cannot_be_kept_fails_the_run(tmp_path: Path) -> None:
    async with started(ReferenceEngine(latency=0.05), journal=str(tmp_path / "runs.db")) as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(SAY))
        begun = await core.invoke(tenant, "p", "chain", {"n": 1})
        assert core._journal is not None
        await core._journal.write(("drop table generations", ()))
        over = await core.wait_run(tenant, begun.id, timeout=10)
        assert over.diagnostic is not None and over.diagnostic.code == "E0615"


async def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "runs.db")
    records = Records(journal)
    run = RunRecord(
        id="r", tenant="t", session=None, plan="p", digest="d", flow="f", inputs={"x": ["é", None]},
        seed=1 << 62, criteria={"ttft": 0.1}, deadline=2.5, started=1.5,
    )  # fmt: skip
    await records.add_run(run, b"raw")
    assert await records.runs() == [run]
    finished = Finished("stop", "té\x00xt", (1, 2, 3), 2, "t", (("a", 0.25),))
    await records.add_generation("r", "main.0/0", (3, 1), b"\x00\xff", finished)
    await records.add_generation("r", "main.0/0", (), b"", finished)
    found = await records.generations("r")
    assert found == {
        ("main.0/0", (3, 1)): (b"\x00\xff", finished), ("main.0/0", ()): (b"", finished),
    }  # fmt: skip
    await records.begin_native("r", "x", (1,))
    await records.end_native("r", "y", (), Ran({"a": [1.5]}))
    await records.end_native("r", "z", (), Ran(failed=Failed("E0601", "no", notes=("n",))))
    natives = await records.natives("r")
    assert natives["x", (1,)] is None and natives["y", ()] == Ran({"a": [1.5]})
    failed = natives["z", ()]
    assert failed is not None and failed.failed is not None
    assert (failed.failed.code, failed.failed.message, failed.failed.notes) == (
        "E0601",
        "no",
        ("n",),
    )
    await journal.close()
