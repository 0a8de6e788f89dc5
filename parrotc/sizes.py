"""What inputs decide before anything runs: how long lists are, how many tokens texts have.

A flow's counts are polynomials over sizes such as `|parts|`. Given the inputs, everything that
needs no model and no function of the user's is computed here, and the sizes become numbers. What
a loop sees in turn is counted with its mean, so sums over the loop are exact.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from parrotc.ir.analyses import Count
from parrotc.ir.ops import (
    Apply,
    Attempt,
    Block,
    Const,
    Effect,
    Flow,
    Fold,
    If,
    Map,
    Module,
    Native,
    Op,
    Value,
)
from parrotc.ir.scalar import ScalarError, apply
from parrotc.ir.types import Json
from parrotc.passes.target import Target

Functions = Callable[[str], Callable[..., Any] | None]  # of the standard library, by target
_UNKNOWN: Any = object()


def sizes(
    module: Module,
    flow: Flow,
    target: Target,
    args: Mapping[str, Json],
    count: Count,
    functions: Functions,
) -> dict[str, float]:
    """The size of every value that `args` decide, by name: a list's items, a text's tokens, a
    number itself. Inputs that are not given have their defaults, if they have any."""
    known: dict[str, Any] = {}
    for param in flow.params:
        name = param.value.name
        if name in args or param.has_default:
            known[name] = args.get(name, param.default)
    seen = _Seen(module, target, functions, count)
    for name, value in known.items():
        seen.note(name, value)
    seen.block(flow.body, known)
    return {name: fmean(values) for name, values in seen.found.items()}


@dataclass(slots=True)
class _Seen:
    """A walk through a flow that computes what it can and notes the sizes it sees."""

    module: Module
    target: Target
    functions: Functions
    count: Count
    found: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def note(self, name: str, value: Json) -> None:
        match value:
            case bool() | None:
                return
            case int() | float():
                self.found[name].append(value)
            case str():
                self.found[name].append(self.count(value))
            case list():
                self.found[name].append(len(value))

    def block(self, block: Block, known: dict[str, Any]) -> list[Any]:
        """Compute a block, adding to `known`; what it yields, with `_UNKNOWN` for the rest."""
        for op in block.ops:
            values = self.op(op, known)
            for result, value in zip(op.results, values, strict=True):
                if value is not _UNKNOWN:
                    known[result.name] = value
                    self.note(result.name, value)
        return [known.get(value.name, _UNKNOWN) for value in block.yields]

    def op(self, op: Op, known: dict[str, Any]) -> Sequence[Any]:
        match op:
            case Const():
                return [_loads(op.json)]
            case Apply():
                return [self.apply(op, known)]
            case Native():
                return [self.native(op, known)]
            case Map():
                return self.map(op, known)
            case Fold():
                return self.fold(op, known)
            case If():
                return self.branch(op, known)
            case Attempt():
                return self.block(op.body, dict(known))
        return [_UNKNOWN] * len(op.results)

    def apply(self, op: Apply, known: dict[str, Any]) -> Any:
        args = _values(op.args, known)
        if args is None:
            return _UNKNOWN
        tokenizers = {n: m.tokenizer for n, m in self.target.models.items() if m.tokenizer}
        try:
            return apply(op.function, args, dict(op.attrs), tokenizers)
        except ScalarError:
            return _UNKNOWN  # the run will say so, with its place

    def native(self, op: Native, known: dict[str, Any]) -> Any:
        """A function of the standard library that is pure; nobody else's code runs here."""
        declared = next(native for native in self.module.natives if native.name == op.native)
        function = self.functions(declared.target) if declared.effect is Effect.PURE else None
        args = _values(op.args, known)
        if function is None or args is None:
            return _UNKNOWN
        try:
            return function(*args)
        except Exception:
            return _UNKNOWN

    def map(self, op: Map, known: dict[str, Any]) -> Sequence[Any]:
        items = known.get(op.items.name, _UNKNOWN)
        if items is _UNKNOWN:
            self.block(op.body, dict(known))
            return [_UNKNOWN] * len(op.results)
        rows = [self._iteration(op.body, [item, i], known) for i, item in enumerate(items)]
        columns = zip(*rows, strict=True) if rows else [()] * len(op.results)
        return [list(c) if all(v is not _UNKNOWN for v in c) else _UNKNOWN for c in columns]

    def fold(self, op: Fold, known: dict[str, Any]) -> Sequence[Any]:
        items = known.get(op.items.name, _UNKNOWN)
        carried = [known.get(value.name, _UNKNOWN) for value in op.inits]
        if items is _UNKNOWN:
            self._iteration(op.body, [_UNKNOWN] * len(op.body.params), known)
            return [_UNKNOWN] * len(op.results)
        for index, item in enumerate(items):
            yields = self._iteration(op.body, [item, index, *carried], known)
            go_on, carried = (yields[0], yields[1:]) if op.early else (True, yields)
            if go_on is _UNKNOWN:
                carried = [_UNKNOWN] * len(carried)
            elif not go_on:
                break
        return carried

    def _iteration(self, body: Block, given: list[Any], known: dict[str, Any]) -> list[Any]:
        inner = dict(known)
        for param, value in zip(body.params, given, strict=True):
            if value is not _UNKNOWN:
                inner[param.name] = value
                self.note(param.name, value)
        return self.block(body, inner)

    def branch(self, op: If, known: dict[str, Any]) -> Sequence[Any]:
        condition = known.get(op.condition.name, _UNKNOWN)
        if condition is _UNKNOWN:
            self.block(op.then, dict(known))
            self.block(op.orelse, dict(known))
            return [_UNKNOWN] * len(op.results)
        return self.block(op.then if condition else op.orelse, dict(known))


def _values(names: Sequence[Value], known: dict[str, Any]) -> list[Any] | None:
    values = [known.get(name.name, _UNKNOWN) for name in names]
    return None if any(value is _UNKNOWN for value in values) else values


def _loads(text: str) -> Json:
    import json

    return json.loads(text)
