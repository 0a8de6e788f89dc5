"""A checked program as a module: types, models and natives it uses, functions, flows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from parrotc.check import program as checked
from parrotc.ir.ops import (
    Apply,
    Block,
    Call,
    Flow,
    Function,
    Model,
    Module,
    Native,
    NativeDecl,
    Param,
    Value,
    walk,
)
from parrotc.ir.types import Enum, Record, Type, named
from parrotc.lower.alone import lower_alone, lower_native
from parrotc.lower.flow import lower_flow
from parrotc.lower.prompt import lower_function
from parrotc.syntax import tree

DEFAULT_MODEL = Model("default", "builtin", "smollm2-135m-instruct")


def lower(program: checked.Program, *, alone: bool = False) -> Module:
    """The flow-level module of a program that has no errors.

    Flows are the root file's; semantic functions are the root file's and those that a flow calls.
    With `alone`, each of the root file's is a flow of one call too, and so is each native function.
    """
    exports = program.exports.values()
    flows = [lower_flow(program, s) for s in exports if isinstance(s, checked.FlowSymbol)]
    if alone:
        functions = (s for s in exports if isinstance(s, checked.PfuncSymbol))
        flows += [lower_alone(program, symbol) for symbol in functions]
        flows += map(lower_native, program.natives)
    wanted = [s for s in exports if isinstance(s, checked.PfuncSymbol)]
    return assemble(program, flows, wanted)


def assemble(
    program: checked.Program,
    flows: Sequence[Flow],
    functions: Iterable[checked.PfuncSymbol] = (),
    natives: Mapping[str, NativeDecl] = MappingProxyType({}),
) -> Module:
    """The module of these flows with all they need, and these semantic functions too.

    `natives` are those that no `extern` declares.
    """
    calls = [op for flow in flows for op in walk(flow.body) if isinstance(op, Call)]
    symbols = _symbols(program)
    wanted = {symbol.name: symbol for symbol in functions}
    for call in calls:
        symbol = symbols[call.function]
        assert isinstance(symbol, checked.PfuncSymbol)
        wanted.setdefault(symbol.name, symbol)
    bodies = [lower_function(program, symbol) for symbol in wanted.values()]
    blocks = [f.body for f in bodies] + [f.body for f in flows]
    used = {op.native for block in blocks for op in walk(block) if isinstance(op, Native)}
    declared = tuple(natives.get(name) or _native(symbols[name]) for name in sorted(used))
    asked = {call.model for call in calls} | {name for b in blocks for name in _counting(b)}
    return Module(
        name=_module_name(program.root),
        types=_types(bodies, flows, declared),
        models=_models(program, asked),
        natives=declared,
        functions=tuple(bodies),
        flows=tuple(flows),
    )


def _counting(block: Block) -> Iterator[str]:
    """The models that a `truncate` names, because their tokens are what counts."""
    for op in walk(block):
        if isinstance(op, Apply) and op.function == "truncate":
            yield from (model for name, model in op.attrs if name == "model" and model)


def _module_name(root: tree.Tree) -> str:
    """The file's name without folder and ending, as an identifier."""
    stem = root.source.name.replace("\\", "/").rsplit("/", 1)[-1].split(".")[0]
    return "".join(c if c.isalnum() else "_" for c in stem) or "program"


def _symbols(program: checked.Program) -> dict[str, checked.Symbol]:
    """Everything the program declares or uses, by unique name."""
    symbols = [*program.names.values(), *program.exports.values(), *program.natives]
    return {symbol.name: symbol for symbol in symbols}


def _models(program: checked.Program, used: set[str]) -> tuple[Model, ...]:
    """The models that calls name, and those they fall back on."""
    declared = {symbol.name: symbol for symbol in program.models}
    models: dict[str, Model] = {}
    waiting = sorted(used)
    for name in waiting:  # grows while it is walked
        if name in models:
            continue
        if name not in declared:
            models[name] = DEFAULT_MODEL
            continue
        symbol = declared[name]
        models[name] = Model(name, symbol.kind, symbol.target, symbol.options)
        fallback = dict(symbol.options).get("fallback")
        if isinstance(fallback, list | tuple):
            waiting += fallback
    return tuple(models[name] for name in sorted(models))


def _native(symbol: checked.Symbol) -> NativeDecl:
    assert isinstance(symbol, checked.ExternSymbol)
    params = tuple(
        Param(Value(info.name, info.type), info.default, info.has_default) for info in symbol.params
    )
    return NativeDecl(
        symbol.name,
        symbol.target,
        params,
        symbol.result,
        symbol.effect,
        symbol.timeout,
        symbol.span,
    )


def _types(
    functions: Sequence[Function], flows: Sequence[Flow], natives: Sequence[NativeDecl]
) -> tuple[Enum | Record, ...]:
    """Every named type that a value of the module has, parts before wholes."""
    found: dict[str, Enum | Record] = {}
    for type_ in _mentioned(functions, flows, natives):
        for one in named(type_):
            found.setdefault(one.name, one)
    return tuple(found.values())


def _mentioned(
    functions: Sequence[Function], flows: Sequence[Flow], natives: Sequence[NativeDecl]
) -> Iterator[Type]:
    for native in natives:
        yield from (param.value.type for param in native.params)
        yield native.result
    for body in [*(f.body for f in functions), *(f.body for f in flows)]:
        yield from (param.type for param in body.params)
        for op in walk(body):
            yield from (value.type for value in op.results)
