"""Calls to a core over HTTP, from a client on the same cores.

*Calls* are semantic calls, one request each, and one more that waits for the text: of 40
templates, each with a value of its own, in sessions of 100. *Plans* are runs of a flow of 21 calls,
one request each. 64 clients ask at the same time. The server's own time is told apart from the
client's, which costs about as much on the same machine. Latency is that of one client alone. Memory
is what Python holds in the server after a first part of the calls and after all of them, when
nothing is open.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp
from serve_parts.server import Figures, Server, server

from parrotc.driver import compile_source
from parrotc.ir.source import Source
from parrotc.targets import ModelOverrides

CLIENTS, ALONE = 64, 300
TEMPLATES, OF_SESSION = 40, 100
WIDTH = 20  # parts of a document in a run
PLAN = """
pfunc part(n: int) -> str:
    "You read a part of a long document with care. Part {{n}}:{{gen max_tokens=8}}"

pfunc whole(parts: list[str]) -> str:
    "You sum up the parts of a document. {{parts | bullets}} In short:{{gen max_tokens=8}}"

flow main(n: int) -> str:
    parts = [part(n=i) for i in range(n)]
    return whole(parts=parts)
"""
Json = Any
Ask = Callable[["Client", int], Awaitable[int]]  # with a number; gives how many calls that was


@dataclass
class Measure:
    """Times in microseconds, `late` too; a request is one of HTTP."""

    what: str
    engines: int
    calls: int
    requests: int
    calls_per_second: float
    calls_per_server_cpu_second: float
    server_cpu: float
    p50: float
    p99: float
    late: float
    compiled: int
    blocks_before: int
    blocks_after: int
    resident_before: int
    resident_after: int


class Client:
    """One that asks, and counts."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url, self._http = url, http
        self.requests = 0
        self.session: dict[str, str] = {}
        self.left = 0  # calls until another session

    async def ask(self, method: str, path: str, body: Json = None) -> Json:
        self.requests += 1
        async with self._http.request(method, self._url + path, json=body) as response:
            said = await response.json()
            assert response.status == 200, said
            return said

    async def renew(self) -> None:
        """A new session, and the end of the old one."""
        await self.end()
        opened = await self.ask("POST", "/v1/session", {})
        self.session = {name: opened[name] for name in ("session_id", "session_auth")}
        self.left = OF_SESSION

    async def end(self) -> None:
        if self.session:
            await self.ask("DELETE", f"/v1/session/{self.session['session_id']}", self.session)
            self.session = {}


async def call(client: Client, number: int) -> int:
    if not client.left:
        await client.renew()
    client.left -= 1
    body = {
        "template": f"You are parrot {number % TEMPLATES}. " * 5
        + "{{question}} Answer: {{answer}}",
        "parameters": [
            {"name": "question", "is_output": False, "value": f"What is {number}?"},
            {"name": "answer", "is_output": True, "sampling_config": {"max_gen_length": 8}},
        ],
    }
    taken = await client.ask("POST", "/v1/semantic_call", client.session | body)
    answer = taken["param_info"][1]["var_id"]
    said = await client.ask("GET", f"/v1/semantic_var/{answer}", client.session)
    assert said == {"content": "parrots."}, said
    return 1


async def plan(client: Client, number: int) -> int:
    body = {"inputs": {"n": WIDTH}, "seed": number}
    said = await client.ask("POST", "/v1/plans/document/main", body)
    assert said["result"] == "parrots.", said
    return WIDTH + 1


async def measure(
    what: str, ask: Ask, engines: int, calls: int, each: int, *, journaled: bool
) -> Measure:
    """`calls` of them, of which a request makes `each`."""
    with server(engines, journaled=journaled) as on:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            clients = [Client(on.url, http) for _ in range(CLIENTS)]
            await _store(http, on)
            await _asked(ask, clients, calls // each // 4)  # what is made once is there
            times = await _alone(ask, clients[0])
            before, requests = on.figures(), sum(client.requests for client in clients)
            begun = time.perf_counter()
            done = await _asked(ask, clients, calls // each)
            wall = time.perf_counter() - begun
            after = on.figures()
            requests = sum(client.requests for client in clients) - requests
            return _measure(what, engines, done, requests, wall, times, before, after)


async def _store(http: aiohttp.ClientSession, on: Server) -> None:
    compiled = compile_source(Source("document.pfn", PLAN), models=ModelOverrides("reference"))
    url = f"{on.url}/v1/plans/document"
    async with http.put(url, data=compiled.plan.to_json()) as response:
        assert response.status == 200, await response.text()


async def _asked(ask: Ask, clients: Sequence[Client], times: int) -> int:
    """All clients together ask so many times; gives the calls that were made. No session stays."""
    numbers = iter(range(times))

    async def client(one: Client, numbers: Iterator[int]) -> int:
        done = 0
        for number in numbers:
            done += await ask(one, number)
        await one.end()
        one.left = 0
        return done

    return sum(await asyncio.gather(*(client(one, numbers) for one in clients)))


async def _alone(ask: Ask, client: Client) -> list[float]:
    times = []
    for number in range(ALONE):
        begun = time.perf_counter()
        await ask(client, number)
        times.append(time.perf_counter() - begun)
    await client.end()
    client.left = 0
    return sorted(times)


def _measure(
    what: str,
    engines: int,
    calls: int,
    requests: int,
    wall: float,
    times: Sequence[float],
    before: Figures,
    after: Figures,
) -> Measure:
    generated = after.generated - before.generated
    assert generated == calls, f"{generated:,} generations of {calls:,} calls"
    cpu = after.cpu - before.cpu
    return Measure(
        what=what,
        engines=engines,
        calls=calls,
        requests=requests,
        calls_per_second=calls / wall,
        calls_per_server_cpu_second=calls / cpu,
        server_cpu=cpu,
        p50=1e6 * times[len(times) // 2],
        p99=1e6 * times[len(times) * 99 // 100],
        late=1e6 * after.late,
        compiled=after.compiled,
        blocks_before=before.blocks,
        blocks_after=after.blocks,
        resident_before=before.resident,
        resident_after=after.resident,
    )


HEADER = (
    "what   engines    calls  calls/s  /server CPU s  p50 µs  p99 µs  late ms  compiled"
    "  objects, k       MB"
)


def row(found: Measure) -> str:
    return (
        f"{found.what:6} {found.engines:7,} {found.calls:8,} {found.calls_per_second:8,.0f}"
        f" {found.calls_per_server_cpu_second:14,.0f} {found.p50:7.0f} {found.p99:7.0f}"
        f" {found.late / 1e3:8.0f} {found.compiled:9}"
        f"  {found.blocks_before / 1e3:.1f} → {found.blocks_after / 1e3:.1f}"
        f"  {found.resident_before / 1e6:.0f} → {found.resident_after / 1e6:.0f}"
    )


def over_http(
    engines: Sequence[int], calls: int, *, journaled: bool = False
) -> list[dict[str, Any]]:
    print(HEADER)
    measures = []
    for count in engines:
        for what, ask, each in (("calls", call, 1), ("plans", plan, WIDTH + 1)):
            found = asyncio.run(measure(what, ask, count, calls, each, journaled=journaled))
            print(row(found), flush=True)
            measures.append(asdict(found))
    return measures
