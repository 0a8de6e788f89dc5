"""Faults of Parrot's server, each by its row in the design: here they do not happen."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fronted import Front, Parrot, fronted

from parrotc.runtime.engines.protocol import (
    EngineError,
    Finished,
    GenerateRequest,
    Piece,
)
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.server.app import WATCHDOG
from parrotc.runtime.server.watchdog import LIMIT, TICK

ASK = "Say {{what}}: {{said}}"
OUT = {"name": "said", "is_output": True, "sampling_config": {"max_gen_length": 8}}
NATIVES = {
    "natives": ("functions:shout", "functions:sleep", "functions:fail"),
    "native_path": str(Path(__file__).parent),
}


def what(value: str) -> dict[str, Any]:
    return {"name": "what", "is_output": False, "value": value}


class Picky(ReferenceEngine):
    """Fails, with `code`, whenever the prompt holds the word."""

    def __init__(self, word: str, code: str) -> None:
        super().__init__()
        self.word, self.code = word, code
        self._texts: dict[int, str] = {}

    async def fill(self, requests: Any) -> None:
        await super().fill(requests)
        for request in requests:
            before = self._texts.get(request.parent, "")
            self._texts[request.context] = before + self.tokenizer.decode(request.ids)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        if self.word in self._texts[request.parent]:
            raise EngineError(self.code, "a fault of the engine")
        async for item in super().generate(request):
            yield item


async def answer(parrot: Parrot, value: str, timeout: float = 20) -> tuple[int, Any]:
    said = await parrot.output(ASK, [what(value), OUT])
    return await parrot.ask("GET", f"/v1/semantic_var/{said}", {"timeout": timeout})


async def native(parrot: Parrot, name: str, value: str, timeout: float = 20) -> tuple[int, Any]:
    status, taken = await parrot.ask(
        "POST",
        "/v1/py_native_call",
        {"func_name": name, "timeout": timeout, "parameters": [
            {"name": "text", "is_output": False, "value": value},
            {"name": "result", "is_output": True}]},
    )  # fmt: skip
    assert status == 200, taken
    (result,) = [one["var_id"] for one in taken["param_info"] if one["is_output"]]
    return await parrot.ask("GET", f"/v1/semantic_var/{result}", {"timeout": 30})


# --- R1: one user cannot end the core, or harm another ---


@pytest.mark.parametrize("code", ["internal", "constraint", "invalid", "unavailable"])
async def test_r1_a_call_that_an_engine_fails_at_is_its_callers_alone(code: str) -> None:
    async with fronted(Picky("poison", code)) as front:
        alice, bob = await front.parrot(), await front.parrot()
        ill, well = await asyncio.gather(answer(alice, "poison"), answer(bob, "hello"))
        assert ill[0] == 422 and ill[1]["error"]["code"].startswith("E06"), ill
        assert well[0] == 200 and well[1]["content"]
        # nor is it over for whoever failed
        again = await answer(alice, "hello")
        assert again == well


async def test_r1_a_call_that_nobody_reads() -> None:
    async with fronted() as front:
        parrot = await front.parrot()
        for _ in range(20):
            await parrot.output(ASK, [what("x"), OUT])
        assert (await parrot.ask("DELETE", f"/v1/session/{parrot.session_id}", {}))[0] == 200
        assert (await answer(await front.parrot(), "hello"))[0] == 200


async def test_r1_a_model_that_is_not_there() -> None:
    async with fronted() as front:
        parrot = await front.parrot()
        status, refused = await parrot.ask(
            "POST", "/v1/semantic_call",
            {"template": ASK, "parameters": [what("x"), OUT], "models": ["gpt-9"]},
        )  # fmt: skip
        assert status == 404 and "gpt-9" in refused["error"]["message"]
        status, refused = await parrot.ask(
            "POST", "/v1/semantic_call",
            {"template": ASK, "parameters": [what("x"), OUT], "model_type": "image"},
        )  # fmt: skip
        assert status == 400
        assert (await answer(parrot, "hello"))[0] == 200


async def test_r1_a_native_runs_on_any_python() -> None:
    async with fronted(**NATIVES) as front:
        assert await native(await front.parrot(), "shout", "hey") == (200, {"content": "HEY"})


# --- R2: every getter ends ---


async def test_r2_a_native_that_raises() -> None:
    async with fronted(**NATIVES) as front:
        parrot = await front.parrot()
        status, failed = await native(parrot, "fail", "here")
        assert status == 422 and "nothing called here" in failed["error"]["message"], failed
        assert (await native(parrot, "shout", "on"))[0] == 200


async def test_r2_a_native_that_hangs() -> None:
    async with fronted(**NATIVES) as front:
        status, failed = await native(await front.parrot(), "sleep", "60", timeout=0.2)
        assert status == 422, failed


async def test_r2_an_oversized_request() -> None:
    async with fronted(max_variable=1000, max_template=1000) as front:
        parrot = await front.parrot()
        status, refused = await parrot.ask(
            "POST", "/v1/semantic_call",
            {"template": ASK + "x" * 1000, "parameters": [what("x"), OUT]},
        )  # fmt: skip
        assert (status, refused["error"]["code"]) == (413, "too_large")
        status, refused = await parrot.ask(
            "POST", "/v1/semantic_var", {"var_name": "x", "content": "x" * 1001}
        )
        assert (status, refused["error"]["code"]) == (413, "too_large")


async def test_r2_a_prompt_that_no_engine_can_read() -> None:
    engine = ReferenceEngine()
    engine.tokenizer.context_length = 100
    async with fronted(engine) as front:
        status, failed = await answer(await front.parrot(), "x" * 200)
        assert status == 422 and failed["error"]["code"] == "E0604", failed


async def test_r2_a_fault_flows_to_whoever_reads_what_it_would_have_made() -> None:
    async with fronted(Picky("poison", "constraint")) as front:
        parrot = await front.parrot()
        first = await parrot.output(ASK, [what("poison"), OUT])
        last = await parrot.output(ASK, [{"name": "what", "var_id": first}, OUT])
        status, failed = await parrot.ask("GET", f"/v1/semantic_var/{last}", {"timeout": 20})
        assert status == 422 and "a fault of the engine" in failed["error"]["message"]


# --- R4: the loop never blocks ---


@asynccontextmanager
async def unblocked(front: Front) -> AsyncIterator[None]:
    """Fails if the loop was held up while the machine was not, as a thread beside it measures."""
    over = threading.Event()
    late = [0.0]

    def measure() -> None:
        while not over.is_set():
            due = time.monotonic() + TICK
            time.sleep(TICK)
            late[0] = max(late[0], time.monotonic() - due)

    thread = threading.Thread(target=measure)
    front.app[WATCHDOG].take_worst()
    thread.start()
    try:
        yield
        await asyncio.sleep(2 * TICK)
    finally:
        over.set()
        thread.join()
    assert front.app[WATCHDOG].take_worst() - late[0] < LIMIT


async def test_r4_a_native_that_sleeps_freezes_nobody() -> None:
    async with fronted(**NATIVES) as front:
        parrot = await front.parrot()
        await native(parrot, "shout", "warm")
        async with unblocked(front):
            asleep = asyncio.create_task(native(parrot, "sleep", "0.8"))
            for _ in range(5):
                assert (await front.ask("GET", "/health"))[0] == 200
                assert (await answer(parrot, "hello"))[0] == 200
            assert not asleep.done()
            assert (await asleep)[0] == 200


class Instant(ReferenceEngine):
    """Says nothing, whatever the prompt."""

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        yield Finished("end", "", (), 0)


@asynccontextmanager
async def computing_little() -> AsyncIterator[None]:
    """Fails if the loop's thread computed for long in one turn. By the processor's time, so it does
    not matter what else the machine does, nor how long other threads of this process keep it."""
    longest = 0.0

    async def measure() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)

    measuring = asyncio.create_task(measure())
    try:
        yield
    finally:
        measuring.cancel()
    assert longest < LIMIT


async def test_r4_a_large_body_holds_up_nobody() -> None:
    async with fronted(Instant()) as front:
        prompt = [list(range(200)) * 45] * 100
        body = json.dumps({"model": front.model, "prompt": prompt}).encode()
        assert len(body) > 3_500_000
        async with computing_little():
            status, said = await front.ask("POST", "/v1/completions", body)
        assert status == 200 and said["usage"]["prompt_tokens"] == 900_000
        assert (await front.ask("POST", "/v1/completions", body + b" " * 1_000_000))[0] == 413


async def test_r4_the_other_measure_can_fail() -> None:
    with pytest.raises(AssertionError):
        async with computing_little():
            await asyncio.sleep(0)
            end = time.thread_time() + LIMIT + 0.1
            while time.thread_time() < end:
                pass
            await asyncio.sleep(TICK)


async def test_r4_the_measure_can_fail() -> None:
    async with fronted() as front:
        with pytest.raises(AssertionError):
            async with unblocked(front):
                time.sleep(LIMIT + 0.15)
                await asyncio.sleep(2 * TICK)
