"""From an optimised module to a plan: the one file that knows both the IR and the runtime's side.

One op becomes one step; nothing is decided here. Values lose their types, since only generations,
parameters and results need one at run time, and those refer to a table.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from parrotc.ir import ops
from parrotc.ir.printer import print_module
from parrotc.ir.schema import canonical
from parrotc.ir.source import Source, Span
from parrotc.ir.types import Type, to_json
from parrotc.passes.target import ModelTarget, Target
from parrotc.prompts import calls
from parrotc.runtime import plan, steps


def make_plan(
    flow_level: ops.Module,
    optimised: ops.Module,
    target: Target,
    *,
    compiler: str,
    level: str,
    sources: Sequence[Source],
    embedded: Sequence[tuple[str, str]] = (),
    templates: Mapping[str, plan.ChatTemplate] | None = None,
    passes: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> plan.Plan:
    """The plan of `optimised`, which `flow_level` was lowered to for `target`.

    Sources of ops that are not among `sources` are added to them.
    `templates` are the chat templates by model name; a plan keeps those that a `render` needs, and
    those of models that stand in for an endpoint, whose prompts are messages.
    """
    sources = _sources(sources, flow_level)
    functions = {call.site: call.function for call in calls(flow_level)}
    planner = _Planner(target, sources, templates or {}, functions)
    flows = tuple(map(planner.flow, optimised.flows))
    late = {model for flow in optimised.flows for model in _rendered(flow)}
    late |= _stand_ins(optimised, target)
    return plan.Plan(
        compiler=compiler,
        name=optimised.name,
        level=level,
        sources=tuple(plan.SourceText(s.name, _sha256(s.text), s.text) for s in sources),
        embedded=tuple(plan.Embedded(path, digest) for path, digest in embedded),
        models=tuple(planner.model(model, model.name in late) for model in optimised.models),
        natives=tuple(planner.native_decl(native) for native in optimised.natives),
        prefixes=tuple(map(planner.prefix, optimised.prefixes)),
        flows=flows,
        types=tuple(json.loads(text) for text in planner.types),
        flow_level=plan.FlowLevel(
            text=print_module(flow_level),
            spans=tuple(map(planner.place, places(flow_level))),
        ),
        passes=tuple(passes),
        remarks=tuple(remarks),
    )


def places(module: ops.Module) -> Iterator[Span | None]:
    """Where everything in a module comes from, in the order in which a plan lists it: natives,
    then each function and flow, followed by its ops."""
    yield from (native.span for native in module.natives)
    holders: tuple[ops.Function | ops.Flow, ...] = (*module.functions, *module.flows)
    for holder in holders:
        yield holder.span
        yield from (op.span for op in ops.walk(holder.body))


def _sources(given: Sequence[Source], module: ops.Module) -> tuple[Source, ...]:
    found = {id(source): source for source in given}
    for span in places(module):
        if span is not None:
            found.setdefault(id(span.source), span.source)
    return tuple(found.values())


def _sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _rendered(flow: ops.Flow) -> set[str]:
    """The models whose template a flow needs when it runs: those opened where it renders."""
    found = list(ops.walk(flow.body))
    if not any(isinstance(op, ops.Render) for op in found):
        return set()
    return {op.model for op in found if isinstance(op, ops.Open)}


def _stand_ins(module: ops.Module, target: Target) -> set[str]:
    """The models that an endpoint falls back on."""
    found: set[str] = set()
    for model in module.models:
        known = target.models.get(model.name)
        names = dict(model.options).get("fallback")
        if known is not None and known.tokenizer is None and isinstance(names, list | tuple):
            found.update(map(str, names))
    return found


@dataclass(slots=True)
class _Planner:
    """What conversion needs to look up, and the table of types as it grows."""

    target: Target
    sources: tuple[Source, ...]
    templates: Mapping[str, plan.ChatTemplate]
    functions: Mapping[str, str]  # what is called at a site
    index: dict[int, int] = field(init=False)  # of a source, by its identity
    types: dict[str, int] = field(default_factory=dict)  # canonical JSON → index

    def __post_init__(self) -> None:
        self.index = {id(source): number for number, source in enumerate(self.sources)}

    def type(self, type_: Type) -> int:
        return self.types.setdefault(canonical(to_json(type_)), len(self.types))

    def place(self, span: Span | None) -> steps.Place | None:
        return (self.index[id(span.source)], span.start, span.end) if span else None

    def model(self, model: ops.Model, with_template: bool) -> plan.Model:
        target = self.target.models.get(model.name, ModelTarget(None, None))
        tokenizer = target.tokenizer
        return plan.Model(
            name=model.name,
            kind=model.kind,
            target=model.target,
            options={k: v for k, v in model.options if not isinstance(v, ops.EnvRef)},
            env={k: v.name for k, v in model.options if isinstance(v, ops.EnvRef)},
            fingerprint=tokenizer.fingerprint if tokenizer else "",
            context_length=target.context_length,
            template=self.templates.get(model.name) if with_template else None,
        )

    def param(self, param: ops.Param) -> plan.Param:
        return plan.Param(
            name=param.value.name,
            type=self.type(param.value.type),
            default=param.default,
            has_default=param.has_default,
        )

    def native_decl(self, native: ops.NativeDecl) -> plan.NativeDecl:
        return plan.NativeDecl(
            name=native.name,
            target=native.target,
            params=tuple(map(self.param, native.params)),
            result=self.type(native.result),
            effect=str(native.effect),
            timeout=float(native.timeout),
            span=self.place(native.span),
        )

    def prefix(self, prefix: ops.Prefix) -> plan.Prefix:
        return plan.Prefix(
            name=prefix.name,
            model=prefix.model,
            parent=prefix.parent,
            ids=prefix.ids,
            text=prefix.text,
            notes=dict(prefix.notes),
        )

    def flow(self, flow: ops.Flow) -> plan.Flow:
        return plan.Flow(
            name=flow.name,
            params=tuple(map(self.param, flow.params)),
            result=self.type(flow.result.type),
            notes=dict(flow.notes),
            block=self.block(flow.body),
            span=self.place(flow.span),
        )

    def block(self, block: ops.Block) -> steps.Block:
        return steps.Block(
            _names(block.params), tuple(map(self.step, block.ops)), _names(block.yields)
        )

    def step(self, op: ops.Op) -> steps.AnyStep:
        """The step of an op. Every case passes on the results, the notes and the place."""
        match op:
            case ops.Const(json=text):
                return steps.Const(**self._base(op), value=json.loads(text))
            case ops.Apply():
                return steps.Apply(
                    **self._base(op),
                    function=op.function,
                    args=_names(op.args),
                    attrs=dict(op.attrs),
                )
            case ops.Native():
                return steps.Native(
                    **self._base(op),
                    native=op.native,
                    args=_names(op.args),
                    effect=op.has_effect(),
                )
            case ops.Map() | ops.Fold() | ops.If() | ops.Attempt():
                return self._control(op)
        return self._context(op)

    def _control(self, op: ops.Map | ops.Fold | ops.If | ops.Attempt) -> steps.AnyStep:
        match op:
            case ops.Map():
                return steps.Map(**self._base(op), items=op.items.name, body=self.block(op.body))
            case ops.Fold():
                return steps.Fold(
                    **self._base(op),
                    items=op.items.name,
                    inits=_names(op.inits),
                    body=self.block(op.body),
                    early=op.early,
                )
            case ops.If():
                return steps.If(
                    **self._base(op),
                    condition=op.condition.name,
                    then=self.block(op.then),
                    orelse=self.block(op.orelse),
                )
            case ops.Attempt():
                return steps.Attempt(
                    **self._base(op),
                    body=self.block(op.body),
                    retries=op.retries,
                    tolerant=op.tolerant,
                )

    def _context(self, op: ops.Op) -> steps.AnyStep:
        match op:
            case ops.Open():
                return steps.Open(**self._base(op), model=op.model, prefix=op.prefix)
            case ops.Message():
                return steps.Message(**self._base(op), context=op.context.name, role=op.role)
            case ops.End():
                return steps.End(**self._base(op), context=op.context.name)
            case ops.Fill():
                return steps.Fill(
                    **self._base(op), context=op.context.name, parts=tuple(map(_part, op.parts))
                )
            case ops.Generate():
                return self._generate(op)
            case ops.Render():
                return steps.Render(**self._base(op), context=op.context.name)
            case ops.Free():
                return steps.Free(**self._base(op), context=op.context.name)
        raise AssertionError(f"{type(op).__name__} does not survive lowering")

    def _generate(self, op: ops.Generate) -> steps.Generate:
        return steps.Generate(
            **self._base(op),
            context=op.context.name,
            site=op.site,
            type=self.type(op.results[1].type),
            function=self.functions.get(op.site.rpartition("/")[0], ""),
            name=op.name,
            max_tokens=op.max_tokens,
            temperature=float(op.temperature),
            top_p=float(op.top_p),
            top_k=op.top_k,
            min_p=float(op.min_p),
            seed=op.seed,
            stop=op.stop,
        )

    def _base(self, op: ops.Op) -> steps.Base:
        return {
            "results": _names(op.results),
            "notes": dict(op.notes),
            "span": self.place(op.span),
        }


def _names(values: Sequence[ops.Value]) -> tuple[str, ...]:
    return tuple(value.name for value in values)


def _part(part: ops.Part) -> steps.Part:
    match part:
        case ops.Text():
            return steps.TextPart(part.text)
        case ops.Ids():
            return steps.IdsPart(part.ids, part.text)
        case ops.Value():
            return steps.ValuePart(part.name)
