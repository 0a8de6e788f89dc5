"""Engines in other processes join a core, do its work, leave, fail and come back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from fronted import Front, fronted
from served import Gated, Served, served, until
from yarl import URL

from parrotc.runtime.engines.config import CoreAddress
from parrotc.runtime.engines.http.membership import member_of
from parrotc.runtime.engines.protocol import Ability, EngineInfo, Speed
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.scheduling.engines import Role

HI = [{"role": "user", "content": "Hi"}]


@asynccontextmanager
async def joined(front: Front, engine: Any = None, name: str = "far") -> AsyncIterator[Served]:
    """An engine behind its own server that belongs to the core."""
    url = URL(front.url)
    assert url.host and url.port
    address = CoreAddress(host=url.host, port=url.port)
    about = {"name": name, "model": "remote"}
    async with served(engine) as far, member_of(address, about, far.url, beat=0.02):
        await until(lambda: name in {one.name for one in front.core.engines()})
        yield far


async def say(front: Front, **more: Any) -> tuple[int, Any]:
    body = {"model": "remote", "messages": HI, "temperature": 0, **more}
    return await front.ask("POST", "/v1/chat/completions", body)


async def test_an_engine_joins_works_and_leaves() -> None:
    async with fronted() as front:
        assert (await say(front))[0] == 404
        async with joined(front):
            _, models = await front.ask("GET", "/v1/models")
            assert [model["id"] for model in models["data"]] == ["reference", "remote"]
            status, there = await say(front)
            _, here = await say(front, model="reference")
            assert status == 200 and there["choices"] == here["choices"]
            _, listed = await front.ask("GET", "/v1/engines")
            assert {(one["engine_id"], one["state"]) for one in listed["engines"]} == {
                ("one", "up"), ("far", "up"),
            }  # fmt: skip
            async with front.http.get(f"{front.url}/metrics") as response:
                assert 'parrotc_engine_up{engine="far",state="up"} 1.0' in await response.text()
        _, listed = await front.ask("GET", "/v1/engines")
        assert [one["engine_id"] for one in listed["engines"]] == ["one"]


async def test_one_that_the_core_forgot_comes_back() -> None:
    async with fronted() as front, joined(front):
        for _ in range(3):
            await front.core.remove_engine("far")
            await until(lambda: "far" in {one.name for one in front.core.engines()})
        assert (await say(front))[0] == 200


async def test_r3_what_ran_on_an_engine_that_dies_is_said_by_another() -> None:
    """The first error does not remove an engine for all, and no call is lost with one."""
    async with fronted() as front:
        dying = Gated()
        async with AsyncExitStack() as second:
            async with joined(front, dying, name="first"):
                asked = [asyncio.create_task(say(front)) for _ in range(8)]
                await until(lambda: dying.open > 0)
                await second.enter_async_context(joined(front, name="second"))
            answers = await asyncio.gather(*asked)
            assert {status for status, _ in answers} == {200}
            _, here = await say(front, model="reference")
            assert all(answer["choices"] == here["choices"] for _, answer in answers)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"engine_config": {"model": "x", "port": 1}}, 400, "unreachable"),
        ({"engine_config": {"model": "x"}, "url": "file:///etc/passwd"}, 400, "unreachable"),
        ({"engine_config": {}}, 400, "invalid"),
        ({"engine_config": {"model": "x", "role": "boss"}}, 400, "invalid"),
        ({}, 400, "invalid"),
    ],
)
async def test_what_is_no_engine(body: Any, status: int, code: str) -> None:
    async with fronted() as front:
        found, answer = await front.ask("POST", "/register_engine", body)
        assert (found, answer["error"]["code"]) == (status, code), answer
        assert len(front.core.engines()) == 1


async def test_what_an_engine_can_do_is_known_to_the_core() -> None:
    """Over HTTP as in process: its room, its kind, and what it is for."""

    class Small(ReferenceEngine):
        async def ping(self) -> EngineInfo:
            ability = Ability(slots=3, tokens=70_000, caches=False, speed=Speed(0.01, 1e-5, 1e-3))
            return replace(await super().ping(), ability=ability)

    async with fronted(Small()) as front, served(Small()) as far:
        body = {"engine_config": {"name": "far", "model": "m", "role": "latency"}, "url": far.url}
        assert (await front.ask("POST", "/register_engine", body))[0] == 200
        here, there = (view.spec for view in front.core.engines())
        assert (here.role, there.role) == (Role.MIXED, Role.LATENCY)
        for spec in (here, there):
            assert (spec.slots, spec.tokens, spec.caches) == (3, 70_000, False)
            assert spec.cost.step(1000) == pytest.approx(0.02)
        _, listed = await front.ask("GET", "/v1/engines")
        assert [one["role"] for one in listed["engines"]] == ["mixed", "latency"]


async def test_parrots_payloads() -> None:
    """What its engines send: the address is in the config, and a heartbeat tells of the engine."""
    async with fronted() as front, served() as far:
        url = URL(far.url)
        config = {"engine_name": "old", "model": "remote", "host": url.host, "port": url.port,
                  "engine_type": "builtin", "tasks_capacity": 256}  # fmt: skip
        status, answer = await front.ask("POST", "/register_engine", {"engine_config": config})
        assert (status, answer) == (200, {"engine_id": "old"})
        beat = {"engine_id": "old", "engine_name": "old", "runtime_info": {"num_running_jobs": 0}}
        assert await front.ask("POST", "/engine_heartbeat", beat) == (200, {})
        beat["engine_id"] = "nobody"
        assert (await front.ask("POST", "/engine_heartbeat", beat))[0] == 404
