"""How the turns of a conversation run: on one model, in one session of its engine."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from parrotc.check.capabilities import capabilities_of
from parrotc.driver import compile_module
from parrotc.eager.library import Callee
from parrotc.eager.service import Service, coming
from parrotc.eager.turn import FLOW, PASSES, Turn, turn_of
from parrotc.frontends import worded
from parrotc.ir.diagnostic import CompileError
from parrotc.ir.ops import Function, Model, Module
from parrotc.ir.types import Json
from parrotc.runtime.chat import renders
from parrotc.runtime.code import Code, prepare
from parrotc.runtime.contexts import Session
from parrotc.runtime.core.program import application
from parrotc.runtime.engines.remembering import Client
from parrotc.runtime.errors import Failed, Failure, RunError
from parrotc.runtime.openrun import OpenRun
from parrotc.runtime.plan import Plan
from parrotc.runtime.prompts import Message, Prompt
from parrotc.runtime.terms import Terms
from parrotc.runtime.texts import TextSession
from parrotc.runtime.trace import Trace
from parrotc.runtime.turns import State, TurnResources, after
from parrotc.targets import overridden


@dataclass(frozen=True)
class _Compiled:
    turn: Turn
    plan: Plan
    code: Code


class Talk:
    """A model to talk to. All async methods belong to the event loop of the service."""

    def __init__(self, service: Service, model: Model, system: str | None) -> None:
        self.service = service
        self.first = State((Message("system", (system,)),) if system is not None else ())
        (self._model,) = overridden(Module("chat", models=(model,)), service.overrides).models
        self._compiled: dict[Callee, _Compiled] = {}
        self._client: Client | None = None
        self._session: Session | None = None
        self._told = 0

    @property
    def filled(self) -> int:
        """Tokens that the engine had to fill for this conversation and its forks; a text endpoint
        tells them itself."""
        if isinstance(self._session, TextSession):
            return self._told
        return self._client.filled if self._client else 0

    async def turn(
        self,
        state: State,
        callee: Callee,
        inputs: Mapping[str, Any],
        *,
        seed: int,
        sink: Callable[[str], None] | None,
        trace: Trace,
    ) -> tuple[Json, State]:
        """What a function gives, and the conversation after it, held for the caller.

        Raises `RunError`, and `CompileError` for a model that cannot run the function.
        """
        compiled = await asyncio.to_thread(self._turn, callee)
        _require_one_kind(state, compiled.turn, callee)
        resources = await self._resources(compiled, state)
        samplings = {f"{FLOW}/{site}": sampling for site, sampling in callee.samplings.items()}
        terms = Terms(hints=application(), samplings=samplings)
        run = OpenRun(resources, trace, seed=seed, keep=False, terms=terms)
        outcomes: dict[str, Any] = {}

        def keep(name: str) -> Callable[[Any], None]:
            def tell(outcome: Any) -> None:
                outcomes[name] = outcome.take() if isinstance(outcome, Prompt) else outcome

            return tell

        turn, (result,) = compiled.turn, compiled.code.block.yields
        wanted = (result, turn.last, *turn.generated)
        values = {name: coming(value) for name, value in inputs.items()}
        sinks = {turn.text: sink} if sink and turn.text else {}
        try:
            await run.feed(
                compiled.code, values | {"go": None}, {n: keep(n) for n in wanted}, sinks
            )
            failure = next((o for o in outcomes.values() if isinstance(o, Failure)), None)
            if failure is not None:
                raise RunError(failure)
            then = after(outcomes[turn.last], [outcomes[name] for name in turn.generated])
        finally:
            for outcome in outcomes.values():
                if isinstance(outcome, Prompt):
                    outcome.drop()
            self._told += trace.counters.tokens_filled
            await resources.settle()
        return list(outcomes[result].values())[:-1], then

    def _turn(self, callee: Callee) -> _Compiled:
        if callee not in self._compiled:
            function = function_of(callee)
            if lacking := capabilities_of(function, self._model):
                raise CompileError(worded(lacking))
            turn = turn_of(callee.library.module, function, self._model)
            compiled = compile_module(
                turn.module,
                sources=callee.library.sources,
                embedded=callee.library.embedded,
                passes=PASSES,
                models=self.service.overrides,
            )
            (flow,) = compiled.plan.flows
            self._compiled[callee] = _Compiled(turn, compiled.plan, prepare(flow.block))
        return self._compiled[callee]

    async def _resources(self, compiled: _Compiled, state: State) -> TurnResources:
        service, plan = self.service, compiled.plan
        opened = await service.open(plan.models)
        (model,) = plan.models
        self._client = self._client or service.memory(opened[model.name]).client()
        resources = TurnResources(
            plan,
            {model.name: self._client},
            service.natives((), opened),
            renders=renders(plan.models, opened),
            width=service.settings.width,
            max_new_tokens=service.settings.max_new_tokens or None,
            state=state,
            session=self._session,
            bos=getattr(self._client.tokenizer, "bos", None) if compiled.turn.is_raw else None,
        )
        self._session = resources.session
        return resources


def function_of(callee: Callee) -> Function:
    """The semantic function that a callee is. Raises `TypeError` for a flow."""
    for function in callee.library.module.functions:
        if function.name == callee.name and callee.is_alone:
            return function
    raise TypeError(f"`{callee.name}` is no semantic function, and a turn of a chat is one")


def _require_one_kind(state: State, turn: Turn, callee: Callee) -> None:
    if turn.is_raw is state.is_raw or not (state.messages or state.prompt):
        return
    has, is_ = ("no messages", "has messages") if turn.is_raw else ("messages", "is raw text")
    raise RunError(
        Failed(
            "E0623",
            f"`{callee.name}` has {has}, and the conversation {is_}",
            notes=("a conversation is messages throughout, or one text throughout",),
        ).at(callee.flow.span)
    )
