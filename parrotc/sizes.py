"""What inputs decide before anything runs: how long lists are, how many tokens texts have.

A flow's counts are polynomials over sizes such as `|parts|`. Given the inputs, everything that
needs no model and no function of the user's is computed here, and the sizes become numbers. What
a loop sees in turn is counted with its mean, so sums over the loop are exact.
"""

import json
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
    Generate,
    If,
    Map,
    Module,
    Native,
    Op,
    Value,
)
from parrotc.ir.scalar import ScalarError, apply
from parrotc.ir.totals import Taken
from parrotc.ir.types import Json, ListOf
from parrotc.passes.target import Target

Functions = Callable[[str], Callable[..., Any] | None]  # of the standard library, by target
_UNKNOWN: Any = object()


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of values by name: a list's items, a text's tokens, a number itself.

    `known` are exact. `limits` are of texts that are generated: no longer than this. `taken` is
    how often each `if` takes its first arm, where that is known each time.
    """

    known: Mapping[str, float]
    limits: Mapping[str, float]
    taken: Taken


@dataclass(frozen=True, slots=True)
class _Generated:
    """A value that a model gives, in at most so many tokens."""

    tokens: int


_SHORTER = ("show", "str", "get", "strip", "trim")  # no longer than what they are given


def sizes(
    module: Module,
    flow: Flow,
    target: Target,
    args: Mapping[str, Json],
    count: Count,
    functions: Functions,
) -> Sizes:
    """What `args` decide. Inputs that are not given have their defaults, if they have any."""
    given: dict[str, Any] = {}
    for param in flow.params:
        name = param.value.name
        if name in args or param.has_default:
            given[name] = args.get(name, param.default)
    seen = _Seen(module, target, functions, count)
    for name, value in given.items():
        seen.note(name, value)
    seen.block(flow.body, given)
    return Sizes(seen.means(seen.known), seen.means(seen.limits), seen.shares())


@dataclass(slots=True)
class _Seen:
    """A walk through a flow that computes what it can and notes the sizes it sees."""

    module: Module
    target: Target
    functions: Functions
    count: Count
    known: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    limits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    taken: dict[int, list[bool | None]] = field(default_factory=lambda: defaultdict(list))
    missed: set[str] = field(default_factory=set)  # not known every time, so their mean is not

    def means(self, sizes: Mapping[str, list[float]]) -> dict[str, float]:
        return {n: fmean(seen) for n, seen in sizes.items() if n not in self.missed}

    def shares(self) -> Taken:
        """How often each `if` takes its first arm; without those not known every time."""
        known = {op: [t for t in taken if t is not None] for op, taken in self.taken.items()}
        return {op: fmean(seen) for op, seen in known.items() if len(seen) == len(self.taken[op])}

    def note(self, name: str, value: Any) -> None:
        if value is _UNKNOWN:
            self.missed.add(name)
        match value:
            case _Generated():
                self.limits[name].append(value.tokens)
            case bool() | None:
                return
            case int() | float():
                self.known[name].append(value)
            case str():
                self.known[name].append(self.count(value))
            case list():
                self.known[name].append(len(value))

    def block(self, block: Block, known: dict[str, Any]) -> list[Any]:
        """Compute a block, adding to `known`; what it yields, with `_UNKNOWN` for the rest."""
        for op in block.ops:
            values = self.op(op, known)
            for result, value in zip(op.results, values, strict=True):
                self.note(result.name, value)
                if value is not _UNKNOWN:
                    known[result.name] = value
        return [known.get(value.name, _UNKNOWN) for value in block.yields]

    def op(self, op: Op, known: dict[str, Any]) -> Sequence[Any]:
        match op:
            case Const():
                return [json.loads(op.json)]
            case Apply():
                return [self.apply(op, known)]
            case Native():
                return [self.native(op, known)]
            case Generate():
                listed = isinstance(op.results[1].type, ListOf)  # its size is its length
                return [_UNKNOWN, _UNKNOWN if listed else _Generated(op.max_tokens)]
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
            given = [known.get(arg.name, _UNKNOWN) for arg in op.args]
            same = op.function in _SHORTER and isinstance(given[0], _Generated)
            return given[0] if same else _UNKNOWN
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
        if not isinstance(items, list):
            self._iteration(op.body, [_UNKNOWN, _UNKNOWN], known)
            return [_UNKNOWN] * len(op.results)
        rows = [self._iteration(op.body, [item, i], known) for i, item in enumerate(items)]
        columns = zip(*rows, strict=True) if rows else [()] * len(op.results)
        return [list(c) if all(v is not _UNKNOWN for v in c) else _UNKNOWN for c in columns]

    def fold(self, op: Fold, known: dict[str, Any]) -> Sequence[Any]:
        items = known.get(op.items.name, _UNKNOWN)
        carried = [known.get(value.name, _UNKNOWN) for value in op.inits]
        if not isinstance(items, list):
            self._iteration(op.body, [_UNKNOWN] * len(op.body.params), known)
            return [_UNKNOWN] * len(op.results)
        for index, item in enumerate(items):
            yields = self._iteration(op.body, [item, index, *carried], known)
            go_on, carried = (yields[0], yields[1:]) if op.early else (True, yields)
            if not _is_data(go_on):
                carried = [_UNKNOWN] * len(carried)
            elif not go_on:
                break
        return carried

    def _iteration(self, body: Block, given: list[Any], known: dict[str, Any]) -> list[Any]:
        inner = dict(known)
        for param, value in zip(body.params, given, strict=True):
            self.note(param.name, value)
            if value is not _UNKNOWN:
                inner[param.name] = value
        return self.block(body, inner)

    def branch(self, op: If, known: dict[str, Any]) -> Sequence[Any]:
        condition = known.get(op.condition.name, _UNKNOWN)
        self.taken[id(op)].append(bool(condition) if _is_data(condition) else None)
        if not _is_data(condition):
            self.block(op.then, dict(known))
            self.block(op.orelse, dict(known))
            return [_UNKNOWN] * len(op.results)
        return self.block(op.then if condition else op.orelse, dict(known))


def _values(names: Sequence[Value], known: dict[str, Any]) -> list[Any] | None:
    values = [known.get(name.name, _UNKNOWN) for name in names]
    return values if all(map(_is_data, values)) else None


def _is_data(value: Any) -> bool:
    """Whether a value is known whole."""
    if isinstance(value, list):
        return all(map(_is_data, value))
    return value is not _UNKNOWN and not isinstance(value, _Generated)
