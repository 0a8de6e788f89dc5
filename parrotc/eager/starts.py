"""What prompts begin with that a segment does not hold: those of its libraries' other functions.

    segment 1    "You are a software architect. …"         "You are a " ─┬─ "software architect. …"
    segment 2    "You are a careful reviewer. …"     ==>                 └─ "careful reviewer. …"

A segment is compiled before the next one is known. But the functions that may come are: cut where
their prompts would leave it, a prompt of the first segment is gone on from in the second, and
together they fill what one program of both would have filled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product, takewhile
from weakref import WeakKeyDictionary

from parrotc.eager.library import Library
from parrotc.ir.diagnostic import CompileError
from parrotc.ir.names import Names
from parrotc.ir.ops import Block, Call, Fill, Flow, Function, Ids, Model, Open, Param
from parrotc.passes.table import run
from parrotc.passes.target import Start, Target

Models = tuple[Model, ...]
Found = dict[str, list[Start]]

PASSES = ("effects", "fold-constants", "lower-calls", "apply-template", "tokenize")


class Starts:
    """What the functions of libraries begin with, worked out once for each set of models."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Library, dict[Models, Found]] = WeakKeyDictionary()

    def of(self, libraries: Iterable[Library], models: Sequence[Model], target: Target) -> Found:
        """The constants that any function begins with, by the name of the model it would run on."""
        found: Found = {model.name: [] for model in models}
        for library in libraries:
            known = self._known.setdefault(library, {})
            key = tuple(models)
            if key not in known:
                known[key] = _found(library, models, target)
            for name, starts in known[key].items():
                found[name] += starts
        return found


def _found(library: Library, models: Sequence[Model], target: Target) -> Found:
    known = {model.name for model in models}
    others = (model for model in library.module.models if model.name not in known)
    module = replace(library.module, models=(*models, *others))
    found: Found = {name: [] for name in known}
    for function, model in product(module.functions, models):
        try:
            alone = replace(module, flows=(_alone(function, model.name),))
            (flow,) = run(alone, target, PASSES, verify_each=False).flows
        except CompileError:  # it cannot run on this model, so it will not
            continue
        if start := _start(flow):
            found[model.name].append(start)
    return found


def _alone(function: Function, model: str) -> Flow:
    """The flow that calls a function on a model."""
    _, *params = function.body.params
    result = Names(function.body).fresh("result", function.result_type())
    call = Call(
        results=(result,), function=function.name, args=tuple(params), model=model, site="start"
    )
    body = Block(tuple(params), (call,), (result,))
    return Flow(function.name, tuple(map(Param, params)), body)


def _start(flow: Flow) -> Start:
    """The ids that the prompt of a flow begins with, as far as they are constant."""
    fills = (op for op in flow.body.ops if isinstance(op, Fill))
    opened = {op.result for op in flow.body.ops if isinstance(op, Open)}
    first = next((op.parts for op in fills if op.context in opened), ())
    constant = takewhile(lambda part: isinstance(part, Ids), first)
    return tuple(token for part in constant if isinstance(part, Ids) for token in part.ids)
