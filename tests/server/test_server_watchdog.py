"""The watchdog sees what blocks the loop."""

import asyncio
import time

import pytest
from fronted import fronted

from parrotc.runtime.server.watchdog import LIMIT, Watchdog


async def test_a_loop_that_is_held_up_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    told: list[float] = []
    watchdog = Watchdog(told.append)
    watching = asyncio.create_task(watchdog.watch())
    await asyncio.sleep(0.12)
    time.sleep(LIMIT + 0.1)
    await asyncio.sleep(0.12)
    watching.cancel()
    assert max(told) >= LIMIT and watchdog.take_worst() == max(told)
    assert watchdog.take_worst() == 0.0
    assert "held up" in caplog.text


async def test_it_is_a_metric() -> None:
    async with fronted() as front:
        await asyncio.sleep(0.12)
        async with front.http.get(f"{front.url}/metrics") as response:
            text = await response.text()
    assert "parrotc_loop_delay_seconds_bucket" in text
    assert 'parrotc_requests_total{route="/health"' not in text
