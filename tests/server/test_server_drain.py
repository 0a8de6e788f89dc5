"""A server that is told to stop takes nothing new, and lets what it began end."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from fronted import fronted
from served import Gated, until

HI = [{"role": "user", "content": "Hi"}]


async def test_draining() -> None:
    engine = Gated()
    async with fronted(engine) as front:
        parrot = await front.parrot()
        out = {"name": "a", "is_output": True}
        said = await parrot.output("Say: {{a}}", [out])
        begun = asyncio.create_task(parrot.ask("GET", f"/v1/semantic_var/{said}", {}))
        await until(lambda: engine.open == 1)
        draining = asyncio.create_task(front.core.drain(30))
        await until(lambda: front.core.is_draining)
        assert await front.ask("GET", "/health") == (503, {"status": "draining"})
        for path, body in (
            ("/v1/session", {}),
            ("/v1/chat/completions", {"model": front.model, "messages": HI}),
        ):
            status, refused = await front.ask("POST", path, body)
            assert (status, refused["error"]["code"]) == (503, "unavailable"), path
        status, _ = await parrot.ask(
            "POST", "/v1/semantic_call", {"template": "Say: {{a}}", "parameters": [out]}
        )
        assert status == 503
        async with front.http.post(f"{front.url}/v1/session", json={}) as response:
            assert int(response.headers["Retry-After"]) >= 1
        engine.gate.set()
        status, value = await begun
        assert status == 200 and value["content"]
        assert await draining


SERVER = """
import asyncio
from fronted import core_on
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.server.app import serve

core = core_on(ReferenceEngine(latency=1.0), drain=20.0)
asyncio.run(serve(core, "127.0.0.1", 0, announce=lambda url: print(url, flush=True)))
"""


def test_sigterm_lets_a_request_end() -> None:
    """As a process: the answer comes, nothing new is taken, and the exit is clean."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        body = json.dumps({"model": "reference", "messages": HI}).encode()
        asked = subprocess.Popen(
            ["curl", "-sS", f"{url}/v1/chat/completions", "-d", body], stdout=subprocess.PIPE
        )
        metrics = f"{url}/metrics"
        while b"parrotc_requests_open 2.0" not in urlopen(metrics, timeout=10).read():
            pass
        server.send_signal(signal.SIGTERM)
        status = 200
        while status == 200:
            try:
                status = urlopen(f"{url}/health", timeout=10).status
            except HTTPError as error:
                status = error.code
        assert status == 503
        try:
            urlopen(Request(f"{url}/v1/session", b"{}"), timeout=10)
            raise AssertionError("a new session")
        except HTTPError as error:
            assert error.code == 503
        answer, _ = asked.communicate(timeout=30)
        assert json.loads(answer)["choices"][0]["message"]["content"]
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()
