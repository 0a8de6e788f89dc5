"""How much is asked of an endpoint, and which server is asked, on a clock of the test's own."""

import asyncio
from collections import Counter
from hashlib import blake2b

import pytest
from endpoints import Fault, standin
from hypothesis import given
from hypothesis import strategies as st
from served import until
from talking import OPEN, USER, talking

from parrotc.runtime.engines.openai.limits import Bucket
from parrotc.runtime.engines.openai.routing import WARM, Prefix, Router
from parrotc.runtime.engines.protocol import EngineError


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        await asyncio.sleep(0)


@given(
    per_minute=st.integers(1, 500),
    asked=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 600)), max_size=12),
)
def test_no_minute_has_more_than_two_fillings(
    per_minute: int, asked: list[tuple[float, int]]
) -> None:
    """One that was saved up, and what came in during that minute."""
    clock = Clock()
    taken: list[tuple[float, float]] = []

    async def run() -> None:
        bucket = Bucket(per_minute, clock, clock.sleep)
        for pause, amount in asked:
            clock.now += pause
            await bucket.take(amount)
            taken.append((clock.now, min(amount, per_minute)))

    asyncio.run(run())
    for at, _ in taken:
        within = sum(amount for then, amount in taken if at <= then < at + 60)
        assert within <= 2 * per_minute + 1e-6
    if taken:
        spent, last = sum(amount for _, amount in taken), taken[-1][0]
        assert spent <= per_minute * (1 + last / 60) + 1e-6


async def test_a_full_bucket_is_no_reason_to_wait() -> None:
    clock = Clock()
    bucket = Bucket(60, clock, clock.sleep)
    for _ in range(60):
        await bucket.take(1)
    assert clock.now == 0.0
    await bucket.take(1)
    assert clock.now == pytest.approx(1.0)
    await Bucket(0, clock, clock.sleep).take(10**9)  # no limit
    assert clock.now == pytest.approx(1.0)


async def test_so_many_at_the_same_time_and_no_more() -> None:
    async with standin() as server, talking(server, profile="vllm", concurrency=3) as talk:
        server.gate.clear()
        server.says = "one two"
        asking = [asyncio.create_task(talk.ask(("user", str(n)), OPEN)) for n in range(9)]
        await until(lambda: server.open == 3)
        await asyncio.sleep(0.05)
        assert server.open == 3
        server.gate.set()
        await asyncio.gather(*asking)
        assert server.most == 3 and len(server.seen) == 9


async def test_rates_are_waited_for() -> None:
    async with standin() as server:
        options = {"profile": "vllm", "requests_per_minute": 2, "tokens_per_minute": 10**6}
        async with talking(server, **options) as talk:
            clock = Clock()
            talk.endpoint.limits._requests = Bucket(2, clock, clock.sleep)
            for _ in range(5):
                await talk.ask(USER, OPEN)
            assert clock.now == pytest.approx(90.0)


@pytest.mark.parametrize(
    ("options", "calls", "words"),
    [
        ({"budget_requests": 3}, 3, "3 requests"),
        ({"budget_tokens": 100}, None, "100 tokens"),
        ({"budget_cost": 0.001, "price_in": 10.0, "price_out": 20.0}, None, "0.001 for the cost"),
    ],
)
async def test_a_budget_ends(options: dict[str, float], calls: int | None, words: str) -> None:
    async with standin() as server, talking(server, profile="vllm", **options) as talk:
        done = 0
        with pytest.raises(EngineError, match=words) as caught:
            for _ in range(50):
                await talk.ask(USER, OPEN)
                done += 1
        assert caught.value.code == "budget"
        assert len(server.seen) == done and done == (calls or done)
        limits = talk.endpoint.limits
        if "budget_tokens" in options:
            assert 100 <= limits.tokens < 200
        if "budget_cost" in options:
            assert 0.001 <= limits.cost < 0.002


def prefix(name: str, length: int = 10 * WARM, shared: bool = True) -> Prefix:
    return Prefix(blake2b(name.encode(), digest_size=8).digest(), length, shared)


@given(names=st.lists(st.text(max_size=5), min_size=1, max_size=50, unique=True))
def test_a_prefix_stays_where_it_is_when_another_server_goes(names: list[str]) -> None:
    urls = [f"http://{n}/v1" for n in "abcd"]
    router, smaller = Router(urls), Router(urls[:-1])
    for name in names:
        first = router.order(prefix(name).digest)[0].url
        if first != urls[-1]:
            assert smaller.order(prefix(name).digest)[0].url == first


