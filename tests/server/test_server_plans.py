"""Plans over HTTP: stored, run plainly and as events, watched, cancelled."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fronted import Front, fronted
from served import Gated, until

from parrotc.driver import compile_source
from parrotc.ir.source import Source
from parrotc.targets import ModelOverrides

PROGRAM = """pfunc word(of: str) -> str:
    user "A word like {{of}}:"
    assistant "{{gen max_tokens=12}}"

flow main(of: str) -> str:
    return word(of)

flow pair(of: str) -> list[str]:
    return [word(one) for one in [of, of + "!"]]
"""
EVENTS = {"Accept": "text/event-stream"}


def plan_of(text: str) -> bytes:
    """The file that `parrotc compile` writes."""
    source = Source("words.pfn", text)
    return compile_source(source, models=ModelOverrides(engine="reference")).plan.to_json()


@pytest.fixture(scope="module")
def plan() -> bytes:
    return plan_of(PROGRAM)


async def stored(front: Front, plan: bytes) -> Front:
    status, info = await front.ask("PUT", "/v1/plans/words", plan)
    assert status == 200, info
    assert set(info["flows"]) == {"main", "pair"}
    return front


@pytest.fixture
async def front(plan: bytes) -> AsyncIterator[Front]:
    async with fronted() as front:
        yield await stored(front, plan)


async def events(front: Front, path: str, body: Any = None) -> list[tuple[str, Any]]:
    """The events of a stream, by name and data."""
    method = "GET" if body is None else "POST"
    async with front.http.request(method, front.url + path, json=body, headers=EVENTS) as response:
        assert response.status == 200, await response.text()
        return parsed(await response.text())


def parsed(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        if block and not block.startswith(":"):
            name, data = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_a_plan_is_kept(front: Front, plan: bytes) -> None:
    status, listed = await front.ask("GET", "/v1/plans")
    assert status == 200 and [one["name"] for one in listed["plans"]] == ["words"]
    assert (await front.ask("GET", "/v1/plans/words"))[1] == listed["plans"][0]
    assert (await front.ask("GET", "/v1/plans/words/text"))[1] == json.loads(plan)
    assert (await front.ask("DELETE", "/v1/plans/words"))[0] == 200
    assert (await front.ask("GET", "/v1/plans/words"))[0] == 404
    assert (await front.ask("POST", "/v1/plans/words/main", {}))[0] == 404


async def test_a_run_is_its_result(front: Front) -> None:
    status, run = await front.ask("POST", "/v1/plans/words/main", {"inputs": {"of": "sea"}})
    assert status == 200 and run["state"] == "done" and isinstance(run["result"], str)
    assert (await front.ask("GET", f"/v1/runs/{run['run_id']}"))[1]["result"] == run["result"]
    _, again = await front.ask("POST", "/v1/plans/words/pair", {"inputs": {"of": "sea"}})
    assert again["result"][0] == run["result"] != again["result"][1]


async def test_events_tell_the_same(front: Front) -> None:
    body = {"inputs": {"of": "sea"}}
    _, run = await front.ask("POST", "/v1/plans/words/pair", body)
    told = await events(front, "/v1/plans/words/pair", body)
    assert told[0][0] == "run" and told[-1] == ("done", {"result": run["result"]})
    texts: dict[tuple[Any, ...], str] = {}
    values = {}
    for name, data in told[1:-1]:
        key = (data["variable"], *data["path"])
        if name == "text":
            texts[key] = texts.get(key, "") + data["text"]
        else:
            values[key] = data["text"]
    assert sorted(values.values()) == sorted(run["result"]) and len(values) == 2
    assert all(values[key].startswith(text) for key, text in texts.items())


@pytest.mark.parametrize(
    ("flow", "body", "status", "word"),
    [
        ("main", {"inputs": {}}, 400, "of"),
        ("main", {"inputs": {"of": 5}}, 400, "of"),
        ("main", {"inputs": {"of": "x", "on": "y"}}, 400, "on"),
        ("main", {"input": {"of": "x"}}, 400, "input"),
        ("mein", {"inputs": {"of": "x"}}, 404, "main"),
        ("main", {"inputs": {"of": "x"}, "criteria": {"speed": 1}}, 400, "speed"),
    ],
)
async def test_what_cannot_be_run(
    front: Front, flow: str, body: Any, status: int, word: str
) -> None:
    found, answer = await front.ask("POST", f"/v1/plans/words/{flow}", body)
    assert found == status and word in answer["error"]["message"], answer
    assert (await front.ask("GET", "/v1/runs"))[1] == {"runs": []}


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1]", b'{"format": 99}', b"\xff"])
async def test_what_is_no_plan(front: Front, raw: bytes) -> None:
    status, answer = await front.ask("PUT", "/v1/plans/x", raw)
    assert status == 400 and answer["error"]["code"].startswith("E06"), answer


async def test_a_plan_with_a_function_that_may_not_run(front: Front) -> None:
    """S1: a plan names functions, and none runs that the config does not name."""
    evil = 'extern def system(command: str) -> int = "os:system"\n\nflow main() -> int:\n'
    raw = plan_of(evil + '    return system("true")\n')
    status, answer = await front.ask("PUT", "/v1/plans/evil", raw)
    assert status == 400 and "os:system" in answer["error"]["message"], answer


# --- background, waiting, cancelling ---


async def test_a_background_run(plan: bytes) -> None:
    engine = Gated()
    async with fronted(engine) as front:
        await stored(front, plan)
        body = {"inputs": {"of": "sea"}, "background": True}
        status, run = await front.ask("POST", "/v1/plans/words/main", body)
        assert status == 202 and run["state"] == "running"
        path = f"/v1/runs/{run['run_id']}"
        status, waited = await front.ask("GET", f"{path}?wait=0.05")
        assert (status, waited["state"]) == (200, "running")
        watching = asyncio.create_task(events(front, path))
        await until(lambda: engine.open == 1)
        engine.gate.set()
        status, ended = await front.ask("GET", f"{path}?wait=20")
        assert (status, ended["state"]) == (200, "done")
        assert (await watching)[-1] == ("done", {"result": ended["result"]})


async def test_a_run_that_is_cancelled(plan: bytes) -> None:
    engine = Gated()
    async with fronted(engine) as front:
        await stored(front, plan)
        asking = asyncio.create_task(
            front.ask("POST", "/v1/plans/words/main", {"inputs": {"of": "x"}})
        )
        await until(lambda: engine.open == 1)
        (run,) = (await front.ask("GET", "/v1/runs"))[1]["runs"]
        status, cancelled = await front.ask("POST", f"/v1/runs/{run['run_id']}/cancel")
        assert (status, cancelled["state"]) == (200, "cancelled")
        status, answer = await asking
        assert (status, answer["error"]["code"]) == (409, "cancelled")
        await until(lambda: engine.open == 0)


@pytest.mark.parametrize("headers", [{}, EVENTS])
async def test_who_goes_away_cancels(plan: bytes, headers: dict[str, str]) -> None:
    engine = Gated()
    async with fronted(engine) as front:
        await stored(front, plan)
        url = f"{front.url}/v1/plans/words/main"

        async def ask() -> None:
            async with front.http.post(
                url, json={"inputs": {"of": "x"}}, headers=headers
            ) as response:
                await response.text()

        asking = asyncio.create_task(ask())
        await until(lambda: engine.open == 1)
        asking.cancel()
        await until(lambda: engine.open == 0)
        (run,) = (await front.ask("GET", "/v1/runs"))[1]["runs"]
        assert run["state"] == "cancelled"


async def test_a_run_is_its_tenants(plan: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """S1: neither plans nor runs of another tenant are there."""
    monkeypatch.setenv("CORE_KEYS", "alice k-alice\nbob k-bob\n")
    alice, bob = ({"Authorization": f"Bearer k-{name}"} for name in ("alice", "bob"))
    async with fronted(keys_env="CORE_KEYS") as front:
        await front.ask("PUT", "/v1/plans/words", plan, headers=alice)
        body = {"inputs": {"of": "x"}}
        _, run = await front.ask("POST", "/v1/plans/words/main", body, headers=alice)
        path = f"/v1/runs/{run['run_id']}"
        assert (await front.ask("GET", path, headers=alice))[0] == 200
        for method, other in (
            ("GET", path), ("POST", f"{path}/cancel"), ("GET", "/v1/plans/words"),
            ("GET", "/v1/plans/words/text"), ("DELETE", "/v1/plans/words"),
        ):  # fmt: skip
            assert (await front.ask(method, other, headers=bob))[0] == 404
        assert (await front.ask("GET", "/v1/runs", headers=bob))[1] == {"runs": []}
        assert (await front.ask("GET", "/v1/plans", headers=bob))[1] == {"plans": []}
