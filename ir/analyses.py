"""What can be told of a flow without running it: who makes and reads a value, how often, how much.

One `Analysis` answers every question about one flow of one module; it never changes, and a new
module gets a new one. The seeds' four primitives keep their names: `producer`, `consumers`,
`prefix_hash`, `objective`. Counts are `Symbolic`: exact for constants, `|name|` for what depends
on inputs (items of a list, tokens of a text). Works before and after `lower-calls`; prompts are
only known after it.
"""

import hashlib
import json
from collections.abc import Callable
from functools import cached_property

from parrotc.ir.depths import Depths, Widths
from parrotc.ir.ops import (
    Apply,
    Attempt,
    Block,
    Call,
    Const,
    Fill,
    Flow,
    Fold,
    Generate,
    Ids,
    If,
    Map,
    Module,
    Op,
    Open,
    Text,
    Value,
    blocks,
    operands,
    walk,
)
from parrotc.ir.symbolic import Most, Symbolic, lift, most, size
from parrotc.ir.totals import Taken, Total, Totals, Weight
from parrotc.ir.types import Json

Count = Callable[[str], int]  # tokens of a text


def by_characters(text: str) -> int:
    """Tokens of an English text, for endpoints that tell no tokenizer: four characters each."""
    return (len(text) + 3) // 4


