"""From what a client sends to a call in the graph of its session; `working` says what runs then."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from parrotc.ir.types import Json
from parrotc.runtime.core.errors import CoreError, Invalid, Unavailable
from parrotc.runtime.core.graph import Call, Graph, Source
from parrotc.runtime.core.keeping import Keeping
from parrotc.runtime.core.limits import check_size
from parrotc.runtime.core.payloads import (
    NativeCall,
    Parameter,
    SemanticCall,
    read_native_call,
    read_semantic_call,
)
from parrotc.runtime.core.recall import NOTHING, Recall
from parrotc.runtime.core.sessionrecords import CallRecord
from parrotc.runtime.core.templates import parse
from parrotc.runtime.core.variables import SemanticVariable
from parrotc.runtime.core.views import CallView, ParameterView
from parrotc.runtime.core.working import (
    Caller,
    NativeWork,
    SemanticWork,
    Tools,
    Work,
    samplings,
)
from parrotc.runtime.goals import Goal, read_goal
from parrotc.runtime.plan import NativeDecl

Said = SemanticCall | NativeCall


@dataclass(frozen=True, slots=True)
class Calling:
    """Takes the calls of one session. Whatever a method raises, it leaves nothing behind."""

    tools: Tools
    caller: Caller
    graph: Graph
    keeping: Keeping

    async def semantic(self, payload: Mapping[str, Json]) -> CallView:
        """Take a call of a template. Raises `Invalid`, `NotFound`, `TooLarge`, `Busy`, `Conflict`,
        and `Unavailable` where it cannot be kept."""
        said = read_semantic_call(payload)
        goal = _goal(said)
        model = self._model(said.models)
        seeds = [p.sampling_config.seed for p in said.parameters if p.sampling_config]
        seed = next((seed for seed in seeds if seed is not None), secrets.randbits(63))
        return await self._take(said, self._semantic(said, model, seed, NOTHING), goal, model, seed)

    async def native(self, payload: Mapping[str, Json]) -> CallView:
        """Take a call of an allowed function. Raises as `semantic` does."""
        said = read_native_call(payload)
        return await self._take(said, self._native(said, NOTHING), None)

    def resume(
        self, record: CallRecord, held: Mapping[str, SemanticVariable], before: Recall
    ) -> None:
        """Begin again a call that was cut off, between the same variables, which are `held` by
        their ids. Raises as `semantic` does for what may not be any more, and `KeyError` where a
        variable is gone."""
        said: Said
        work: Work
        if record.model is None:
            said = read_native_call(record.said)
            work = self._native(said, before)
        else:
            said = read_semantic_call(record.said)
            work = self._semantic(said, record.model, record.seed, before)
        inputs: dict[str, Source] = {
            p.name: held[p.var_id] if p.var_id is not None else p.value or ""
            for p in said.parameters
            if not p.is_output
        }
        outputs = {name: held[var_id] for name, var_id in record.outputs.items()}
        call = Call(inputs, outputs, work.seconds, work.run, record.id)
        self._begin(call, self.graph.restart, _goal(said))
        work.recall(call)

    # --- inside ---

    def _semantic(self, said: SemanticCall, model: str, seed: int, before: Recall) -> SemanticWork:
        check_size("the template", len(said.template), self.tools.config.max_template)
        names = [p.name for p in said.parameters if not p.is_output]
        made = [p.name for p in said.parameters if p.is_output]
        template = parse(said.template, names, made)
        return SemanticWork(
            tools=self.tools,
            caller=self.caller,
            keeping=self.keeping,
            template=template,
            model=model,
            samplings=samplings(template, said.parameters),
            seed=seed,
            before=before,
        )

    def _native(self, said: NativeCall, before: Recall) -> NativeWork:
        target = self.tools.natives.find(said.func_name)
        if not any(parameter.is_output for parameter in said.parameters):
            raise Invalid("a call without an output gives nothing")
        native = NativeDecl(
            name=said.func_name, target=target, result=0, effect=said.effect, timeout=said.timeout
        )
        return NativeWork(
            tools=self.tools,
            caller=self.caller,
            keeping=self.keeping,
            native=native,
            before=before,
        )

    async def _take(
        self, said: Said, work: Work, goal: Goal | None, model: str | None = None, seed: int = 0
    ) -> CallView:
        """Put a call into the graph, with a new variable for each output that has none."""
        inputs = {p.name: self._source(p) for p in said.parameters if not p.is_output}
        wanted = [p for p in said.parameters if p.is_output]
        outputs = {p.name: self.graph.find(p.var_id) for p in wanted if p.var_id is not None}
        new = self.graph.create(*(p.name for p in wanted if p.var_id is None))
        try:
            outputs |= {variable.name: variable for variable in new}
            made = {p.name: outputs[p.name] for p in wanted}
            call = Call(inputs, made, work.seconds, work.run)
            self._begin(call, self.graph.add, goal)
            await self.keeping.taken(call, said, new, model, seed)
        except CoreError as error:
            if isinstance(error, Unavailable):
                self.graph.cancel(call, error.message)
            for variable in new:
                self.graph.delete(variable.id)
            raise
        return CallView(call.id, tuple(_view(p, inputs | outputs) for p in said.parameters))

    def _begin(
        self, call: Call, add: Callable[[Call], "asyncio.Task[None]"], goal: Goal | None
    ) -> None:
        allowance, tenant = self.tools.calls, self.caller.tenant
        allowance.take(tenant)
        try:
            task = add(call)
        except CoreError:
            allowance.give(tenant)
            raise
        task.add_done_callback(lambda _: allowance.give(tenant))
        if goal is not None:
            for variable in call.outputs.values():
                self.graph.demand(variable, goal)

    def _source(self, parameter: Parameter) -> Source:
        if parameter.var_id is not None:
            return self.graph.find(parameter.var_id)
        text = parameter.value or ""
        most = self.tools.config.max_variable
        check_size(f"the value of `{parameter.name}`", len(text), most)
        return text

    def _model(self, names: Sequence[str]) -> str:
        """The first of the named ones that is served. Raises `NotFound`."""
        models = self.tools.models
        found = next((name for name in names if models.get(name) is not None), None)
        return found or models.find(names[0] if names else "").name


def goal_of(criteria: Json) -> Goal:
    """What a client says that it cares about. Raises `Invalid`."""
    try:
        return read_goal(criteria, asyncio.get_running_loop().time())
    except ValueError as error:
        raise Invalid(str(error)) from None


def _goal(said: Said) -> Goal | None:
    if isinstance(said, NativeCall) or said.output_criteria is None:
        return None
    return goal_of(said.output_criteria)


def _view(parameter: Parameter, held: Mapping[str, Source]) -> ParameterView:
    variable = held[parameter.name]
    if isinstance(variable, str):
        return ParameterView(parameter.name, parameter.is_output)
    return ParameterView(parameter.name, parameter.is_output, variable.id, variable.name)