def test_prefixes_are_spread() -> None:
    router = Router([f"http://{n}/v1" for n in "abcd"])
    firsts = Counter(router.order(prefix(str(n)).digest)[0].url for n in range(400))
    assert min(firsts.values()) > 60


@given(st.lists(st.integers(0, 5), max_size=60))
def test_no_server_has_far_more_than_its_share(calls: list[int]) -> None:
    router = Router([f"http://{n}/v1" for n in "abc"])
    for call in calls:
        router.pick(prefix(str(call)).digest).running += 1
    total = len(calls)
    assert all(one.running <= 1.25 * (total + 1) / 3 + 1 for one in router.servers)


def test_a_server_that_fails_is_passed_over_for_a_while() -> None:
    clock = Clock()
    router = Router(["http://a/v1", "http://b/v1"], clock)
    digest = prefix("x").digest
    first = router.pick(digest)
    router.failed(first)
    second = router.pick(digest)
    assert second is not first
    router.failed(second)
    clock.now = 1.0
    assert router.pick(digest) in (first, second)
    clock.now = 60.0
    assert router.pick(digest) is first


LONG = "The document. " * 200


async def test_the_first_call_goes_ahead() -> None:
    """The others follow when it begins to answer, and later ones wait for nobody."""
    async with standin() as server, talking(server, profile="vllm") as talk:
        server.says = "one two"
        shared = await talk.context(("system", LONG), ("user", ""), shared=True)
        server.hold.clear()
        leaves = [await talk.context(("", f"{n}"), parent=shared) for n in range(5)]
        asking = [asyncio.create_task(talk.say(leaf)) for leaf in leaves]
        await until(lambda: len(server.seen) == 1)
        await asyncio.sleep(0.05)
        assert len(server.seen) == 1
        server.hold.set()
        await asyncio.gather(*asking)
        server.hold.clear()
        asking = [asyncio.create_task(talk.say(leaf)) for leaf in leaves]
        await until(lambda: len(server.seen) == 10)
        server.hold.set()
        await asyncio.gather(*asking)


@pytest.mark.parametrize(("text", "shared"), [("short", True), (LONG, False)])
async def test_nobody_waits_for_what_is_not_worth_it(text: str, shared: bool) -> None:
    async with standin() as server, talking(server, profile="vllm") as talk:
        server.says = "one two"
        base = await talk.context(("system", text), ("user", ""), shared=shared)
        server.hold.clear()
        leaves = [await talk.context(("", f"{n}"), parent=base) for n in range(5)]
        asking = [asyncio.create_task(talk.say(leaf)) for leaf in leaves]
        await until(lambda: len(server.seen) == 5)
        server.hold.set()
        await asyncio.gather(*asking)


async def test_one_that_went_ahead_and_failed_holds_nobody_up() -> None:
    async with standin() as server, talking(server, profile="vllm", retries=0) as talk:
        server.says = "one two"
        server.faults = [Fault(status=400)]
        shared = await talk.context(("system", LONG), ("user", ""), shared=True)
        leaves = [await talk.context(("", f"{n}"), parent=shared) for n in range(4)]
        asking = [asyncio.create_task(talk.say(leaf)) for leaf in leaves]
        done = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 5)
        assert sum(isinstance(one, EngineError) for one in done) == 1


async def test_calls_that_share_a_prefix_go_to_one_server() -> None:
    async with standin() as one, standin() as two, standin() as three:
        servers = [one, two, three]
        async with talking(servers, profile="vllm") as talk:
            for document in range(12):
                text = ("system", f"Document {document}: {LONG}")
                base = await talk.context(text, ("user", ""), shared=True)
                for question in range(3):
                    await talk.say(await talk.context(("", f"{question}"), parent=base))
        read = [Counter(seen.body["messages"][0]["content"] for seen in s.seen) for s in servers]
        assert all(count == 3 for counts in read for count in counts.values())
        assert sum(map(len, read)) == 12 and all(read)


async def test_a_dead_server_is_left_for_another() -> None:
    async with standin() as alive:
        async with standin() as dead:
            pass
        async with talking([dead, alive], profile="vllm", retries=2) as talk:
            for n in range(8):
                assert (await talk.ask(("user", str(n)), OPEN)).text
        assert len(alive.seen) == 8 and talk.waits == []
