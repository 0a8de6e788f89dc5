"""Plans and their runs: store one, invoke its flows, watch, wait, cancel.

    PUT  /v1/plans/summary              the plan that `parrotc compile` wrote
    POST /v1/plans/summary/main         {"inputs": {"doc": "…"}}  →  {"result": …}

Invoked plainly, the answer is the result. For who accepts events, it is a stream: `run` with its
id, `text` and `value` of variables as they come (`restart`: a text begins anew), and last of all
`done`, `failed` or `cancelled`.
Whoever goes away before the end cancels the run, unless it is a `background` one.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field
from pydantic_core import to_json

from parrotc.runtime.core.errors import TimedOut
from parrotc.runtime.core.views import PlanView, RunEvent, RunState, RunView
from parrotc.runtime.server import refusals
from parrotc.runtime.server.bodies import Body
from parrotc.runtime.server.refusals import Refusal
from parrotc.runtime.server.routes import Call, Nothing, Route, json_response, read
from parrotc.runtime.server.sse import Event, tell

Json = Any

PLAN, RUN = "/v1/plans/{name}", "/v1/runs/{run_id}"


class PlanInfo(BaseModel):
    """`digest` names the content; `flows` are signatures, by name."""

    name: str
    digest: str
    flows: Mapping[str, str]


class Plans(BaseModel):
    plans: list[PlanInfo]


class Invoke(Body):
    """`timeout` is in seconds. A `background` run is answered at once, and goes on."""

    inputs: dict[str, Json] = Field(default_factory=dict)
    seed: int = Field(default=0, ge=-(2**63), lt=2**63)
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    criteria: Json = None
    background: bool = False


class Wait(Body):
    """How many seconds to wait for the end of a run."""

    wait: float = Field(default=0, ge=0, allow_inf_nan=False)


class Run(BaseModel):
    """`result` when done, `error` when failed. Times are Unix times."""

    run_id: str
    plan: str
    flow: str
    state: str
    started: float
    ended: float | None = None
    result: Json = None
    error: Json = None


class Runs(BaseModel):
    runs: list[Run]


def routes() -> Iterator[Route]:
    yield Route("GET", "/v1/plans", _plans, "The plans that are stored.", answer=Plans)
    yield Route("PUT", PLAN, _put, "Store or replace a plan.", answer=PlanInfo,
                takes="application/json")  # fmt: skip
    yield Route("GET", PLAN, _plan, "A plan that is stored.", answer=PlanInfo)
    yield Route("GET", f"{PLAN}/text", _text, "A plan as it was stored.", gives="application/json")
    yield Route("DELETE", PLAN, _delete, "Forget a plan; runs that go on keep it.")
    yield Route("POST", f"{PLAN}/{{flow}}", _invoke, "Run a flow of a plan.", Invoke, Run,
                streams=True)  # fmt: skip
    yield Route("GET", "/v1/runs", _runs, "The runs that are remembered.", answer=Runs)
    yield Route("GET", RUN, _run, "A run, when it has ended or after a while.", Wait, Run,
                streams=True)  # fmt: skip
    yield Route("POST", f"{RUN}/cancel", _cancel, "Stop a run.", answer=Run)


# --- plans ---


async def _plans(call: Call[Nothing]) -> Plans:
    return Plans(plans=[_info(view) for view in call.core.plans(call.tenant)])


async def _put(call: Call[None]) -> PlanInfo:
    raw = await read(call.request)
    return _info(await call.core.put_plan(call.tenant, call.path("name"), raw))


async def _plan(call: Call[Nothing]) -> PlanInfo:
    return _info(call.core.plan(call.tenant, call.path("name")))


async def _text(call: Call[Nothing]) -> web.Response:
    raw = call.core.plan_bytes(call.tenant, call.path("name"))
    return web.Response(body=raw, content_type="application/json")


async def _delete(call: Call[Nothing]) -> Nothing:
    await call.core.delete_plan(call.tenant, call.path("name"))
    return Nothing()


def _info(view: PlanView) -> PlanInfo:
    return PlanInfo(name=view.name, digest=view.digest, flows=view.flows)


# --- runs ---


async def _invoke(call: Call[Invoke]) -> Run | web.StreamResponse:
    body, core = call.body, call.core
    view = await core.invoke(
        call.tenant,
        call.path("name"),
        call.path("flow"),
        body.inputs,
        session=call.session if call.has_session else None,
        seed=body.seed,
        timeout=body.timeout,
        criteria=body.criteria,
    )
    if body.background:
        return json_response(_told(view), 202)
    async with _abandoning(call, view.id):
        if call.wants_events:
            return await tell(call.request, _events(call, view.id))
        return _told(_succeeded(await core.wait_run(call.tenant, view.id)))


async def _runs(call: Call[Nothing]) -> Runs:
    return Runs(runs=[_told(view) for view in call.core.runs(call.tenant)])


async def _run(call: Call[Wait]) -> Run | web.StreamResponse:
    core, run_id = call.core, call.path("run_id")
    if call.wants_events:
        core.run(call.tenant, run_id)
        return await tell(call.request, _events(call, run_id))
    if call.body.wait:
        try:
            return _told(await core.wait_run(call.tenant, run_id, timeout=call.body.wait))
        except TimedOut:
            pass
    return _told(core.run(call.tenant, run_id))


async def _cancel(call: Call[Nothing]) -> Run:
    return _told(await call.core.cancel_run(call.tenant, call.path("run_id")))


@asynccontextmanager
async def _abandoning(call: Call[Invoke], run_id: str) -> AsyncIterator[None]:
    """Nobody else knows of this run: if its caller goes away, it is cancelled."""
    try:
        yield
    except (asyncio.CancelledError, ConnectionError):
        await call.core.cancel_run(call.tenant, run_id)
        raise


async def _events(call: Call[Any], run_id: str) -> AsyncGenerator[Event, None]:
    yield "run", _line({"run_id": run_id})
    async for event in call.core.stream_run(call.tenant, run_id):
        yield event.kind, _line(_event(event))


def _event(event: RunEvent) -> Json:
    match event.kind:
        case "text" | "restart" | "value":
            return {"variable": event.variable, "path": event.path, "text": event.text}
        case "done":
            return {"result": event.result}
    if event.diagnostic is None:
        return Refusal(409, "cancelled", "the run was cancelled").to_json()
    return refusals.of_diagnostics([event.diagnostic]).to_json()


def _succeeded(view: RunView) -> RunView:
    """Raises `Refusal` for a run that gave nothing."""
    if view.diagnostic is not None:
        raise refusals.of_diagnostics([view.diagnostic], status=422)
    if view.state is not RunState.DONE:
        raise Refusal(409, "cancelled", "the run was cancelled")
    return view


def _told(view: RunView) -> Run:
    found = view.diagnostic
    return Run(
        run_id=view.id,
        plan=view.plan,
        flow=view.flow,
        state=str(view.state),
        started=view.started,
        ended=view.ended,
        result=view.result,
        error=refusals.of_diagnostics([found]).to_json()["error"] if found else None,
    )


def _line(value: Json) -> str:
    return to_json(value).decode()
