"""What a call of a session does when it is due: one run of its template's plan, or of its function.

Where the core has a journal, what it finishes is kept before anybody is told of it; a call that is
begun again takes what it had finished, and makes the rest with the same draws.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from parrotc.ir.types import STR, Json, ListOf
from parrotc.runtime.core.compiled import Compiled
from parrotc.runtime.core.config import CoreConfig
from parrotc.runtime.core.errors import CoreError, Invalid
from parrotc.runtime.core.graph import Call
from parrotc.runtime.core.keeping import Keeping
from parrotc.runtime.core.limits import Allowance
from parrotc.runtime.core.models import RETURN, Models
from parrotc.runtime.core.natives import AllowedNatives
from parrotc.runtime.core.payloads import GREEDY, Parameter
from parrotc.runtime.core.programs import Programs
from parrotc.runtime.core.recall import Recall
from parrotc.runtime.core.templates import FLOW, SITE, Template
from parrotc.runtime.core.variables import SemanticVariable
from parrotc.runtime.engines.protocol import Finished, Hints, Piece, Sampling
from parrotc.runtime.errors import Failed
from parrotc.runtime.plan import NativeDecl
from parrotc.runtime.terms import Memory, Path, Terms, once
from parrotc.runtime.trace import Event, Trace

_STEP, _FIXED = 0.04, 0.005  # estimated seconds of a token, and of a call beside
_TAKEN = 0.5  # the part of its limit that an output is estimated to take
_PLACE = "call"  # of the function of a call


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticWork:
    """`model` is a name; `before` is what an earlier core had finished."""

    tools: Tools
    caller: Caller
    keeping: Keeping
    template: Template
    model: str
    samplings: Mapping[str, Sampling]
    seed: int
    before: Recall

    @property
    def seconds(self) -> float:
        """That it is estimated to take."""
        return sum(_FIXED + _STEP * _TAKEN * s.max_tokens for s in self.samplings.values())

    async def run(self, call: Call, given: dict[str, str]) -> None:
        try:
            model = await self.tools.models.named(self.model, RETURN)
        except CoreError as error:
            raise Failed("E0610", error.message, help=error.help) from None
        key = self.template.digest(model.name)
        plan = await self.tools.compiled.get(key, self.template, model)
        outputs = self._outputs(call)
        memory = self.keeping.memory(call.id, _setter(outputs), self.before)
        models = {model.name: model}
        async with self.tools.programs.use(key, self.caller.tenant, plan, models) as executor:
            await executor.run(
                FLOW,
                given,
                seed=self.seed,
                trace=Trace(_teller(outputs)),
                terms=self._terms(call, memory),
            )

    def recall(self, call: Call) -> None:
        """Set the outputs that were finished, which needs no engine."""
        tell = _setter(self._outputs(call))
        for (site, path), (_, finished) in self.before.generations.items():
            tell(site, path, finished)

    def _outputs(self, call: Call) -> dict[str, SemanticVariable]:
        """By their sites in the plan."""
        return {site: call.outputs[name] for site, name in _sites(self.template).items()}

    def _terms(self, call: Call, memory: Memory) -> Terms:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeWork:
    tools: Tools
    caller: Caller
    keeping: Keeping
    native: NativeDecl
    before: Recall

    @property
    def seconds(self) -> float:
        return _FIXED

    async def run(self, call: Call, given: dict[str, str]) -> None:
        def work() -> Awaitable[Json]:
            lent = self.tools.natives.lent(self.caller.tenant, {})
            type_ = STR if len(call.outputs) == 1 else ListOf(STR)
            return lent.call(self.native, type_, list(given.values()))

        memory = self.keeping.memory(call.id, _setter({}), self.before)
        value = await once(memory, _PLACE, (), self.native, work)
        wanted = len(call.outputs)
        values = [value] if wanted == 1 else value
        if len(values) != wanted:
            message = f"`{self.native.name}` gave {len(values)} values for {wanted} outputs"
            raise Failed("E0603", message)
        for variable, text in zip(call.outputs.values(), values, strict=True):
            variable.set(text)

    def recall(self, call: Call) -> None:
        """There is nothing before the function has ended, and then `run` is short."""


Work = SemanticWork | NativeWork


def samplings(template: Template, parameters: Sequence[Parameter]) -> dict[str, Sampling]:
    """How each output is drawn, by its site in the plan. Raises `Invalid`."""
    asked = {p.name: p.sampling_config or GREEDY for p in parameters}
    if not template.outputs:
        raise Invalid("a call without an output gives nothing")
    return {site: asked[name].sampling for site, name in _sites(template).items()}


def _sites(template: Template) -> dict[str, str]:
    return {f"{SITE}/{number}": name for number, name in enumerate(template.outputs)}


def _teller(outputs: Mapping[str, SemanticVariable]) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        if event.kind in ("text", "restart"):
            outputs[event.site].tell(Piece(event.text, restart=event.kind == "restart"))

    return tell


def _setter(outputs: Mapping[str, SemanticVariable]) -> Callable[[str, Path, Finished], None]:
    """An output is there when it is generated, before the call has ended."""

    def told(site: str, path: Path, finished: Finished) -> None:
        outputs[site].set(finished.text)

    return told
