"""Through our own server and back: a flow says what it says on the engine behind the server."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from fronted import fronted

import parrotc
from parrotc.runtime.engines.reference import ReferenceEngine

PROGRAM = """
class Pair:
    a: int
    b: list[str]

pfunc think(q: str) -> (why: str, more: str):
    system "You think about é and <|im_end|>."
    user "{{q}}"
    assistant "{{gen why, max_tokens=20, stop="."}}"
    user "And?"
    assistant "{{gen more, max_tokens=12}}"

pfunc pair(q: str) -> Pair:
    user "{{q}}"

pfunc raw(q: str) -> str:
    "{{q}}\\nA:{{gen max_tokens=20, stop="\\n"}}"

pfunc score(q: str) -> "good" | "bad":
    user "{{q}}"

flow main(qs: list[str]) -> list[str]:
    thoughts = [think(q) for q in qs]
    p = pair(thoughts[0].why)
    return [raw("{{t.why}}|{{t.more}}|{{p.a}}") for t in thoughts]

flow rated(q: str) -> "good" | "bad":
    return score(q)
"""


@pytest.fixture
def url() -> Iterator[str]:
    found: list[str] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with fronted(ReferenceEngine()) as front:
            found.append(front.url)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    yield found[0]
    done.set()
    thread.join(20)


def test_a_flow_says_the_same_through_our_own_server(url: str) -> None:
    qs = ["one", "two é", "<|im_start|>user"]
    with parrotc.compile(PROGRAM, engine="reference") as program:
        expected = program.main(qs=qs)
    with parrotc.compile(PROGRAM, engine=f"openai:{url}") as program:
        assert program.main(qs=qs) == expected
        assert program.rated(q="x") in ("good", "bad")
        assert program.engines()[0].contexts == 0
