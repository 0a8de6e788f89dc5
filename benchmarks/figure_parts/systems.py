"""The systems that are compared: one scheduler, one engine, one program; what differs is switched.

*Request-level* systems see single requests. The program runs at its client, as a LangChain program
would: `Requests` sends the whole prompt of each generation, and has its answer a round trip later.
The other systems get the program: one round trip for each application, and what its plan knows.
All run the same program on the same inputs, so they answer alike to the last token.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count

from figure_parts.machine import Model

from parrotc.driver import compile_source
from parrotc.ir.source import Source
from parrotc.passes.table import PIPELINES
from parrotc.runtime.core.registry import RouterLimits
from parrotc.runtime.core.router import Router
from parrotc.runtime.engines.protocol import (
    ContextId,
    Engine,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Hints,
    Piece,
    new_context,
)
from parrotc.runtime.engines.remembering import Memory
from parrotc.runtime.engines.simulated import SimulatedEngine
from parrotc.runtime.executor import Executor
from parrotc.runtime.natives import Natives
from parrotc.runtime.plan import Plan
from parrotc.runtime.scheduling.policies import SchedulerConfig
from parrotc.runtime.scheduling.tasks import Criteria
from parrotc.runtime.tokenizer import ByteTokenizer
from parrotc.targets import ModelOverrides

ROUND_TRIP = 0.25  # seconds between client and service, as in the artifact of Parrot
LONGEST = 1_000_000  # tokens of an answer: all are as long as they may be
PATIENT = RouterLimits(silence=1e6)  # no engine fails here

FIFO = SchedulerConfig(
    app_fifo=False, ranked=False, graph_group=False, ctx_group=False, ctx_aware=False,
    packed=False, lookahead=1,
)  # fmt: skip
PARROT = SchedulerConfig(ranked=False)  # its four policies


@dataclass(frozen=True)
class System:
    """`requests` is what each single request asks for; None where programs are served.

    Without `shares` equal beginnings are computed and stored again; what is freed rests where the
    engine `caches`; and attention `reads_once` what several continue.
    """

    name: str
    config: SchedulerConfig
    requests: Criteria | None
    shares: bool
    caches: bool
    reads_once: bool
    passes: tuple[str, ...] = PIPELINES["O1"]


SYSTEMS = {
    "fifo": System("FIFO", FIFO, Criteria.THROUGHPUT, False, False, False),
    "fifo-latency": System("FIFO, 40 ms", FIFO, Criteria.LATENCY, False, False, False),
    "cache": System("prefix cache", FIFO, Criteria.THROUGHPUT, True, True, False),
    "cache-once": System("prefix cache, read once", FIFO, Criteria.THROUGHPUT, True, True, True),
    "cache-latency": System("prefix cache, 40 ms", FIFO, Criteria.LATENCY, True, True, False),
    "parrot": System(
        "Parrot's policies", PARROT, None, True, False, True,
        tuple(name for name in PIPELINES["O1"] if name != "prefill-split"),
    ),
    "ours": System("ours", SchedulerConfig(), None, True, True, True),
}  # fmt: skip


class Requests:
    """An `Engine` at the client's side of a network: contexts are texts that it has, and each
    generation is one request with the whole of them."""

    def __init__(self, service: Engine, criteria: Criteria, *, shares: bool) -> None:
        self.tokenizer = service.tokenizer
        self._service, self._criteria, self._shares = service, criteria, shares
        self._parts: dict[ContextId, tuple[tuple[int, ...], ...]] = {}
        self._numbers = count()

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        for request in requests:
            self._keep(request.context, request.parent, request.ids)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        await asyncio.sleep(ROUND_TRIP / 2)
        finished = await self._answer(request)
        await asyncio.sleep(ROUND_TRIP / 2)
        self._keep(request.context, request.parent, finished.ids[: finished.kept])
        yield finished

    async def _answer(self, request: GenerateRequest) -> Finished:
        salt = "" if self._shares else str(next(self._numbers))
        fills: list[FillRequest] = []
        for part in self._parts[request.parent]:
            parent = fills[-1].context if fills else None
            fills.append(FillRequest(new_context(), parent, part, salt=salt))
        await self._service.fill(fills)
        asked = replace(
            request,
            context=new_context(),
            parent=fills[-1].context,
            rank=0.0,
            hints=Hints(criteria=self._criteria),
        )
        async for item in self._service.generate(asked):
            finished = item
        assert isinstance(finished, Finished)
        await self._service.free([asked.context, *(fill.context for fill in reversed(fills))])
        return finished

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        for context in contexts:
            del self._parts[context]

    async def ping(self) -> EngineInfo:
        return await self._service.ping()

    async def close(self) -> None:
        self._parts.clear()

    def _keep(self, name: ContextId, parent: ContextId | None, ids: tuple[int, ...]) -> None:
        above = () if parent is None else self._parts[parent]
        self._parts[name] = (*above, ids) if ids else above


class Service:
    """A system with its engines, on the running loop, and one program that runs there."""

    def __init__(self, system: System, model: Model, engines: int, plan: Plan) -> None:
        self.system = system
        tokenizer = ByteTokenizer()
        self._router = Router(model.name, tokenizer, config=system.config, limits=PATIENT)
        self._simulated: list[SimulatedEngine] = []
        for number in range(engines):
            self._add(f"gpu{number}", model, tokenizer)
        front: Engine = self._router
        if system.requests is not None:
            front = Requests(self._router, system.requests, shares=system.shares)
        self.executor = Executor(
            plan,
            {declared.name: front for declared in plan.models},
            Natives((), _no_native),
            width=100_000,
            settles=False,
        )

    def _add(self, name: str, model: Model, tokenizer: ByteTokenizer) -> None:
        engine = SimulatedEngine(
            tokenizer,
            cost=model.cost(),
            limits=model.limits(),
            length=LONGEST,
            reads_once=self.system.reads_once,
        )
        self._simulated.append(engine)
        spec = model.spec(name, shares=self.system.shares, caches=self.system.caches)
        served: Engine = Memory(engine, model.tokens).client() if spec.caches else engine
        self._router.register(name, served, spec)

    async def filled(self) -> int:
        """Tokens that all engines have filled."""
        return sum([(await engine.ping()).filled_tokens for engine in self._simulated])

    async def close(self) -> None:
        await self.executor.close()
        await self._router.close()


def _no_native(target: str) -> None:
    return None


@cache
def plan_of(program: str, passes: tuple[str, ...]) -> Plan:
    models = ModelOverrides(engine="reference")
    return compile_source(Source("figure.pfn", program), passes=passes, models=models).plan
