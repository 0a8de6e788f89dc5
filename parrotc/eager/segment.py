"""A shape as a module with one flow, for the passes that every program goes through.

    digest(slot 0), merge([call 0])   ==>   flow @main(%s0) {
                                              %d = call @digest(%s0) {site = "main.0"}
                                              %l = apply list(%d)
                                              %m = call @merge(%l) {site = "main.1"}
                                              %all = apply record(%d, %m)
                                            }

The flows that are called become part of it, as flows that a flow calls do. Their places are
numbered as in a flow with these calls, so a sampled call draws what it would draw there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from parrotc.eager.fields import type_at
from parrotc.eager.library import Callee, Library
from parrotc.eager.shape import CallShape, Default, Fields, Given, Listed, Made, Shape, Slot
from parrotc.ir.names import Names
from parrotc.ir.ops import (
    Apply,
    Block,
    Call,
    Flow,
    Function,
    Generate,
    Model,
    Module,
    Native,
    NativeDecl,
    Op,
    Param,
    Value,
    blocks,
    walk,
    with_blocks,
)
from parrotc.ir.types import NONE, Field, Record
from parrotc.lower.handover import handing_over
from parrotc.lower.region import Region
from parrotc.passes.rewrite import Copy


def module_of(shape: Shape) -> Module:
    """The module of a segment: its one flow gives a record of all that is wanted, in order."""
    linked: dict[Library, _Linked] = {}
    for call in shape.calls:
        if call.callee.library not in linked:
            linked[call.callee.library] = _link(call.callee.library, list(linked.values()))
    modules = [one.module for one in linked.values()]
    flow = _Building(shape, linked).flow()
    calls = [op for op in walk(flow.body) if isinstance(op, Call)]
    called = {call.function for call in calls}
    functions = [f for module in modules for f in module.functions if f.name in called]
    ops = [op for body in (flow.body, *(f.body for f in functions)) for op in walk(body)]
    run = {op.native for op in ops if isinstance(op, Native)}
    types = {type_.name: type_ for module in modules for type_ in module.types}
    return Module(
        name=shape.name,
        types=tuple(types.values()),
        models=_used_models(modules, ops),
        natives=tuple(n for module in modules for n in module.natives if n.name in run),
        functions=tuple(functions),
        flows=(flow,),
    )


def _used_models(modules: Sequence[Module], ops: Sequence[Op]) -> tuple[Model, ...]:
    """The models that ops name, and those they fall back on."""
    known = {model.name: model for module in modules for model in module.models}
    waiting = [op.model for op in ops if isinstance(op, Call)]
    waiting += [v for op in ops if isinstance(op, Apply) for k, v in op.attrs if k == "model"]
    used: dict[str, Model] = {}
    for name in waiting:  # grows while it is walked
        if name in known and name not in used:
            used[name] = known[name]
            waiting += map(str, dict(known[name].options).get("fallback") or ())  # type: ignore[arg-type]
    return tuple(used[name] for name in sorted(used))


# --- one module of several libraries ---

_Declared = Function | NativeDecl


@dataclass(frozen=True)
class _Linked:
    """A library's module under names that no other one has: those of its own that another has
    too are changed, by the tables."""

    module: Module
    functions: dict[str, str]
    natives: dict[str, str]
    models: dict[str, str]

    def named(self, op: Op) -> Op:
        """An op of the library as it is in the segment, but for its place."""
        match op:
            case Call():
                return replace(
                    op,
                    function=self.functions[op.function],
                    model=self.models.get(op.model, op.model),
                )
            case Native():
                return replace(op, native=self.natives[op.native])
            case Apply(function="truncate"):
                attrs = tuple((k, self.models.get(v, v)) for k, v in op.attrs)
                return replace(op, attrs=attrs)
        return op

    def block(self, block: Block) -> Block:
        return replace(block, ops=tuple(map(self._inside, block.ops)))

    def _inside(self, op: Op) -> Op:
        return self.named(with_blocks(op, tuple(map(self.block, blocks(op)))))


def _link(library: Library, others: Sequence[_Linked]) -> _Linked:
    prefix = f"m{len(others)}."
    modules = (library.module, *(one.module for one in others))
    functions = _renamed(prefix, *(module.functions for module in modules))
    natives = _renamed(prefix, *(module.natives for module in modules))
    known = {model.name: model for one in others for model in one.module.models}
    models = [_model(model, known) for model in library.module.models]
    names = {old.name: new.name for old, new in zip(library.module.models, models, strict=True)}
    linked = _Linked(library.module, functions, natives, names)
    return replace(
        linked,
        module=replace(
            library.module,
            models=tuple(models),
            natives=tuple(replace(n, name=natives[n.name]) for n in library.module.natives),
            functions=tuple(
                replace(f, name=functions[f.name], body=linked.block(f.body))
                for f in library.module.functions
            ),
        ),
    )


def _renamed(prefix: str, own: Sequence[_Declared], *others: Sequence[_Declared]) -> dict[str, str]:
    """What each of one's own is called, beside those of others."""
    taken = {declared.name for declareds in others for declared in declareds}
    return {one.name: prefix + one.name if one.name in taken else one.name for one in own}


