"""What docs/engine.md says of requests, Parrot's among them."""

import re
import shlex
from pathlib import Path

from fakes import finish
from served import holds, served, until

from parrotc.runtime.engines.http.server import EngineServer
from parrotc.runtime.engines.protocol import (
    FillRequest,
    GenerateRequest,
    Sampling,
)
from parrotc.runtime.engines.reference import ReferenceEngine

# --- Parrot's requests ---


async def test_parrots_requests() -> None:
    """A context grows in place: fill, generate, fill, generate under one name."""
    base = {"pid": 0, "tid": 0, "context_id": 7, "parent_context_id": -1, "end_flag": False}
    config = {"temperature": 0.0, "max_gen_length": 6, "stop_str": None, "stop_token_ids": []}
    async with served() as one:
        assert await one.post("/fill", {**base, "token_ids": [97, 98], "text": None}) == (
            200, {"filled_len": 2},
        )  # fmt: skip
        assert (await one.post("/fill", {**base, "text": "cd"}))[1] == {"filled_len": 2}
        _, first = await one.post("/generate", {**base, "sampling_config": config})
        _, events = await one.post("/generate_stream", {**base, "sampling_config": config})
        second = events[-1]["finished"]
        fork = {**base, "context_id": 8, "parent_context_id": 7, "text": "!"}
        assert (await one.post("/fill", fork))[0] == 200

        alone = ReferenceEngine()
        await alone.fill([FillRequest(1, None, tuple(b"abcd"))])
        ends = []
        for n in (1, 2):
            ends.append(await finish(alone, GenerateRequest(n + 1, n, Sampling(max_tokens=6))))
        assert first == {"generated_text": ends[0].text, "generated_ids": list(ends[0].ids)}
        assert second["text"] == ends[1].text
        kept = ends[0].kept + ends[1].kept
        assert (await one.post("/free_context", {"context_id": 7}))[1] == {"context_len": 4 + kept}
        status, pong = await one.post("/ping", {})
        assert status == 200 and pong["pong"] is True
        assert pong["runtime_info"]["num_cached_tokens"] == 5 + kept
        await one.post("/free_context", {"context_id": 8})
        await until(lambda: holds(one, 0))


async def test_growing_requests_take_turns() -> None:
    async with served() as one:
        texts = [chr(97 + n) for n in range(12)]
        asked = [{"fill": {"context_id": 1, "text": text}} for text in texts]
        asked.append({"generate": {"context_id": 1, "sampling_config": {"max_gen_length": 9}}})
        _, events = await one.post("/batch", asked)
        alone = ReferenceEngine()
        await alone.fill([FillRequest(1, None, tuple("".join(texts).encode()))])
        finished = await finish(alone, GenerateRequest(2, 1, Sampling(max_tokens=9)))
        assert events[-1]["finished"]["text"] == finished.text
        await until(lambda: holds(one, 1))


# --- the page about it ---

PAGE = Path(__file__).parent.parent.parent / "docs" / "engine.md"


async def test_the_lines_of_the_page_work() -> None:
    lines = [shlex.split(one) for one in re.findall(r"^curl .*$", PAGE.read_text(), re.MULTILINE)]
    assert len(lines) >= 10
    async with served() as one:
        for _, address, *body in lines:
            path = address.removeprefix("localhost:9001")
            method, data = ("POST", body[1].encode()) if body else ("GET", None)
            status, answer = await one.ask(method, path, data)
            assert status == 200 and "error" not in str(answer), (path, answer)
        await until(lambda: holds(one, 0))


async def test_the_page_names_every_route() -> None:
    app = EngineServer(ReferenceEngine()).app()
    routes = {(r.method, r.resource.canonical) for r in app.router.routes() if r.resource}
    told = set(re.findall(r"`(GET|POST|DELETE) (/[^ `]*)`", PAGE.read_text()))
    told = {(method, path.replace("NAME", "{name}")) for method, path in told}
    assert {(m, p) for m, p in routes if m != "HEAD"} == told | {("POST", "/ping")}