class Analysis:
    """Cached answers about one flow."""

    def __init__(
        self,
        module: Module,
        flow: Flow,
        count: Count = by_characters,
        taken: Taken | None = None,
    ) -> None:
        """`taken` is what inputs decide: how often each `if` takes its first arm."""
        self.module = module
        self.flow = flow
        self._count = count
        self._taken = taken or {}
        self._prefixes = {prefix.name: prefix for prefix in module.prefixes}

    # who makes and who reads a value

    def producer(self, value: Value) -> Op | None:
        """The op that assigns it; None for a parameter."""
        return self._producers.get(value)

    def consumers(self, value: Value) -> tuple[Op, ...]:
        """The ops that read it, in program order; an op also reads what its regions yield."""
        return tuple(self._consumers.get(value, ()))

    def prefix_hash(self, value: Value) -> str:
        """Equal for contexts that have read the same, whatever unknown values they share.

        For a generated value, that of the context it was generated from.
        """
        return hashlib.sha256(self._spelling(value).encode()).hexdigest()[:16]

    def objective(self, value: Value) -> Json:
        """What its producer was asked to be quick at, once `propagate-criteria` has run."""
        op = self.producer(value)
        return op.note("criteria") if op else None

    # how often and how much

    def times(self, op: Op) -> Symbolic:
        """How often it runs, at most: the product of the loops around it."""
        return self._times[id(op)]

    def is_certain(self, op: Op) -> bool:
        """Whether it never runs less often than that."""
        return id(op) not in self._uncertain

    def generations(self) -> tuple[Op, ...]:
        """Every place that runs a model: generations, or calls before `lower-calls`."""
        return tuple(op for op in walk(self.flow.body) if isinstance(op, Generate | Call))

    def total(self, weight: Weight) -> Total:
        """What the runs of all ops add up to, each weighing so much; the larger arm of an `if`."""
        return Totals(self.items, self._taken).of(self.flow.body, weight)

    @cached_property
    def calls(self) -> Total:
        """How many generations there are."""
        return self.total(self._draws)

    @cached_property
    def depth(self) -> Most:
        """Generations on the longest chain of which each needs the one before."""
        return self._depths.deepest

    def before(self, op: Op) -> Most:
        """Generations that must come before this one; in a loop, before its first round."""
        return self._depths.before.get(id(op), Most())

    @cached_property
    def width(self) -> Most:
        """How many generations can run at the same time, counted level by level."""
        return Widths(self.flow.body, self.items, self._number).widest

    def tokens(self, context: Value) -> Symbolic:
        """How many tokens a context has read at most."""
        return self._context_tokens[context]

    def filled(self, op: Fill) -> Symbolic:
        """How many tokens one run of a fill reads."""
        total = Symbolic()
        for part in op.parts:
            match part:
                case Ids():
                    total += len(part.ids)
                case Text():
                    total += self._count(part.text)
                case Value():
                    total += self._text_tokens(part)
        return total

    def items(self, op: Map | Fold) -> Symbolic:
        """How many iterations a loop has at most."""
        return self._length(op.items)

    # tables, each made once

    @cached_property
    def _producers(self) -> dict[Value, Op]:
        return {value: op for op in walk(self.flow.body) for value in op.results}

    @cached_property
    def _consumers(self) -> dict[Value, list[Op]]:
        table: dict[Value, list[Op]] = {}
        for op in walk(self.flow.body):
            yielded = [value for block in blocks(op) for value in block.yields]
            for value in dict.fromkeys([*operands(op), *yielded]):
                table.setdefault(value, []).append(op)
        return table

    @cached_property
    def _depths(self) -> Depths:
        return Depths(self.flow.body, self.items, self._taken)

    @cached_property
    def _times(self) -> dict[int, Symbolic]:
        table: dict[int, Symbolic] = {}

        def visit(block: Block, factor: Symbolic) -> None:
            for op in block.ops:
                table[id(op)] = factor * self._draws(op) if isinstance(op, Call) else factor
                for held in blocks(op):
                    visit(held, factor * self._rounds(op, held))

        visit(self.flow.body, lift(1))
        return table

    @cached_property
    def _uncertain(self) -> set[int]:
        """Ops in regions that may be left out, or left early."""
        found: set[int] = set()
        for op in walk(self.flow.body):
            match op:
                case If():
                    is_open = id(op) not in self._taken
                case Fold():
                    is_open = op.early
                case Attempt():
                    is_open = op.retries > 0
                case _:
                    is_open = False
            if is_open:
                found.update(id(inner) for held in blocks(op) for inner in walk(held))
        return found

    def _rounds(self, op: Op, held: Block) -> Symbolic:
        """How often a region runs each time its op does, at most."""
        match op:
            case Map() | Fold():
                return self.items(op)
            case Attempt():
                return lift(1 + op.retries)
            case If() if id(op) in self._taken:
                share = self._taken[id(op)]
                return lift(share if held is op.then else 1 - share)
        return lift(1)

    def _draws(self, op: Op) -> Symbolic:
        """How many generations one run of an op is."""
        if isinstance(op, Call) and op.count is not None:
            return self._number(op.count)
        return lift(1 if isinstance(op, Generate | Call) else 0)

    @cached_property
    def _context_tokens(self) -> dict[Value, Symbolic]:
        table: dict[Value, Symbolic] = {}

        def visit(block: Block) -> None:
            for op in block.ops:
                self._enter(op, table)
                for held in blocks(op):
                    visit(held)
                self._leave(op, table)

        visit(self.flow.body)
        return table

    def _enter(self, op: Op, table: dict[Value, Symbolic]) -> None:
        """What an op's own results, and the parameters of its region, have read."""
        match op:
            case Open():
                table[op.result] = self._prefix_tokens(op.prefix)
            case Fill():
                table[op.result] = table[op.context] + self.filled(op)
            case Generate():
                table[op.results[0]] = table[op.context] + op.max_tokens
            case Fold():
                for param, init in zip(op.body.params[2:], op.inits, strict=True):
                    if init in table:
                        table[param] = table[init]
            case _ if len(op.results) == 1:
                for context in operands(op):
                    if context in table:
                        table[op.result] = table[context]

    def _leave(self, op: Op, table: dict[Value, Symbolic]) -> None:
        """What results that come out of regions have read."""
        match op:
            case If():
                arms = zip(op.results, op.then.yields, op.orelse.yields, strict=True)
                for result, then, orelse in arms:
                    if then in table and orelse in table:
                        options = most((table[then], table[orelse])).options
                        table[result] = options[0]
            case Fold():
                first = 1 if op.early else 0
                yields = op.body.yields[first:]
                for result, init, last in zip(op.results, op.inits, yields, strict=True):
                    if init in table and last in table:
                        table[result] = table[init] + (table[last] - table[init]) * self.items(op)
            case Attempt():
                for result, last in zip(op.results, op.body.yields, strict=True):
                    if last in table:
                        table[result] = table[last]

    def _prefix_tokens(self, name: str | None) -> Symbolic:
        total = 0
        while name is not None:
            prefix = self._prefixes[name]
            total += len(prefix.ids)
            name = prefix.parent
        return lift(total)

    # sizes of values

    def _text_tokens(self, value: Value) -> Symbolic:
        op = self.producer(value)
        match op:
            case Const():
                held = json.loads(op.json)
                return lift(self._count(held if isinstance(held, str) else op.json))
            case Generate():
                return lift(op.max_tokens)
        return size(value.name)

    def _length(self, value: Value) -> Symbolic:
        """How many items a list has."""
        op = self.producer(value)
        match op:
            case Const():
                return lift(len(json.loads(op.json)))
            case Apply(function="list"):
                return lift(len(op.args))
            case Apply(function="range"):
                bounds = [self._number(arg).constant for arg in op.args]
                known = [int(bound) for bound in bounds if bound is not None]
                if len(known) == len(bounds):
                    return lift(len(range(*known)))
                if len(op.args) == 1:
                    return self._number(op.args[0])
            case Apply(function="enumerate" | "sorted"):
                return self._length(op.args[0])
            case Map():
                return self._length(op.items)
        return size(value.name)

    def _number(self, value: Value) -> Symbolic:
        op = self.producer(value)
        if isinstance(op, Const):
            held = json.loads(op.json)
            return lift(held) if isinstance(held, int | float) else size(value.name)
        return size(value.name)

    # spelling of a context

    def _spelling(self, value: Value) -> str:
        """The chain of a context from its start, constants as text, values by name."""
        parts: list[str] = []
        while True:
            op = self.producer(value)
            match op:
                case Open():
                    start = f"{op.model}\0{self._prefix_spelling(op.prefix)}"
                    return start + "".join(reversed(parts))
                case Fill():
                    parts.append("".join(_part_spelling(part) for part in op.parts))
                    value = op.context
                case Generate() if value == op.results[1]:
                    value = op.context
                case _:
                    return f"\0%{value.name}\0" + "".join(reversed(parts))

    def _prefix_spelling(self, name: str | None) -> str:
        if name is None:
            return ""
        prefix = self._prefixes[name]
        return f"{self._prefix_spelling(prefix.parent)}{prefix.text}"


def _part_spelling(part: Text | Ids | Value) -> str:
    return f"\0%{part.name}\0" if isinstance(part, Value) else part.text