def _model(model: Model, known: dict[str, Model]) -> Model:
    """A model under its own name, or another one where that stands for another model."""
    name, number = model.name, 1
    while name in known and replace(known[name], name=model.name) != model:
        number += 1
        name = f"{model.name}_{number}"
    return replace(model, name=name)


# --- the flow ---


def places(shape: Shape) -> list[str]:
    """What the place of each call is called, as in a flow with these calls; natives have none."""
    numbers = count()
    return [
        "" if call.callee.is_native else f"{shape.name}.{next(numbers)}" for call in shape.calls
    ]


def draws(shape: Shape, seeds: Sequence[int | None]) -> dict[str, tuple[int, str]]:
    """By site, the seed of a call that has one, and what the site is called in its own flow: it
    draws there as a run of that flow with the seed does."""
    found: dict[str, tuple[int, str]] = {}
    for call, place, seed in zip(shape.calls, places(shape), seeds, strict=True):
        if seed is not None:
            found |= {site: (seed, own) for site, own in _sites(call.callee, place)}
    return found


def _sites(callee: Callee, place: str) -> Iterator[tuple[str, str]]:
    """The sites of a call's generations in the segment, and in the flow that is called."""
    functions = {function.name: function for function in callee.library.module.functions}
    for op in walk(callee.flow.body):
        if isinstance(op, Call):
            inside = place if callee.is_alone else f"{place}/{op.site}"
            for inner in walk(functions[op.function].body):
                if isinstance(inner, Generate):
                    yield f"{inside}/{inner.site}", f"{op.site}/{inner.site}"


class _Building:
    def __init__(self, shape: Shape, linked: dict[Library, _Linked]) -> None:
        self._shape = shape
        self._linked = linked
        self._region = Region(Names())
        self._slots = [self._region.names.fresh("s", type_) for type_ in shape.slots]
        self._made: list[Value] = []

    def flow(self) -> Flow:
        for call, place in zip(self._shape.calls, places(self._shape), strict=True):
            self._made.append(self._call(call, place))
        go = self._region.names.fresh("go", NONE)  # so that the record is never a constant
        wanted = [*(self._made[number] for number in self._shape.wanted), go]
        names = tuple(str(number) for number in range(len(wanted)))
        pairs = zip(names, wanted, strict=True)
        type_ = Record("", tuple(Field(name, value.type) for name, value in pairs))
        result = self._region.apply("record", wanted, type_, None, "all", (("names", names),))
        params = [*self._slots, go]
        body = handing_over(self._region.block(params, [result]))
        return Flow(self._shape.name, tuple(map(Param, params)), body)

    def _call(self, call: CallShape, place: str) -> Value:
        """The result of a call, whose body becomes part of this flow."""
        callee, region = call.callee, self._region
        params = callee.flow.params
        given = {
            param.value: self._given(arg, param)
            for param, arg in zip(params, call.args, strict=True)
        }
        linked = self._linked[callee.library]

        def adapt(op: Op) -> Op:
            op = linked.named(op)
            if isinstance(op, Call):
                op = replace(op, site=place if callee.is_alone else f"{place}/{op.site}")
                op = op.with_notes(criteria=call.criteria) if call.criteria else op
            return op

        copy = Copy(region.names, given, adapt)
        region.ops += copy.ops(callee.flow.body.ops)
        (result,) = copy.of(callee.flow.body.yields)
        return result

    # --- arguments ---

    def _given(self, given: Given, param: Param) -> Value:
        if isinstance(given, Default):
            return self._region.const(param.default, param.value.type, None)
        return self._value(given)

    def _value(self, given: Given) -> Value:
        match given:
            case Slot(number=number, fields=fields):
                return self._part(self._slots[number], fields)
            case Made(call=call, fields=fields):
                return self._part(self._made[call], fields)
            case Listed(items=items, type=type_):
                return self._region.apply("list", list(map(self._value, items)), type_, None)
            case Fields(names=names, values=values, type=type_):
                args = list(map(self._value, values))
                return self._region.apply("record", args, type_, None, attrs=(("names", names),))
        raise AssertionError("a default stands in no list and in no record")

    def _part(self, value: Value, fields: tuple[str, ...]) -> Value:
        for name in fields:
            type_ = type_at(value.type, (name,))
            value = self._region.apply("get", [value], type_, None, attrs=(("field", name),))
        return value
