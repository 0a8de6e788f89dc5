"""Long texts are tokenised beside the loop, whoever reads them and wherever in a prompt."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from cores import call, given, made, output, plan_bytes, session_of, started

from parrotc.runtime.engines.protocol import Finished, GenerateRequest, Piece
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.longtexts import LONG, LongTexts, beforehand
from parrotc.runtime.tokenizer import ByteTokenizer

HELD = 0.5  # seconds that a long text takes
TEXT = "A parrot says what it has heard. " * (LONG // 32)
PLAN = """
pfunc one(text: str) -> str:
    "Read this: {{text}}\\nIn short:{{gen max_tokens=8}}"

pfunc two(text: str, n: int) -> str:
    "Read this: {{text}}\\nQuestion {{n}}:{{gen max_tokens=8}}"

pfunc both(text: str, short: str) -> str:
    "Read this: {{text}}\\nNow {{short}}:{{gen max_tokens=8}}"

pfunc talk(text: str) -> str:
    system "You read."
    user "{{text}}"
    assistant "{{gen max_tokens=8}}"

pfunc start(text: str) -> str:
    "Read this: {{text | truncate(tokens=20)}}\\nIn short:{{gen max_tokens=8}}"

flow alone(text: str) -> str:
    return one(text=text)

flow shared(text: str) -> list[str]:
    return [two(text=text, n=i) for i in range(3)]

flow early(text: str) -> str:
    return both(text=text, short=one(text="x"))

flow messages(text: str) -> str:
    return talk(text=text)

flow cut(text: str) -> str:
    return start(text=text)
"""
FLOWS = ("alone", "shared", "early", "messages", "cut")


class Slow(ByteTokenizer):
    """Takes its time for long texts, as real ones do."""

    def encode(self, text: str) -> list[int]:
        if len(text) > LONG:
            time.sleep(HELD)
        return super().encode(text)


class Silent(ReferenceEngine):
    """Says nothing."""

    def __init__(self) -> None:
        super().__init__(Slow())

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        yield Finished("end", "", (), 0)


@asynccontextmanager
async def unblocked() -> AsyncIterator[None]:
    """Fails if the loop stood still for as long as a long text takes."""
    worst = 0.0

    async def watch() -> None:
        nonlocal worst
        while True:
            begun = time.monotonic()
            await asyncio.sleep(0.01)
            worst = max(worst, time.monotonic() - begun)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    yield
    await asyncio.sleep(0.02)
    watching.cancel()
    assert worst < HELD


async def test_the_measure_can_fail() -> None:
    with pytest.raises(AssertionError):
        async with unblocked():
            await asyncio.sleep(0.02)
            Slow().encode(TEXT)


@pytest.mark.parametrize("flow", FLOWS)
async def test_of_a_plan(flow: str) -> None:
    async with started(Silent()) as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan_bytes(PLAN))
        begun = time.monotonic()
        async with unblocked():
            run = await core.invoke(tenant, "p", flow, {"text": TEXT})
            run = await core.wait_run(tenant, run.id, timeout=60)
        assert run.state == "done", run.diagnostic
        assert time.monotonic() - begun >= HELD, "it was tokenised at all"


async def test_of_a_semantic_call() -> None:
    async with started(Silent()) as core:
        session = await session_of(core)
        async with unblocked():
            view = await call(
                core, session, "Read {{text}}: {{a}} and {{b}}",
                given("text", TEXT), made("a"), made("b"),
            )  # fmt: skip
            assert await core.get_variable(session, output(view, "b")) == ""


async def test_of_a_value_that_comes_later() -> None:
    async with started(Silent()) as core:
        session = await session_of(core)
        text = (await core.create_variable(session, "text")).id
        view = await call(core, session, "Read {{text}}: {{a}}", given("text", var=text), made("a"))
        async with unblocked():
            await core.set_variable(session, text, TEXT)
            assert await core.get_variable(session, output(view)) == ""


@pytest.mark.parametrize("flow", FLOWS)
async def test_it_changes_nothing(flow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    for long in (100, 1 << 30):
        for where in ("longtexts", "reading", "generation"):
            monkeypatch.setattr(f"parrotc.runtime.{where}.LONG", long)
        async with started() as core:
            tenant = core.tenant(None)
            await core.put_plan(tenant, "p", plan_bytes(PLAN))
            run = await core.invoke(tenant, "p", flow, {"text": "It said: naïve. " * 20})
            said.append((await core.wait_run(tenant, run.id, timeout=60)).result)
    assert said[0] == said[1] and said[0]


async def test_ids_at_hand_are_the_callers_own() -> None:
    encoder = LongTexts(ByteTokenizer())
    async with beforehand(encoder, [TEXT], [TEXT]):
        for read in (encoder.encode, encoder.stable_prefix):
            read(TEXT).clear()
            assert read(TEXT) == list(TEXT.encode())
    assert not encoder.encoded and not encoder.certain
