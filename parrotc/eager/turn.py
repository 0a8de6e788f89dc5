"""A semantic function as one turn of a conversation: a module whose one context is the chat's.

    pfunc ask(q: str) -> str:         ==>    flow @turn(%q) {
        user "{{q}}"                           %c = context.open @chat        # where the chat is
        assistant "{{gen}}"                    … the function's ops …
                                               %all = apply record(%answer, %go)
                                             }

Messages are put through the model's template when the turn runs, since it depends on all that was
said before. What a text endpoint is sent are the messages themselves.
"""

from dataclasses import dataclass, replace

from parrotc.ir.names import Names
from parrotc.ir.ops import (
    Apply,
    Block,
    Flow,
    Function,
    Generate,
    Message,
    Model,
    Module,
    Op,
    Open,
    Param,
    Render,
    Value,
    blocks,
    walk,
    with_blocks,
)
from parrotc.ir.types import CONTEXT, NONE, Context, Field, Record, Str
from parrotc.passes.rewrite import Copy
from parrotc.targets import ENGINES as RENDERED

PASSES = ("effects",)  # the module is as it runs
FLOW = "turn"


@dataclass(frozen=True)
class Turn:
    """The module, and the names of its contexts: the last one, and those after a generation."""

    module: Module
    last: str
    generated: tuple[str, ...]
    text: str  # the text that the last generation gives; empty if that is not one
    is_raw: bool


def turn_of(library: Module, function: Function, model: Model) -> Turn:
    is_raw = not any(isinstance(op, Message) for op in walk(function.body))
    names = Names()
    params = [names.like(value) for value in function.body.params[1:]]
    go = names.fresh("go", NONE)
    opened = names.fresh("c", CONTEXT)
    copy = Copy(
        names,
        dict(zip(function.body.params, (opened, *params), strict=True)),
        lambda op: _adapted(op, model),
    )
    body: list[Op] = [Open(results=(opened,), model=model.name, span=function.span)]
    body += copy.ops(function.body.ops)
    if not is_raw and model.kind in RENDERED:
        body = _rendered(tuple(body), names)
    outputs = (*copy.of(function.body.yields), go)
    all_names = tuple(str(number) for number in range(len(outputs)))
    pairs = zip(all_names, outputs, strict=True)
    type_ = Record("", tuple(Field(name, value.type) for name, value in pairs))
    result = names.fresh("all", type_)
    body.append(
        Apply(results=(result,), function="record", args=outputs, attrs=(("names", all_names),))
    )
    contexts = [v for op in body for v in op.results if isinstance(v.type, Context)]
    flow = Flow(
        FLOW,
        tuple(map(Param, (*params, go))),
        Block((*params, go), tuple(body), (result,)),
        span=function.span,
    )
    module = replace(library, name=FLOW, models=(model,), functions=(), flows=(flow,))
    generations = [op for op in body if isinstance(op, Generate)]
    spoken = [op.results[1] for op in generations[-1:] if isinstance(op.results[1].type, Str)]
    return Turn(
        module,
        contexts[-1].name,
        tuple(op.results[0].name for op in generations),
        spoken[0].name if spoken else "",
        is_raw,
    )


def _adapted(op: Op, model: Model) -> Op:
    match op:
        case Generate():
            return replace(op, site=f"{FLOW}/{op.site}")
        case Apply(function="truncate", attrs=(("model", ""),)):
            return replace(op, attrs=(("model", model.name),))
    return op


def _rendered(ops: tuple[Op, ...], names: Names) -> list[Op]:
    """The ops, where each generation reads what the template makes of the messages so far."""
    found: list[Op] = []
    for op in ops:
        if held := blocks(op):
            inner = (replace(b, ops=tuple(_rendered(b.ops, names))) for b in held)
            op = with_blocks(op, tuple(inner))
        if isinstance(op, Generate):
            context: Value = names.fresh("c", CONTEXT)
            found.append(Render(results=(context,), context=op.context, span=op.span))
            op = replace(op, context=context)
        found.append(op)
    return found
