"""From what a client sends to a call in the graph of its session, and what runs when it is due."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from parrotc.ir.types import STR, ListOf
from parrotc.runtime.core.compiled import Compiled
from parrotc.runtime.core.config import CoreConfig
from parrotc.runtime.core.errors import CoreError, Invalid
from parrotc.runtime.core.graph import Call, Graph, Source, Work
from parrotc.runtime.core.limits import Allowance, check_size
from parrotc.runtime.core.models import Models, ServedModel
from parrotc.runtime.core.natives import AllowedNatives
from parrotc.runtime.core.payloads import GREEDY, NativeCall, Parameter, SemanticCall
from parrotc.runtime.core.programs import Programs
from parrotc.runtime.core.templates import FLOW, SITE, Template, parse
from parrotc.runtime.core.variables import SemanticVariable
from parrotc.runtime.core.views import CallView, ParameterView
from parrotc.runtime.engines.protocol import Finished, Hints, Piece, Sampling
from parrotc.runtime.errors import Failed
from parrotc.runtime.goals import Goal
from parrotc.runtime.plan import NativeDecl
from parrotc.runtime.terms import Path, Ran, Terms
from parrotc.runtime.trace import Event, Trace

_STEP, _FIXED = 0.04, 0.005  # estimated seconds of a token, and of a call beside
_TAKEN = 0.5  # the part of its limit that an output is estimated to take


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What all sessions of a core share. `calls` counts each tenant's that have not ended."""

    config: CoreConfig
    models: Models
    compiled: Compiled
    programs: Programs
    natives: AllowedNatives
    calls: Allowance


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose call it is: `begun` is when the session began, by the clock of the event loop."""

    tenant: str
    session: str
    begun: float


def semantic_call(
    tools: Tools, caller: Caller, graph: Graph, said: SemanticCall, goal: Goal | None
) -> CallView:
    """Take a call of a template. Raises `Invalid`, `NotFound`, `TooLarge`, `Busy`, `Conflict`."""
    check_size("the template", len(said.template), tools.config.max_template)
    model = _model(tools.models, said.models)
    names = [p.name for p in said.parameters if not p.is_output]
    made = [p.name for p in said.parameters if p.is_output]
    template = parse(said.template, names, made)
    samplings = _samplings(template, said.parameters)
    seeds = [p.sampling_config.seed for p in said.parameters if p.sampling_config]
    seed = next((seed for seed in seeds if seed is not None), secrets.randbits(63))
    semantic = _Semantic(tools, caller, template, model, samplings, seed)
    seconds = sum(_FIXED + _STEP * _TAKEN * s.max_tokens for s in samplings.values())
    return _take(tools, caller, graph, said.parameters, seconds, semantic.run, goal)


def native_call(tools: Tools, caller: Caller, graph: Graph, said: NativeCall) -> CallView:
    """Take a call of an allowed function. Raises as `semantic_call` does."""
    target = tools.natives.find(said.func_name)
    outputs = sum(parameter.is_output for parameter in said.parameters)
    if not outputs:
        raise Invalid("a call without an output gives nothing")
    declared = NativeDecl(name=said.func_name, target=target, result=0, timeout=said.timeout)

    async def run(call: Call, given: dict[str, str]) -> None:
        lent = tools.natives.lent(caller.tenant, {})
        type_ = STR if outputs == 1 else ListOf(STR)
        value = await lent.call(declared, type_, list(given.values()))
        values = [value] if outputs == 1 else value
        if len(values) != outputs:
            message = f"`{declared.name}` gave {len(values)} values for {outputs} outputs"
            raise Failed("E0603", message)
        for variable, text in zip(call.outputs.values(), values, strict=True):
            variable.set(text)

    return _take(tools, caller, graph, said.parameters, _FIXED, run, None)


def _take(
    tools: Tools,
    caller: Caller,
    graph: Graph,
    parameters: Sequence[Parameter],
    seconds: float,
    work: Work,
    goal: Goal | None,
) -> CallView:
    """Put a call into the graph, with a new variable for each output that has none: or raise, and
    leave nothing behind."""
    inputs = {p.name: _source(tools, graph, p) for p in parameters if not p.is_output}
    wanted = [p for p in parameters if p.is_output]
    outputs = {p.name: graph.find(p.var_id) for p in wanted if p.var_id is not None}
    tools.calls.take(caller.tenant)
    created: list[SemanticVariable] = []
    try:
        created = graph.create(*(p.name for p in wanted if p.var_id is None))
        outputs |= {variable.name: variable for variable in created}
        call = Call(inputs, {p.name: outputs[p.name] for p in wanted}, seconds, work)
        task = graph.add(call)
    except CoreError:
        tools.calls.give(caller.tenant)
        for variable in created:
            graph.delete(variable.id)
        raise
    task.add_done_callback(lambda _: tools.calls.give(caller.tenant))
    if goal is not None:
        for variable in call.outputs.values():
            graph.demand(variable, goal)
    return CallView(call.id, tuple(_view(p, inputs | outputs) for p in parameters))


def _source(tools: Tools, graph: Graph, parameter: Parameter) -> Source:
    if parameter.var_id is not None:
        return graph.find(parameter.var_id)
    text = parameter.value or ""
    check_size(f"the value of `{parameter.name}`", len(text), tools.config.max_variable)
    return text


def _view(parameter: Parameter, held: Mapping[str, Source]) -> ParameterView:
    variable = held[parameter.name]
    if isinstance(variable, str):
        return ParameterView(parameter.name, parameter.is_output)
    return ParameterView(parameter.name, parameter.is_output, variable.id, variable.name)


def _model(models: Models, names: Sequence[str]) -> ServedModel:
    """The first of the named ones that is served. Raises `NotFound`."""
    served = (models.get(name) for name in names)
    found = next((model for model in served if model is not None), None)
    return found or models.find(names[0] if names else "")


def _samplings(template: Template, parameters: Sequence[Parameter]) -> dict[str, Sampling]:
    """How each output is drawn, by its site in the plan. Raises `Invalid`."""
    asked = {p.name: p.sampling_config or GREEDY for p in parameters}
    if not template.outputs:
        raise Invalid("a call without an output gives nothing")
    return {
        f"{SITE}/{number}": asked[name].sampling for number, name in enumerate(template.outputs)
    }


@dataclass(frozen=True, slots=True)
class _Semantic:
    """The work of a semantic call: one run of the plan of its template."""

    tools: Tools
    caller: Caller
    template: Template
    model: ServedModel
    samplings: Mapping[str, Sampling]
    seed: int

    async def run(self, call: Call, given: dict[str, str]) -> None:
        key = self.template.digest(self.model.name)
        plan = await self.tools.compiled.get(key, self.template, self.model)
        outputs = {
            f"{SITE}/{number}": call.outputs[name]
            for number, name in enumerate(self.template.outputs)
        }
        models = {self.model.name: self.model}
        async with self.tools.programs.use(key, self.caller.tenant, plan, models) as executor:
            await executor.run(
                FLOW,
                given,
                seed=self.seed,
                trace=Trace(_teller(outputs)),
                terms=self._terms(call, _Outputs(outputs)),
            )

    def _terms(self, call: Call, memory: "_Outputs") -> Terms:
        hints = Hints(
            tenant=self.caller.tenant,
            application=self.caller.session,
            begun=self.caller.begun,
            depth=call.depth,
        )
        goal = call.goal
        crowd = call.crowd()
        if crowd is not None:  # only the last of them counts, so none of them hurries
            hints = replace(hints, group=crowd[0], group_size=crowd[1])
        return Terms(
            hints=hints,
            goal=goal,
            after=call.rank - call.seconds,
            samplings=self.samplings,
            memory=memory,
        )


def _teller(outputs: Mapping[str, SemanticVariable]) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        if event.kind in ("text", "restart"):
            outputs[event.site].tell(Piece(event.text, restart=event.kind == "restart"))

    return tell


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Implements `Memory`: an output is there when it is generated, before the call has ended."""

    variables: Mapping[str, SemanticVariable]

    def generation(self, site: str, path: Path, prompt: bytes) -> Finished | None:
        return None

    async def keep_generation(
        self, site: str, path: Path, prompt: bytes, finished: Finished
    ) -> None:
        self.variables[site].set(finished.text)

    def native(self, place: str, path: Path, native: NativeDecl) -> Ran | None:
        return None

    async def begin_native(self, place: str, path: Path, native: NativeDecl) -> None: ...

    async def keep_native(self, place: str, path: Path, ran: Ran) -> None: ...
