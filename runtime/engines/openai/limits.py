"""How much may be asked of an endpoint: at the same time, in a minute, and altogether.

async with limits.turn(prompt, most):     # about so many tokens, and at most so many more
    ...
limits.spent(usage)
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from parrotc.runtime.engines.openai.options import Options
from parrotc.runtime.engines.protocol import EngineError, Usage

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]

_MINUTE = 60.0
_PER = 1_000_000  # tokens that a price is of


class Bucket:
    """So many a minute: full at first, and it fills up evenly. Whoever comes first is served first.

    One that wants more than it ever holds waits until it is full.
    """

    def __init__(self, per_minute: int, clock: Clock, sleep: Sleep) -> None:
        self._most = float(per_minute)
        self._held = self._most
        self._clock, self._sleep = clock, sleep
        self._since = clock()
        self._turn = asyncio.Lock()

    async def take(self, amount: float) -> None:
        if not self._most:
            return
        amount = min(amount, self._most)
        async with self._turn:
            self._fill()
            lacking = amount - self._held
            if lacking > 0:
                await self._sleep(lacking * _MINUTE / self._most)
                self._fill()
            self._held -= amount  # a little below nothing where the sleep was short

    def _fill(self) -> None:
        now = self._clock()
        self._held = min(self._most, self._held + (now - self._since) * self._most / _MINUTE)
        self._since = now


class Limits:
    """Those of one endpoint. The budget is for as long as it is open: when it is spent nothing more
    is sent, and what is on its way may go over it."""

    def __init__(
        self, options: Options, clock: Clock = time.monotonic, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._options = options
        self._room = asyncio.Semaphore(options.concurrency)
        self._requests = Bucket(options.requests_per_minute, clock, sleep)
        self._tokens = Bucket(options.tokens_per_minute, clock, sleep)
        self.requests = 0
        self.tokens = 0
        self.cost = 0.0

    @asynccontextmanager
    async def turn(self, prompt: int, most: int) -> AsyncIterator[None]:
        """A request that reads about `prompt` tokens and generates `most`. Raises `EngineError`
        when the budget is spent."""
        async with self._room:
            await self._requests.take(1)
            await self._tokens.take(prompt + most)
            self._check_budget()
            self.requests += 1
            yield

    def spent(self, usage: Usage) -> None:
        self.tokens += usage.prompt + usage.generated
        prices = usage.prompt * self._options.price_in + usage.generated * self._options.price_out
        self.cost += prices / _PER

    def _check_budget(self) -> None:
        options = self._options
        for name, spent, budget in (
            ("requests", self.requests, options.budget_requests),
            ("tokens", self.tokens, options.budget_tokens),
            ("cost", self.cost, options.budget_cost),
        ):
            if budget and spent >= budget:
                message = f"the budget of {budget:,} {name} is spent"
                raise EngineError("budget", message.replace("cost", "for the cost"))
