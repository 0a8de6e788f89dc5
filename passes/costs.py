"""How long the steps of a flow take, and where they stand between its start and its end.

Seconds come from the linear cost model of each engine (`Target`). What depends on inputs is
assumed: `ITEMS` iterations of a loop, `VALUE` tokens of a text, half of the tokens a free text may
have. The numbers only rank work and share out a deadline; nothing is promised.
"""

import json
from dataclasses import dataclass, field

from parrotc.ir.ops import (
    Block,
    Const,
    Fill,
    Flow,
    Fold,
    Generate,
    Ids,
    Map,
    Native,
    Op,
    Text,
    Value,
    blocks,
    operands,
    walk,
)
from parrotc.ir.types import Bool, Choice, Enum, Float, Int, Json, Scored
from parrotc.passes.chains import origins
from parrotc.passes.target import Cost, ModelTarget, Target

ITEMS = 8
VALUE = 200
NATIVE = 0.1  # seconds
SHORT = 4  # tokens of a choice or a number

UNKNOWN = ModelTarget(None, None)


@dataclass(slots=True)
class Place:
    """Where a generation stands: seconds before it, of it, from its start to the flow's end."""

    before: float = 0.0
    cost: float = 0.0
    rank: float = 0.0


@dataclass(slots=True)
class Places:
    """The places of a flow's generations by site, and the seconds of its longest path."""

    gens: dict[str, Place] = field(default_factory=dict)
    total: float = 0.0


class Costs:
    """What each op of a flow costs."""

    def __init__(self, body: Block, target: Target) -> None:
        self._origins = origins(body)
        self._target = target
        self._items: dict[str, Json] = {
            op.result.name: json.loads(op.json) for op in walk(body) if isinstance(op, Const)
        }

    def model(self, context: Value) -> ModelTarget:
        return self._target.models.get(self._origins[context.name].model, UNKNOWN)

    def seconds(self, op: Op) -> float:
        match op:
            case Fill():
                values = sum(isinstance(part, Value) for part in op.parts)
                tokens = self.constant_tokens(op) + VALUE * values
                return tokens * self.model(op.context).cost.prefill
            case Generate():
                cost: Cost = self.model(op.context).cost
                return cost.fixed + expected_tokens(op) * cost.decode
            case Native():
                return NATIVE
        return 0.0

    def constant_tokens(self, op: Fill) -> int:
        """Tokens that are known now, exact for ids."""
        tokenizer = self.model(op.context).tokenizer
        total = 0
        for part in op.parts:
            if isinstance(part, Ids):
                total += len(part.ids)
            elif isinstance(part, Text):
                total += len(tokenizer.encode(part.text)) if tokenizer else len(part.text) // 4
        return total

    def rounds(self, op: Map | Fold) -> int:
        items = self._items.get(op.items.name)
        return len(items) if isinstance(items, list) else ITEMS


def expected_tokens(op: Generate) -> float:
    if isinstance(op.results[1].type, Choice | Enum | Scored | Int | Float | Bool):
        return min(SHORT, op.max_tokens)
    return op.max_tokens / 2


def places(flow: Flow, target: Target) -> Places:
    """Near-linear: a fold's body is looked at twice."""
    costs = Costs(flow.body, target)
    found = Places()
    _Forward(costs, found).block(flow.body)
    _Backward(costs, found).block(flow.body, [0.0 for _ in flow.body.yields])
    ends = (place.before + place.rank for place in found.gens.values())
    found.total = max(ends, default=0.0)
    return found


class _Forward:
    """Fills in `before` and `cost`. Nothing in a region starts before its op does."""

    def __init__(self, costs: Costs, found: Places) -> None:
        self._costs = costs
        self._found = found
        self._ready: dict[str, float] = {}  # seconds from the start until a value is there

    def block(self, block: Block, start: float = 0.0) -> float:
        """When the last op of a block is done that starts at `start`."""
        latest = start
        for op in block.ops:
            read = (self._ready.get(value.name, start) for value in operands(op))
            done = self._op(op, max([start, *read]))
            self._ready.update((value.name, done) for value in op.results)
            latest = max(latest, done)
        return max([latest, *(self._ready.get(value.name, start) for value in block.yields)])

    def _op(self, op: Op, start: float) -> float:
        done = start + self._costs.seconds(op)
        if isinstance(op, Generate):
            place = self._found.gens.setdefault(op.site, Place())
            place.before, place.cost = start, done - start
        for held in blocks(op):
            self._ready.update((param.name, start) for param in held.params)
            done = max(done, self.block(held, start))
        again = max(self._costs.rounds(op) - 1, 0) if isinstance(op, Fold) else 0
        return done + again * (done - start)


class _Backward:
    """Fills in `rank`."""

    def __init__(self, costs: Costs, found: Places) -> None:
        self._costs = costs
        self._found = found
        self._rank: dict[str, float] = {}  # seconds from when a value is there to the end

    def block(self, block: Block, after: list[float]) -> float:
        """The rank of the block's start, when what it yields is followed by `after`."""
        highest = max(after, default=0.0)
        for value, rank in zip(block.yields, after, strict=True):
            self._raise(value, rank)
        for op in reversed(block.ops):
            rank = self._op(op)
            highest = max(highest, rank)
            for value in operands(op):
                self._raise(value, rank)
        return highest

    def _op(self, op: Op) -> float:
        after = [self._rank.get(value.name, 0.0) for value in op.results]
        rank = max(after, default=0.0) + self._costs.seconds(op)
        match op:
            case Generate():
                self._found.gens[op.site].rank = rank
            case Fold():
                rank = max([rank, self._fold(op, max(after, default=0.0))])
            case _:
                for held in blocks(op):
                    rank = max(rank, self.block(held, after))
        return rank

    def _fold(self, op: Fold, after: float) -> float:
        once = self.block(op.body, [after for _ in op.body.yields]) - after
        again = max(self._costs.rounds(op) - 1, 0)
        return self.block(op.body, [after + again * once for _ in op.body.yields])

    def _raise(self, value: Value, rank: float) -> None:
        self._rank[value.name] = max(rank, self._rank.get(value.name, 0.0))
