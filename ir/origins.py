"""Where a text comes from: which calls it may be what they said, to the id.

    %a = call @draft(%q)                     %a: the call
    %b = if %c { yield %a } else { … }       %b: the call, and what the other arm yields
    %s = fold (%x, %i, %so) … from %none     %so, %s: the constant %none, and what the body yields
    %u = apply upper(%a)                     %u: made of texts, so of no call

Lists and records are as their elements, so an item of a `map` over calls comes from those calls.
"""

from collections.abc import Iterable

from parrotc.ir.ops import (
    Apply,
    Attempt,
    Block,
    Call,
    Const,
    Fold,
    Generate,
    If,
    Map,
    Op,
    Value,
)
from parrotc.ir.types import Str

Source = Call | Generate | Const | None  # None: an input, a native, or made of other values
Sources = tuple[Source, ...]

_OTHER: Sources = (None,)
_JOINING = ("list", "record")  # functions whose results hold all their arguments
_TAKING = ("get", "index", "flatten", "repeat", "as", "present", "slice")  # that hold the first


class Origins:
    """The sources of every value of a flow. Linear, but for folds, which are looked at twice."""

    def __init__(self, body: Block) -> None:
        self._found: dict[str, Sources] = {}
        self._block(body)

    def of(self, value: Value) -> Sources:
        """Each op that `value` may be the result of, once; None among them for anything else."""
        return self._found.get(value.name, _OTHER)

    def _union(self, values: Iterable[Value]) -> Sources:
        named = ((op.results if op else (), op) for value in values for op in self.of(value))
        return tuple(dict(named).values())

    def _block(self, block: Block) -> None:
        for op in block.ops:
            self._op(op)

    def _op(self, op: Op) -> None:
        match op:
            case Call() | Const():
                self._found[op.result.name] = (op,)
            case Generate():
                self._found[op.results[1].name] = (op,)
            case Apply() if op.function in _JOINING:
                self._found[op.result.name] = self._union(op.args)
            case Apply() if op.function in _TAKING and not isinstance(op.args[0].type, Str):
                self._found[op.result.name] = self.of(op.args[0])
            case Map():
                self._found[op.body.params[0].name] = self.of(op.items)
                self._region(op, op.body)
            case If():
                self._region(op, op.then, op.orelse)
            case Attempt():
                self._region(op, op.body)
            case Fold():
                self._fold(op)

    def _region(self, op: Op, *arms: Block) -> None:
        for arm in arms:
            self._block(arm)
        for number, result in enumerate(op.results):
            self._found[result.name] = self._union(arm.yields[number] for arm in arms)

    def _fold(self, op: Fold) -> None:
        """What a round carries comes from before the loop, or from the round before it."""
        self._found[op.body.params[0].name] = self.of(op.items)
        carried, last = op.body.params[2:], op.body.yields[1 if op.early else 0 :]
        for param, init in zip(carried, op.inits, strict=True):
            self._found[param.name] = self.of(init)
        while True:
            self._block(op.body)
            after = [self._union(pair) for pair in zip(carried, last, strict=True)]
            if [len(new) for new in after] == [len(self.of(param)) for param in carried]:
                break
            self._found.update((p.name, new) for p, new in zip(carried, after, strict=True))
        self._found.update((r.name, new) for r, new in zip(op.results, after, strict=True))
