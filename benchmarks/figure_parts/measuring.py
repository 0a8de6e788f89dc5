"""Runs a case on a system, in virtual time, and says how long its applications took."""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from statistics import fmean
from typing import Any

from figure_parts.cases import Arrival, Case, gpts
from figure_parts.systems import ROUND_TRIP, Service, System, plan_of

from parrotc.runtime.engines.protocol import Hints
from parrotc.runtime.engines.virtualtime import VirtualTimeLoop
from parrotc.runtime.terms import Terms

SUSTAINED = 0.03  # seconds for each token of an answer, in the mean: twice that of an idle service
_NUMBER = re.compile(r"\d[\d,.]*\d|\d")


@dataclass(frozen=True, slots=True)
class Times:
    """Of the applications of one kind, in seconds; `per_token` is the mean of seconds a token."""

    kind: str
    count: int
    mean: float
    p50: float
    p99: float
    per_token: float


@dataclass(frozen=True, slots=True)
class Measure:
    """A case on a system: what each kind took, when all was done, tokens that were filled."""

    figure: str
    setting: str
    system: str
    times: tuple[Times, ...]
    makespan: float
    filled: int

    @property
    def numbers(self) -> tuple[float, ...]:
        """Those that the setting names, in its order: (1024, 25) of parts and answers."""
        return tuple(float(found.replace(",", "")) for found in _NUMBER.findall(self.setting))

    def of(self, kind: str) -> Times:
        return next(times for times in self.times if times.kind == kind)

    def has(self, kind: str) -> bool:
        return any(times.kind == kind for times in self.times)


Outcome = tuple[Measure, str]  # and a digest of the answers, in the order of arrival


def measured(case: Case, system: System) -> list[Outcome]:
    """The one outcome of a case."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        measure, answers = runner.run(_run(case, system))
    return [(measure, sha256(json.dumps(answers).encode()).hexdigest())]


def swept(rates: Sequence[float], seconds: float, system: System) -> list[Outcome]:
    """Rising rates of figure 16, up to the first that `system` does not sustain."""
    outcomes: list[Outcome] = []
    for rate in rates:
        outcomes += measured(gpts(rate, seconds), system)
        if outcomes[-1][0].of("GPT").per_token > SUSTAINED:
            break
    return outcomes


async def _run(case: Case, system: System) -> tuple[Measure, list[Any]]:
    service = Service(system, case.model, case.gpus, plan_of(case.program, system.passes))
    begun = asyncio.get_running_loop().time()
    work = [_serve(service, number, each) for number, each in enumerate(case.arrivals)]
    ended = await asyncio.gather(*work)
    filled = await service.filled()
    await service.close()
    seconds = [end - each.at - begun for each, (end, _) in zip(case.arrivals, ended, strict=True)]
    makespan = max(end for end, _ in ended) - begun - case.arrivals[0].at
    measure = Measure(
        case.figure,
        case.setting,
        system.name,
        tuple(_times(case.arrivals, seconds)),
        round(makespan, 3),
        filled,
    )
    return measure, [answer for _, answer in ended]


async def _serve(service: Service, number: int, arrival: Arrival) -> tuple[float, Any]:
    """When the client has the answer, and the answer. Where programs are served, the client's
    program is nothing but a request."""
    loop = asyncio.get_running_loop()
    trip = ROUND_TRIP if service.system.requests is None else 0.0
    await asyncio.sleep(arrival.at + trip / 2)
    hints = Hints(tenant=arrival.kind, application=str(number), begun=loop.time())
    answer = await service.executor.run(arrival.flow, arrival.args, terms=Terms(hints=hints))
    await asyncio.sleep(trip / 2)
    return loop.time(), answer


def _times(arrivals: Sequence[Arrival], seconds: Sequence[float]) -> Iterator[Times]:
    for kind in sorted({each.kind for each in arrivals}):
        both = zip(arrivals, seconds, strict=True)
        found = [(each.tokens, took) for each, took in both if each.kind == kind]
        order = sorted(took for _, took in found)
        yield Times(
            kind=kind,
            count=len(found),
            mean=round(fmean(order), 3),
            p50=round(order[len(order) // 2], 3),
            p99=round(order[len(order) * 99 // 100], 3),
            per_token=round(fmean(took / tokens for tokens, took in found), 5),
        )
