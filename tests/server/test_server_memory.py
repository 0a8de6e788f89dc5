"""R5: whatever is asked over HTTP, and however often, leaves nothing behind."""

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count, islice
from typing import Any

import pytest
from cores import plan_bytes
from fronted import Front, fronted
from leaks import SAY, Trivial, grown, room

FEW, MANY = 1000, 100_000
OF_RUN, OF_SESSION = 50, 5
NUMBERS = count()
OUT = {"name": "a", "is_output": True, "sampling_config": {"max_gen_length": 8}}


async def sessions(front: Front, calls: int) -> None:
    for _ in range(calls // OF_SESSION):
        parrot = await front.parrot()
        for number in range(OF_SESSION):
            value = {"name": "q", "is_output": False, "value": str(number)}
            said = await parrot.output("Say {{q}}: {{a}}", [value, OUT])
            path = f"/v1/semantic_var/{said}"
            assert await parrot.ask("GET", path, {}) == (200, {"content": "x"})
        assert (await parrot.ask("DELETE", f"/v1/session/{parrot.session_id}", {}))[0] == 200


async def runs(front: Front, calls: int) -> None:
    for _ in range(calls // OF_RUN):
        body = {"inputs": {"n": OF_RUN}}
        status, said = await front.ask("POST", "/v1/plans/p/main", body)
        assert status == 200 and said["result"] == ["x"] * OF_RUN


async def chats(front: Front, calls: int) -> None:
    for number in range(calls):
        body = {"model": front.model, "messages": [{"role": "user", "content": f"{number}"}]}
        assert (await front.ask("POST", "/v1/chat/completions", body))[0] == 200


async def refusals(front: Front, calls: int) -> None:
    """Wrong in ways of which there is no end: nothing is remembered by what a client says."""
    for number in islice(NUMBERS, calls):
        status, _ = await front.ask("GET", f"/v1/runs/r-{number}")
        assert status == 404
        assert (await front.ask("GET", f"/nowhere/{number}"))[0] == 404


@pytest.mark.parametrize(
    "calls",
    [  # without coverage, which is counted too: so in the ring of the oracle
        pytest.param(FEW, marks=pytest.mark.oracle),
        pytest.param(MANY, marks=pytest.mark.night),
    ],
)
@pytest.mark.parametrize("work", [sessions, runs, chats, refusals])
async def test_r5_what_is_over_leaves_nothing(
    work: Callable[[Front, int], Awaitable[None]], calls: int
) -> None:
    config: dict[str, Any] = {"max_finished_runs": 3}
    async with fronted(Trivial(), **config) as front:
        await front.ask("PUT", "/v1/plans/p", plan_bytes(SAY))
        assert await grown(partial(work, front), calls) < room(calls)
        stats = front.core.stats()
        assert stats["calls"] == stats["queued"] == stats["sessions"] == 0
