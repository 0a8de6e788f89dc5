"""Anything may happen to engines and callers: what is said is what one quiet engine says, and in
the end nothing is left."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from faulty import FaultyEngine
from virtual import virtually

from parrotc.runtime.core.registry import RouterLimits
from parrotc.runtime.core.router import Router
from parrotc.runtime.engines.protocol import (
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Hints,
    Sampling,
    new_context,
)
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.scheduling.engines import EngineSpec
from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.scheduling.tasks import Criteria

ENGINES, CALLERS, STEPS = 3, 4, 40
ANY_NUMBER = 10_000


class World:
    """A router over engines that come and go, and callers that know what they hold."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.quiet = ReferenceEngine()
        self.router = Router(
            "m",
            self.quiet.tokenizer,
            config=SchedulerConfig(kills=ANY_NUMBER, suspects=ANY_NUMBER),
            limits=RouterLimits(attempts=ANY_NUMBER, silence=20, heartbeat=10, backoff=0.05),
        )
        self.engines = {f"e{n}": self.new_engine() for n in range(ENGINES)}
        for name in self.engines:
            self.register(name)
        self.all_engines = list(self.engines.values())
        self.checked = self.cancelled = 0
        self.is_over = False

    def new_engine(self) -> FaultyEngine:
        return FaultyEngine(self.trick, latency=self.random.choice((0.0, 0.1, 1.0)))

    def trick(self, engine: FaultyEngine, request: GenerateRequest, number: int) -> Any:
        chance = 1.0 if self.is_over else self.random.random()
        if chance < 0.01:
            raise EngineError(self.random.choice(("internal", "unavailable")), "a fault")
        if chance < 0.013:
            return asyncio.sleep(1e9)  # hangs
        return asyncio.sleep(self.random.random() * 0.3)

    def register(self, name: str) -> None:
        spec = EngineSpec(
            name=name, model="m", slots=3, caches=self.random.random() < 0.5,
            resumes=self.random.random() < 0.7, context_length=1_000_000, tokens=1_000_000,
        )  # fmt: skip
        self.router.register(name, self.engines[name], spec)

    # --- engines ---

    async def chaos(self) -> None:
        while not self.is_over:
            await asyncio.sleep(self.random.expovariate(0.5))
            name = self.random.choice(list(self.engines))
            await self.random.choice((self.kill, self.replace, self.drain, self.cut_off))(name)

    async def kill(self, name: str) -> None:
        """It loses everything, and is asked until it is there again."""
        engine = self.engines[name]
        engine.die()
        await asyncio.sleep(self.random.random() * 5)
        engine.revive()

    async def cut_off(self, name: str) -> None:
        """It cannot be reached for a while, and loses nothing."""
        self.engines[name].dead = True
        await asyncio.sleep(self.random.random() * 5)
        self.engines[name].dead = False

    async def replace(self, name: str) -> None:
        """Another engine takes its name."""
        self.engines[name] = self.new_engine()
        self.all_engines.append(self.engines[name])
        self.register(name)

    async def drain(self, name: str) -> None:
        await self.router.drain(name)
        await asyncio.sleep(self.random.random())
        await self.replace(name)

    # --- callers ---

    async def caller(self, salt: str) -> None:
        held: dict[int, tuple[int, ...]] = {}
        for _ in range(STEPS):
            await asyncio.sleep(self.random.random() * 0.2)
            acts: list[Callable[..., Any]] = [self.fill]
            if held:
                acts += [self.fill, self.generate, self.generate, self.together, self.free]
            await self.random.choice(acts)(held, salt)
        await self.router.free(list(held))

    async def fill(self, held: dict[int, tuple[int, ...]], salt: str) -> None:
        parent = self.random.choice([None, *held])
        requests = []
        for _ in range(self.random.randrange(1, 4)):
            ids = tuple(self.random.choices(range(60, 64), k=self.random.randrange(4)))
            name = new_context()
            early = self.random.random() < 0.3
            requests.append(FillRequest(name, parent, ids, early, salt if parent is None else ""))
            held[name] = (held[parent] if parent is not None else ()) + ids
            parent = self.random.choice([parent, name])
        await self.router.fill(requests)

    async def together(self, held: dict[int, tuple[int, ...]], salt: str) -> None:
        """Several generations that are waited for together, some of which are given up."""
        parent = self.random.choice(list(held))
        group = str(new_context())
        work = [
            asyncio.create_task(
                self.one(parent, held[parent], Hints(tenant=salt, group=group, group_size=4))
            )
            for _ in range(4)
        ]
        if self.random.random() < 0.3:
            await asyncio.sleep(self.random.random() * 2)
            work[0].cancel()
            self.cancelled += 1
        ends = await asyncio.gather(*work, return_exceptions=True)
        for end in ends:
            if isinstance(end, tuple):
                held[end[0]] = end[1]
            elif not isinstance(end, asyncio.CancelledError):
                raise end

    async def generate(self, held: dict[int, tuple[int, ...]], salt: str) -> None:
        parent = self.random.choice(list(held))
        hints = Hints(tenant=salt, criteria=self.random.choice((None, Criteria.LATENCY)))
        name, ids = await self.one(parent, held[parent], hints)
        held[name] = ids

    async def one(
        self, parent: int, ids: tuple[int, ...], hints: Hints
    ) -> tuple[int, tuple[int, ...]]:
        sampling = Sampling(
            max_tokens=self.random.choice((1, 5, 100)),
            temperature=self.random.choice((0.0, 1.0)),
            key=self.random.randrange(3),
            stop=self.random.choice(((), ("e", " the"))),
            logprobs=self.random.choice((-1, -1, -1, 0)),
        )
        request = GenerateRequest(new_context(), parent, sampling, hints=hints)
        text = ""
        async for item in self.router.generate(request):
            if isinstance(item, Finished):
                assert item.text == text
                assert item == await self.expected(ids, sampling)
                self.checked += 1
                return request.context, ids + item.ids[: item.kept]
            assert not item.restart, "all engines say the same"
            text += item.text
        raise AssertionError("no end")

    async def expected(self, ids: tuple[int, ...], sampling: Sampling) -> Finished:
        names = new_context(), new_context()
        await self.quiet.fill([FillRequest(names[0], None, ids)])
        *_, end = [
            x async for x in self.quiet.generate(GenerateRequest(*reversed(names), sampling))
        ]
        await self.quiet.free(names)
        assert isinstance(end, Finished)
        return end

    async def free(self, held: dict[int, tuple[int, ...]], salt: str) -> None:
        names = self.random.sample(list(held), self.random.randrange(1, len(held) + 1))
        for name in names:
            del held[name]
        await self.router.free(names, self.random.random() < 0.5)

    # --- the end ---

    async def run(self) -> None:
        chaos = asyncio.create_task(self.chaos())
        async with asyncio.timeout(10_000):
            await asyncio.gather(*(self.caller(f"salt{n % 2}") for n in range(CALLERS)))
        self.is_over = True
        await chaos
        await asyncio.sleep(60)
        await self.router.settle()
        assert len(self.router._tree) == 0 and not self.router._tree.named
        assert not self.router._dispatcher.calls and not self.router._making
        info = await self.router.ping()
        assert (info.running, info.queued, info.contexts) == (0, 0, 0)
        assert [view.state for view in self.router.engines()] == ["up"] * ENGINES
        assert [engine.contexts for engine in self.all_engines] == [0] * len(self.all_engines)
        await self.router.close()


@pytest.mark.parametrize("seed", range(12))
@virtually
async def test_what_is_said_is_what_one_quiet_engine_says(seed: int) -> None:
    world = World(seed)
    await world.run()
    assert world.checked > STEPS


@pytest.mark.night
@pytest.mark.parametrize("seed", range(100, 300))
@virtually
async def test_many_nights(seed: int) -> None:
    await World(seed).run()
