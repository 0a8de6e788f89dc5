"""Checks of `with (handover=tokens)`: what may pass from one call to another as token ids.

    draft = write(topic)
    return refine(draft) with (handover=tokens)

Ids pass as they are only where nothing stands between them: the value is what a call said, whole
(a constant that a loop begins with may take its place, and is tokenised by itself); every prompt
hole that reads it shows it unfiltered; and both models read ids of one tokenizer. Anything else is
E0411, at the call.
"""

from collections.abc import Iterator

from parrotc.ir.diagnostic import CompileError, Diagnostic, Label
from parrotc.ir.ops import Block, Call, Const, Fill, Flow, Function, Module, Value, operands, walk
from parrotc.ir.ops import blocks as blocks_of
from parrotc.ir.origins import Origins
from parrotc.passes.target import Target

HELP = "leave `handover=tokens` out: the value is then read as text"


def check_handover(module: Module, target: Target) -> None:
    """Raises `CompileError` for handovers that cannot be."""
    found = wrong_handovers(module, target)
    if found:
        raise CompileError(found)


def has_handovers(module: Module) -> bool:
    return any(
        isinstance(op, Call) and op.handed for flow in module.flows for op in walk(flow.body)
    )


def wrong_handovers(module: Module, target: Target) -> list[Diagnostic]:
    """What is wrong with each handover that cannot be."""
    functions = {function.name: function for function in module.functions}
    return [wrong for flow in module.flows for wrong in _flow(flow, functions, target)]


def _flow(flow: Flow, functions: dict[str, Function], target: Target) -> Iterator[Diagnostic]:
    calls = [op for op in walk(flow.body) if isinstance(op, Call) and op.handed]
    origins = Origins(flow.body) if calls else None
    for call in calls:
        assert origins is not None
        for number in call.handed:
            param = functions[call.function].body.params[1 + number]
            wrong = (
                _unfit_model(call, target)
                or _unfit_value(call, call.args[number], param, origins, target)
                or _unfit_holes(call, param, functions[call.function].body)
            )
            if wrong is not None:
                yield wrong
                break


def _unfit_model(call: Call, target: Target) -> Diagnostic | None:
    if _fingerprint(call.model, target) is not None:
        return None
    return _wrong(call, f"the model `{call.model}` reads text, so no tokens can be handed to it")


def _unfit_value(
    call: Call, value: Value, param: Value, origins: Origins, target: Target
) -> Diagnostic | None:
    """What is wrong with where the value comes from."""
    sources = origins.of(value)
    spoken = [source for source in sources if isinstance(source, Call)]
    if not spoken or not all(isinstance(source, Call | Const) for source in sources):
        message = f"`{param.name}` of `{call.function}` is not just what a call has generated"
        return _wrong(call, message, note="only generated values have tokens that can be handed")
    for source in spoken:
        if _fingerprint(source.model, target) != _fingerprint(call.model, target):
            message = f"`{source.model}` and `{call.model}` do not have one tokenizer"
            labels = (Label(source.span, "generated here"),) if source.span else ()
            return _wrong(call, message, labels)
    return None


def _unfit_holes(call: Call, param: Value, body: Block) -> Diagnostic | None:
    """What is wrong with how the prompt reads the value."""
    read = False
    for op in walk(body):
        if param not in operands(op) and not any(param in b.yields for b in blocks_of(op)):
            continue
        if not isinstance(op, Fill):
            message = f"`{call.function}` does not show `{param.name}` as it is"
            labels = (Label(op.span, "filtered or tested here"),) if op.span else ()
            return _wrong(call, message, labels)
        read = True
    return None if read else _wrong(call, f"`{call.function}` does not show `{param.name}`")


def _fingerprint(model: str, target: Target) -> str | None:
    known = target.models.get(model)
    return known.tokenizer.fingerprint if known and known.tokenizer else None


def _wrong(call: Call, reason: str, labels: tuple[Label, ...] = (), note: str = "") -> Diagnostic:
    message = f"tokens cannot be handed over: {reason}"
    notes = (note,) if note else ()
    return Diagnostic("E0411", message, call.span, labels=labels, notes=notes, help=HELP)
